//! What the issuer keeps on disk: certificates with their keys, and orders of which not all is settled.
//!
//! ```text
//! DIR/store.json                                   what makes DIR a store, and its id
//! DIR/certificates/<first name>-<hash>/archive/0001/   cert.pem chain.pem fullchain.pem privkey.pem certificate.json
//! DIR/certificates/<first name>-<hash>/live        a link to the one in use: archive/0001
//! DIR/certificates/<first name>-<hash>/notes.json  when it is to be renewed, and what went wrong last
//! DIR/orders/1/<permit>.json, <permit>.key.pem     open orders of the process that has slot 1
//! DIR/orders/1/<permit>.deploy                     after which certificates a command of the user's is still to run
//! DIR/splits/<order and hashes>.json               orders that are ordered in parts, since a name failed
//! ```
//!
//! Whatever is acknowledged is on disk. A file is written aside, synced and renamed, a certificate with its key as a folder of its own: nobody
//! ever sees one without the other, whenever the process is killed or the power fails. Folders are 0700 and keys 0600 whatever the umask.
//! What a killed process leaves aside has a name that begins with `.new-`; it is passed over, and removed by the next one that writes there.
//!
//! All of it is synchronous. Certificates are found by their names' hash alone, so that a hundred thousand of them are as quick as one.

mod document;
mod lineage;
mod slot;
mod split;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::files::{self, FileError};
use super::request::RequestError;
use crate::name::NameSet;
use document::Document;
pub use lineage::{Issued, LastError, Lineage, Metadata, Notes};
pub use slot::{OpenOrder, PlanOrder, Slot, Stage};
pub use split::Split;

/// What may lie in a folder that is to become a store, beside names that begin with a dot.
const ENTRIES: [&str; 6] = ["store.json", "accounts", "certificates", "orders", "splits", "lost+found"];

/// A folder of certificates and open orders.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    id: String,
}

/// Why something can't be kept or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant means")]
pub enum StoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} is no certificate store: it has no store.json, and there is {found} in it", path = path.display())]
    NoStore { path: PathBuf, found: String },
    #[error("{path} is of version {found}; this certpace reads version 1", path = path.display())]
    Version { path: PathBuf, found: String },
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    #[error("what the CA sent for {names} is no certificate in PEM that can be read")]
    NoCertificate { names: String },
    #[error("the certificate that the CA sent for {wanted} is for {found}")]
    OtherNames { wanted: String, found: String },
    #[error("the certificate that the CA sent for {names} is for another key")]
    OtherKey { names: String },
    #[error("the private key for {names} can't be used: {error}")]
    Key { names: String, error: RequestError },
    #[error("{path} holds the certificate of other names, which begin with the same one", path = path.display())]
    Taken { path: PathBuf },
    #[error("there is no certificate for {names} in the store")]
    None { names: String },
    #[error("the permit `{0}` can't be the name of a file")]
    Permit(String),
    #[error("the permit {0} has no open order here: its key would not be found again")]
    NoOrder(String),
    #[error("{path} holds another key, for which there may be a certificate already", path = path.display())]
    KeyExists { path: PathBuf },
}

/// `store.json`.
#[derive(Serialize, Deserialize)]
struct Root {
    id: String,
}

impl Document for Root {
    const KEY: &'static str = "certpace_store";
}

impl Store {
    /// Opens the store in the folder `root`, or makes one in it. The folder is made too, if its parent is there.
    ///
    /// # Errors
    /// Where that fails; where the folder holds something else or a store of another version.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        files::make_folder(root)?;
        let store = match Self::find(root)? {
            Some(store) => store,
            None => Self::make(root)?,
        };
        files::make_folder(&store.certificates())?;
        files::make_folder(&store.orders())?;
        Ok(store)
    }

    /// Opens the store in the folder `root` and changes nothing; `None` where there is none.
    ///
    /// # Errors
    /// Where it can't be read, or is of another version.
    pub fn find(root: &Path) -> Result<Option<Self>, StoreError> {
        let found = document::read::<Root>(&root.join("store.json"))?;
        Ok(found.map(|Root { id }| Self { root: root.to_owned(), id }))
    }

    fn make(root: &Path) -> Result<Self, StoreError> {
        for entry in files::entries(root)? {
            if !entry.starts_with('.') && !ENTRIES.contains(&&*entry) {
                return Err(StoreError::NoStore { path: root.to_owned(), found: entry });
            }
        }
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| StoreError::Random(error.to_string()))?;
        let id = data_encoding::HEXLOWER.encode(&id);
        let path = root.join("store.json");
        // Of two processes that make it at once, one is second, and takes what the first has made.
        files::write_new(&path, &document::text(&Root { id }))?;
        Self::find(root)?.ok_or_else(|| StoreError::Damaged { path, reason: "it went away".to_owned() })
    }

    /// What tells it from all other stores.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn certificates(&self) -> PathBuf {
        self.root.join("certificates")
    }

    fn orders(&self) -> PathBuf {
        self.root.join("orders")
    }

    fn splits(&self) -> PathBuf {
        self.root.join("splits")
    }

    /// Keeps that an order is ordered in parts.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write_split(&self, split: &Split) -> Result<(), StoreError> {
        split::write(&self.splits(), split)
    }

    /// The parts of orders of that plan, or of no plan, that are not split themselves; each with the split that it came of.
    ///
    /// # Errors
    /// Where one can't be read.
    pub fn parts(&self, plan: Option<&str>) -> Result<Vec<(NameSet, Split)>, StoreError> {
        split::parts(&self.splits(), plan)
    }

    /// Takes the first slot that nobody has, until it is dropped or the process ends. The slot of a process that was killed is free again, and
    /// has what that one left.
    ///
    /// # Errors
    /// Where the folder can't be used.
    pub fn slot(&self) -> Result<Slot, StoreError> {
        let mut number = 1;
        loop {
            if let Some(slot) = Slot::take(&self.orders(), number, &self.id)? {
                return Ok(slot);
            }
            number += 1;
        }
    }

    /// Takes all slots that nobody has and that have open orders, or commands that are still to run: whoever asks settles them.
    ///
    /// # Errors
    /// Where the folders can't be used.
    pub fn orphans(&self) -> Result<Vec<Slot>, StoreError> {
        let mut orphans = Vec::new();
        for number in slot::numbers(&self.orders())? {
            if let Some(slot) = Slot::take(&self.orders(), number, &self.id)?
                && !slot.is_empty()?
            {
                orphans.push(slot);
            }
        }
        Ok(orphans)
    }

    /// The open orders of all slots, whoever has them, by slot and permit. Nothing is locked: each is as it was at some time of the reading.
    ///
    /// # Errors
    /// Where one can't be read.
    pub fn open_orders(&self) -> Result<Vec<OpenOrder>, StoreError> {
        let slots = slot::numbers(&self.orders())?.into_iter();
        Ok(slots.map(|number| slot::read(&self.orders(), number)).collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Keeps a certificate with its key; it is live from then on, unless one that was issued later is. A certificate that is kept already changes
    /// nothing: it may be saved again after a crash.
    ///
    /// # Errors
    /// Where the certificate is not for exactly these names and this key, or can't be written: then all is as it was.
    pub fn save(&self, issued: &Issued<'_>) -> Result<Lineage, StoreError> {
        lineage::save(&self.certificates(), issued)
    }

    /// The certificate held for exactly these names.
    ///
    /// # Errors
    /// Where it is damaged, or can't be read.
    pub fn lineage(&self, names: &NameSet) -> Result<Option<Lineage>, StoreError> {
        lineage::read_of(&self.certificates(), names)
    }

    /// All certificates held, by the name of their folder. One that is damaged is an error of its own.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn lineages(&self) -> Result<Vec<Result<Lineage, StoreError>>, StoreError> {
        let folder = self.certificates();
        let mut names = files::entries(&folder)?;
        names.sort_unstable();
        let lineages = names.into_par_iter().filter(|name| !name.starts_with('.'));
        Ok(lineages.filter_map(|name| lineage::read(&folder.join(name)).transpose()).collect())
    }

    /// Keeps notes about the certificate held for exactly these names; they hold until another one takes its place.
    ///
    /// # Errors
    /// Where there is none, or they can't be written.
    pub fn note(&self, names: &NameSet, notes: &Notes) -> Result<(), StoreError> {
        lineage::note(&self.certificates(), names, notes)
    }
}

/// Names for a message: the first, and how many more there are.
fn shown(names: &NameSet) -> String {
    match names.identifiers() {
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests;
