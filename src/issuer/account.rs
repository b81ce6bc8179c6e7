//! Accounts, kept in a folder: made once, found again, taken over from other clients; never made silently.
//!
//! `DIR/accounts/NAME/account.json` has one each, its key included, readable by its owner alone. The key is on disk before the CA hears of
//! it, so that no account is ever lost: a file without an account's URL is one whose registration nobody knows the end of, and the next
//! run asks the CA.

mod create;
mod error;
mod import;
mod register;
mod registrations;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::files::{self, FileError};
use super::key::{AccountKey, KeyKind};
use crate::time::Timestamp;
pub use create::{Asked, Created};
pub use error::AccountError;
pub use import::{Found, ImportError, found};
pub use register::ExternalAccount;

/// The version of the files' shape.
const VERSION: u32 = 1;

/// An account at a CA.
#[derive(Clone, Debug)]
pub struct Account {
    /// What it is called here.
    pub name: String,
    /// Its URL, which stands for it in every request. `None` until the CA has said it.
    pub url: Option<String>,
    /// The CA's directory.
    pub directory: String,
    /// Its key.
    pub key: Arc<AccountKey>,
    /// What the CA was told of how to reach its owner: `mailto:` URLs.
    pub contact: Vec<String>,
    /// The account elsewhere that it is bound to (RFC 8555, section 7.3.4).
    pub external_account: Option<String>,
    /// When it came to be here.
    pub created_at: Timestamp,
}

/// The folder of accounts.
#[derive(Clone, Debug)]
pub struct Accounts {
    folder: PathBuf,
}

/// A file of an account.
#[derive(Serialize, Deserialize)]
struct OnDisk {
    certpace_account: u32,
    name: String,
    url: Option<String>,
    directory: String,
    key: String,
    contact: Vec<String>,
    external_account: Option<String>,
    created_at: Timestamp,
}

impl Account {
    /// What kind of key it has.
    #[must_use]
    pub fn key_kind(&self) -> KeyKind {
        self.key.kind()
    }
}

impl Accounts {
    /// The accounts of a store. Nothing is made yet.
    #[must_use]
    pub fn of_store(store: &Path) -> Self {
        Self { folder: store.join("accounts") }
    }

    /// Where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// [`AccountError`] where one can't be read.
    pub fn list(&self) -> Result<Vec<Account>, AccountError> {
        let mut names = files::entries(&self.folder)?;
        // What has no name of an account is none: locks, and what people leave behind.
        names.retain(|name| is_name(name));
        names.sort_unstable();
        names.iter().filter_map(|name| self.get(name).transpose()).collect()
    }

    /// The account of that name.
    ///
    /// # Errors
    /// [`AccountError`] where it can't be read, or nothing can be called that.
    pub fn get(&self, name: &str) -> Result<Option<Account>, AccountError> {
        let path = self.path(name)?;
        let bytes = match files::read(&path) {
            // A file of another kind has the name.
            Err(FileError { error, .. }) if error.kind() == ErrorKind::NotADirectory => return Ok(None),
            bytes => bytes?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let broken = |what: String| AccountError::Broken { path: path.clone(), what };
        let of: OnDisk = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        if of.certpace_account != VERSION {
            return Err(broken(format!(
                "its shape is version {}, and this certpace knows {VERSION}",
                of.certpace_account
            )));
        }
        let key = AccountKey::read(of.key.as_bytes()).map_err(|error| broken(error.to_string()))?;
        Ok(Some(Account {
            name: name.to_owned(),
            url: of.url,
            directory: of.directory,
            key: Arc::new(key),
            contact: of.contact,
            external_account: of.external_account,
            created_at: of.created_at,
        }))
    }

    /// The account to use at a CA: the one named, else the only one that there is for it.
    ///
    /// # Errors
    /// [`AccountError`] where there is none, several, or one of another CA. No account is ever made in its place.
    pub fn resolve(&self, name: Option<&str>, directory: &str) -> Result<Account, AccountError> {
        let account = match name {
            Some(name) => self.named(name)?,
            None => self.only(directory)?,
        };
        if account.directory != directory {
            let Account { name, directory: of, .. } = account;
            return Err(AccountError::Elsewhere { name, directory: of, asked: directory.to_owned() });
        }
        if account.url.is_none() {
            return Err(AccountError::Unfinished(account.name));
        }
        Ok(account)
    }

    fn named(&self, name: &str) -> Result<Account, AccountError> {
        if let Some(account) = self.get(name)? {
            return Ok(account);
        }
        let known = described(&self.list()?);
        Err(AccountError::Unknown { name: name.to_owned(), folder: self.folder.clone(), known })
    }

    fn only(&self, directory: &str) -> Result<Account, AccountError> {
        let all = self.list()?;
        let mut fitting: Vec<_> = all.iter().filter(|account| account.directory == directory).cloned().collect();
        let (directory, folder) = (directory.to_owned(), self.folder.clone());
        match fitting.len() {
            0 => Err(AccountError::None { directory, folder, known: described(&all) }),
            1 => Ok(fitting.remove(0)),
            _ => Err(AccountError::Several {
                directory,
                names: fitting.into_iter().map(|account| account.name).collect(),
            }),
        }
    }

    /// Writes an account, so that it is there whole or as it was before, also after a power cut.
    fn save(&self, account: &Account) -> Result<(), AccountError> {
        let path = self.path(&account.name)?;
        let of = OnDisk {
            certpace_account: VERSION,
            name: account.name.clone(),
            url: account.url.clone(),
            directory: account.directory.clone(),
            key: account.key.to_pem()?,
            contact: account.contact.clone(),
            external_account: account.external_account.clone(),
            created_at: account.created_at,
        };
        let text = serde_json::to_string_pretty(&of)
            .map_err(|error| AccountError::Broken { path: path.clone(), what: error.to_string() })?;
        files::make_folders(&self.folder.join(&account.name))?;
        Ok(files::write(&path, &text, files::SECRET)?)
    }

    /// Takes an account away whose registration came to nothing.
    fn remove(&self, name: &str) -> Result<(), AccountError> {
        let folder = self.folder.join(name);
        Ok(fs::remove_dir_all(&folder).map_err(files::failed("remove", &folder))?)
    }

    /// Keeps other processes from making accounts until it is dropped.
    fn lock(&self) -> Result<File, AccountError> {
        files::make_folders(&self.folder)?;
        let file = files::lock_file(&self.folder)?;
        file.lock().map_err(files::failed("lock", &self.folder))?;
        Ok(file)
    }

    fn path(&self, name: &str) -> Result<PathBuf, AccountError> {
        if !is_name(name) {
            return Err(AccountError::Name(name.to_owned()));
        }
        Ok(self.folder.join(name).join("account.json"))
    }
}

fn is_name(name: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_fit)
}

/// Accounts, for errors.
fn described(accounts: &[Account]) -> Vec<String> {
    accounts.iter().map(|account| format!("{} ({})", account.name, account.directory)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const CA: &str = "https://ca.example/directory";

    fn account(name: &str, directory: &str) -> Account {
        Account {
            name: name.to_owned(),
            url: Some(format!("{directory}/acct/{name}")),
            directory: directory.to_owned(),
            key: Arc::new(AccountKey::generate(KeyKind::P256).unwrap()),
            contact: vec!["mailto:a@example.com".to_owned()],
            external_account: None,
            created_at: Timestamp::from_unix_seconds(1_800_000_000),
        }
    }

    #[test]
    fn what_is_kept_is_found_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::of_store(&folder.path().join("store"));
        assert!(accounts.list().unwrap().is_empty());
        let kept = account("main", CA);
        accounts.save(&kept).unwrap();
        let found = accounts.get("main").unwrap().unwrap();
        assert_eq!(found.key.thumbprint(), kept.key.thumbprint());
        assert_eq!((found.url, found.contact, found.created_at), (kept.url, kept.contact, kept.created_at));
        let mode = |path: &str| fs::metadata(accounts.folder.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode("main/account.json"), mode("main"), mode("")], [0o600, 0o700, 0o700]);
        assert_eq!(accounts.list().unwrap().len(), 1);
    }

    #[test]
    fn only_an_account_that_is_meant_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::of_store(folder.path());
        let told = |name: Option<&str>, directory: &str| match accounts.resolve(name, directory) {
            Ok(account) => account.name,
            Err(error) => error.to_string(),
        };
        let place = accounts.folder.display().to_string();
        assert_eq!(told(None, CA), format!("there is no account for {CA} in {place}"));
        accounts.save(&account("a", CA)).unwrap();
        accounts.save(&account("other", "https://other.example/dir")).unwrap();
        assert_eq!(told(None, CA), "a");
        assert_eq!(
            told(Some("other"), CA),
            format!("the account `other` is one of https://other.example/dir, not of {CA}")
        );
        accounts.save(&Account { url: None, ..account("b", CA) }).unwrap();
        assert_eq!(told(None, CA), format!("there are several accounts for {CA}: a, b"));
        assert_eq!(told(Some("a"), CA), "a");
        assert_eq!(told(Some("b"), CA), "the registration of the account `b` was broken off");
        let known = format!("a ({CA}), b ({CA}), other (https://other.example/dir)");
        assert_eq!(told(Some("c"), CA), format!("there is no account `c` in {place}; there are: {known}"));
        assert!(told(Some("../a"), CA).starts_with("`../a` can't be an account's name"));
    }

    #[test]
    fn what_is_no_account_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::of_store(folder.path());
        accounts.save(&account("a", CA)).unwrap();
        let path = accounts.path("a").unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for (text, what) in [
            (whole[..20].to_owned(), "EOF"),
            (whole.replace("\"certpace_account\": 1", "\"certpace_account\": 2"), "version 2"),
            (whole.replace("BEGIN", "END"), "no private key in PEM"),
        ] {
            fs::write(&path, text).unwrap();
            let error = accounts.list().unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()) && error.contains(what), "{error}");
        }
    }
}
