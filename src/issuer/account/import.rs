//! Accounts of other clients: where certbot, lego and acme.sh keep them.
//!
//! | client | an account's files | what says which CA |
//! |---|---|---|
//! | certbot | `accounts/HOST/PATH/ID/private_key.json`, `regr.json` | the folder: `acme-v02.api.letsencrypt.org/directory` |
//! | lego | `accounts/HOST_PORT/EMAIL/account.json`, `keys/EMAIL.key` | the folder: `acme-v02.api.letsencrypt.org` |
//! | acme.sh | `ca/HOST/PATH/account.key`, `ca.conf` | the folder: `acme-v02.api.letsencrypt.org/directory` |
//!
//! A key in a file of its own says nothing of a CA. In no case the account's URL is taken from there: the CA is asked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hyper::Uri;
use walkdir::WalkDir;

use crate::issuer::key::{AccountKey, KeyError};

/// Folders are looked into that deep: `/etc/letsencrypt` has its keys at the sixth level.
const DEPTH_MAX: usize = 8;

/// A key that another program has an account with.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is, `certbot`, `lego`, `acme.sh` or `a key`.
    pub client: &'static str,
    /// The CA's host, as a folder's name, and its directory's path where that is known too; `None`: any CA.
    pub ca: Option<String>,
    /// The key.
    pub key: AccountKey,
}

/// Why a place can't be searched for accounts.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It can't be read.
    #[error("can't read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It holds no key that can be used.
    #[error("can't use the key in {}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: KeyError,
    },
}

impl Found {
    /// Whether the account may be one of the CA with that directory.
    #[must_use]
    pub fn fits(&self, directory: &str) -> bool {
        let (Some(ca), Ok(directory)) = (&self.ca, directory.parse::<Uri>()) else { return self.ca.is_none() };
        let (host, path) = ca.split_once('/').map_or((ca.as_str(), None), |(host, path)| (host, Some(path)));
        // acme.sh leaves the port out; lego writes an underscore before it.
        let (name, port) = host.split_once([':', '_']).map_or((host, None), |(name, port)| (name, Some(port)));
        let same_port = port.is_none_or(|port| directory.port().is_some_and(|of| of.as_str() == port));
        let same_path = path.is_none_or(|path| directory.path().trim_matches('/') == path);
        directory.host().is_some_and(|of| of.eq_ignore_ascii_case(name)) && same_port && same_path
    }
}

/// The keys at `path`: one in a file, or all that a folder's clients have accounts with, each once, by path.
///
/// # Errors
/// [`ImportError`] where the place can't be read, or a key in it can't be used.
pub fn found(path: &Path) -> Result<Vec<Found>, ImportError> {
    let is_folder = fs::metadata(path).map_err(unread(path))?.is_dir();
    if !is_folder {
        return Ok(vec![read(path.to_owned(), "a key", None)?]);
    }
    // certbot links folders where a CA has changed its address. The path that is given may lie within a client's own.
    let whole = fs::canonicalize(path).map_err(unread(path))?;
    let mut all: Vec<Found> = Vec::new();
    for entry in WalkDir::new(&whole).max_depth(DEPTH_MAX).follow_links(true).sort_by_file_name() {
        // What can't be looked into, and links in circles, are no accounts.
        let Ok(entry) = entry else { continue };
        if entry.file_type().is_file()
            && let Some((client, ca)) = recognised(entry.path())
        {
            let one = read(entry.path().to_owned(), client, Some(ca))?;
            if !all.iter().any(|of| of.ca == one.ca && of.key.thumbprint() == one.key.thumbprint()) {
                all.push(one);
            }
        }
    }
    Ok(all)
}

/// Whose account's key the file is, and at which CA.
fn recognised(path: &Path) -> Option<(&'static str, String)> {
    let folder = path.parent()?;
    let name = path.file_name()?.to_str()?;
    if name == "private_key.json" && folder.join("regr.json").exists() {
        return Some(("certbot", below(folder.parent()?, "accounts")?));
    }
    if name == "account.key" && folder.join("ca.conf").exists() {
        return Some(("acme.sh", below(folder, "ca")?));
    }
    let is_key = path.extension().is_some_and(|extension| extension == "key");
    if is_key && folder.file_name()? == "keys" && folder.parent()?.join("account.json").exists() {
        return Some(("lego", below(folder.parent()?.parent()?, "accounts")?));
    }
    None
}

/// What follows the last folder of that name in a path, with slashes.
fn below(path: &Path, name: &str) -> Option<String> {
    let parts: Vec<_> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    let start = parts.iter().rposition(|part| *part == name)? + 1;
    (start < parts.len()).then(|| parts[start..].join("/"))
}

fn read(path: PathBuf, client: &'static str, ca: Option<String>) -> Result<Found, ImportError> {
    let bytes = fs::read(&path).map_err(unread(&path))?;
    match AccountKey::read(&bytes) {
        Ok(key) => Ok(Found { path, client, ca, key }),
        Err(error) => Err(ImportError::Key { path, error }),
    }
}

fn unread(path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |error| ImportError::File { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::key::KeyKind;

    fn check(ca: &str, directory: &str, expected: bool) {
        let key = AccountKey::generate(KeyKind::P256).unwrap();
        let found = Found { path: PathBuf::new(), client: "lego", ca: Some(ca.to_owned()), key };
        assert_eq!(found.fits(directory), expected, "{ca} {directory}");
    }

    #[test]
    fn folders_name_cas_as_each_client_does() {
        let directory = "https://acme-v02.api.letsencrypt.org/directory";
        check("acme-v02.api.letsencrypt.org/directory", directory, true);
        check("acme-v02.api.letsencrypt.org", directory, true);
        check("acme-staging-v02.api.letsencrypt.org", directory, false);
        check("acme-v02.api.letsencrypt.org/other", directory, false);
        check("localhost_14000", "https://localhost:14000/dir", true);
        check("localhost:14000/dir", "https://localhost:14000/dir", true);
        check("localhost/dir", "https://localhost:14000/dir", true);
        check("localhost_14000", "https://localhost:14001/dir", false);
        check("localhost", "no url", false);
    }

    #[test]
    fn keys_are_found_where_each_client_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let pem = || AccountKey::generate(KeyKind::P256).unwrap().to_pem().unwrap();
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("letsencrypt/accounts/ca.example/directory/0a1b/private_key.json", &pem());
        put("letsencrypt/accounts/ca.example/directory/0a1b/regr.json", "{}");
        put("lego/accounts/ca.example_14000/a@example.com/keys/a@example.com.key", &pem());
        put("lego/accounts/ca.example_14000/a@example.com/account.json", "{}");
        put("acme.sh/ca/ca.example/dir/account.key", &pem());
        put("acme.sh/ca/ca.example/dir/ca.conf", "");
        put("lego/certificates/www.example.com.key", &pem());
        put("letsencrypt/live/www.example.com/privkey.pem", &pem());
        let told = |path: &str| -> Vec<_> {
            let found = found(&folder.path().join(path)).unwrap();
            found.into_iter().map(|of| (of.client, of.ca.unwrap_or_default())).collect()
        };
        let all = [("acme.sh", "ca.example/dir"), ("lego", "ca.example_14000"), ("certbot", "ca.example/directory")];
        assert_eq!(told(""), all.map(|(client, ca)| (client, ca.to_owned())));
        assert_eq!(told("letsencrypt/accounts/ca.example/directory/0a1b").len(), 1);
        assert_eq!(told("acme.sh/ca/ca.example/dir/account.key"), [("a key", String::new())]);
        put("acme.sh/ca/ca.example/dir/account.key", "rubbish");
        let error = found(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("acme.sh/ca/ca.example/dir/account.key"), "{error}");
    }
}
