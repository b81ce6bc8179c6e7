//! Slots: which process settles which open orders.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::document::{self, Document, names};
use crate::issuer::files;
use crate::name::NameSet;
use crate::time::Timestamp;

/// A place for the open orders of one process. Nobody else has it as long as this is not dropped and the process lives.
#[derive(Debug)]
pub struct Slot {
    folder: PathBuf,
    holder: String,
    _lock: File,
}

/// An order of which not all is settled. It is on disk before the order is sent, its private key before the request for the certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenOrder {
    /// Its permit.
    pub permit: String,
    /// The URL of the account.
    pub account: String,
    /// What the account is called in the store.
    pub account_name: String,
    /// Its names.
    #[serde(with = "names")]
    pub names: NameSet,
    /// Its profile.
    pub profile: Option<String>,
    /// Whose certificate it is.
    pub tenant: Option<String>,
    /// How it is validated.
    pub challenge: Option<String>,
    /// The certificate that it replaces, by its id in renewal information.
    pub replaces: Option<String>,
    /// Which order of which plan it is.
    pub plan: Option<PlanOrder>,
    /// Its URL, once the CA has told it.
    pub url: Option<String>,
    /// When it was sent, or was to be.
    pub sent_at: Option<Timestamp>,
    /// How far it has come.
    pub stage: Stage,
}

/// An order of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanOrder {
    /// SHA-256 of the plan's file, in hexadecimal.
    pub plan: String,
    /// Its number there.
    pub order: u64,
}

/// A certificate that is in the store, after which a command of the user's is still to run: a file says so until it has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Undeployed {
    #[serde(with = "names")]
    names: NameSet,
}

/// How far an order has come, as far as is on disk: it may have come further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It may have been sent: the CA may have it or not.
    Sending,
    /// The CA has it; its names are being validated.
    Validating,
    /// Its key is on disk; the certificate may have been asked for.
    Finalizing,
    /// The certificate is in the store; the ledger may not know it yet.
    Issued,
    /// It is dead; the ledger may not know it yet.
    Failed,
}

impl Document for OpenOrder {
    const KEY: &'static str = "certpace_order";
}

impl Document for Undeployed {
    const KEY: &'static str = "certpace_deploy";
}

impl Slot {
    /// Takes the slot of that number; `None` where somebody has it.
    pub(super) fn take(orders: &Path, number: u32, store: &str) -> Result<Option<Self>, StoreError> {
        let folder = orders.join(number.to_string());
        files::make_folder(&folder)?;
        let lock = files::lock_file(&folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(files::failed("lock", &folder)(error).into()),
        }
        files::remove_asides(&folder)?;
        let holder = format!("{}:{store}:{number}", gethostname::gethostname().to_string_lossy());
        let slot = Self { folder, holder, _lock: lock };
        slot.remove_loose_keys()?;
        Ok(Some(slot))
    }

    /// What it is called in the ledger, as holder of its permits: `HOST:STORE:NUMBER`.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// The open orders, by permit: also those that a killed process has left.
    ///
    /// # Errors
    /// Where one is damaged, or can't be read.
    pub fn open_orders(&self) -> Result<Vec<OpenOrder>, StoreError> {
        read_folder(&self.folder)
    }

    /// The open order of that permit, if there is one.
    ///
    /// # Errors
    /// Where it is damaged, or can't be read.
    pub fn open_order(&self, permit: &str) -> Result<Option<OpenOrder>, StoreError> {
        document::read(&self.path(permit)?)
    }

    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(permits(&self.folder, ORDER)?.is_empty() && permits(&self.folder, DEPLOY)?.is_empty())
    }

    /// Keeps an order, in the place of what was kept under its permit.
    ///
    /// # Errors
    /// Where it can't be written: then what was kept is as it was.
    pub fn write(&self, order: &OpenOrder) -> Result<(), StoreError> {
        Ok(files::write(&self.path(&order.permit)?, &document::text(order), files::OPEN)?)
    }

    /// Keeps the private key of an order's certificate. The same key may be written again.
    ///
    /// # Errors
    /// Where it can't be written, the permit has no order here, or another key: the CA may have issued for that.
    pub fn write_key(&self, permit: &str, pem: &str) -> Result<(), StoreError> {
        let path = self.key_path(permit)?;
        match self.key(permit)? {
            Some(known) if known == pem => Ok(()),
            Some(_) => Err(StoreError::KeyExists { path }),
            None if !self.path(permit)?.exists() => Err(StoreError::NoOrder(permit.to_owned())),
            None => Ok(files::write(&path, pem, files::SECRET)?),
        }
    }

    /// The private key of an order's certificate, if there is one.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn key(&self, permit: &str) -> Result<Option<String>, StoreError> {
        let path = self.key_path(permit)?;
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => Ok(Some(text.map_err(files::failed("read", &path))?)),
        }
    }

    /// All is settled: removes the order and its key. Nothing happens where there is none.
    ///
    /// # Errors
    /// Where it can't be removed.
    pub fn end(&self, permit: &str) -> Result<(), StoreError> {
        // The order first, and for good: an order without its key could not be finished, a key without its order is nobody's.
        files::remove(&self.path(permit)?)?;
        files::sync(&self.folder)?;
        Ok(files::remove(&self.key_path(permit)?)?)
    }

    /// Keeps that a command is to run after the certificate for these names, which came by that permit.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write_undeployed(&self, permit: &str, names: &NameSet) -> Result<(), StoreError> {
        let text = document::text(&Undeployed { names: names.clone() });
        Ok(files::write(&self.deploy_path(permit)?, &text, files::OPEN)?)
    }

    /// The certificates after which a command is still to run, by permit, with their names.
    ///
    /// # Errors
    /// Where one is damaged, or can't be read.
    pub fn undeployed(&self) -> Result<Vec<(String, NameSet)>, StoreError> {
        let mut all = Vec::new();
        for permit in permits(&self.folder, DEPLOY)? {
            let of = document::read::<Undeployed>(&self.deploy_path(&permit)?)?;
            all.extend(of.map(|of| (permit, of.names)));
        }
        Ok(all)
    }

    /// The command has run. Nothing happens where none was to.
    ///
    /// # Errors
    /// Where the file can't be removed.
    pub fn deployed(&self, permit: &str) -> Result<(), StoreError> {
        Ok(files::remove(&self.deploy_path(permit)?)?)
    }

    /// Removes keys of orders that came to their end.
    fn remove_loose_keys(&self) -> Result<(), StoreError> {
        for name in files::entries(&self.folder)? {
            let Some(permit) = name.strip_suffix(KEY) else { continue };
            if !self.path(permit)?.exists() {
                files::remove(&self.folder.join(&name))?;
            }
        }
        Ok(())
    }

    fn path(&self, permit: &str) -> Result<PathBuf, StoreError> {
        Ok(self.folder.join(format!("{}{ORDER}", checked(permit)?)))
    }

    fn deploy_path(&self, permit: &str) -> Result<PathBuf, StoreError> {
        Ok(self.folder.join(format!("{}{DEPLOY}", checked(permit)?)))
    }

    fn key_path(&self, permit: &str) -> Result<PathBuf, StoreError> {
        Ok(self.folder.join(format!("{}{KEY}", checked(permit)?)))
    }
}

/// How the file names of orders end.
const ORDER: &str = ".json";
/// How the file names of their keys end.
const KEY: &str = ".key.pem";
/// How the names of files end that say which commands are still to run.
const DEPLOY: &str = ".deploy";

/// A permit that can be part of a file's name.
fn checked(permit: &str) -> Result<&str, StoreError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_name = !permit.is_empty() && permit.len() <= 200 && permit.bytes().all(fits);
    if is_name { Ok(permit) } else { Err(StoreError::Permit(permit.to_owned())) }
}

/// The numbers of the slots that there are, in order.
pub(super) fn numbers(orders: &Path) -> Result<Vec<u32>, StoreError> {
    let mut numbers: Vec<u32> = files::entries(orders)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The open orders of a slot, whoever has it.
pub(super) fn read(orders: &Path, number: u32) -> Result<Vec<OpenOrder>, StoreError> {
    read_folder(&orders.join(number.to_string()))
}

fn read_folder(folder: &Path) -> Result<Vec<OpenOrder>, StoreError> {
    let read = |permit: &String| document::read(&folder.join(format!("{permit}{ORDER}")));
    // One that has come to its end since the folder was listed is not there.
    permits(folder, ORDER)?.iter().filter_map(|permit| read(permit).transpose()).collect()
}

/// The permits of the files in a slot's folder whose names have that ending, in order.
fn permits(folder: &Path, ending: &str) -> Result<Vec<String>, StoreError> {
    let names = files::entries(folder)?;
    let files = names.iter().filter(|name| !name.starts_with('.')).filter_map(|name| name.strip_suffix(ending));
    let mut permits: Vec<_> = files.map(str::to_owned).collect();
    permits.sort_unstable();
    Ok(permits)
}
