//! Whether a store is whole, and has all that was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use certpace::issuer::certificate::Certificate;
use certpace::issuer::store::Store;
use rcgen::{KeyPair, PublicKeyData as _};

/// What workers have said is done.
#[derive(Default)]
pub(super) struct Acknowledged {
    /// Orders: whether their key was written.
    open: BTreeMap<String, bool>,
    /// Certificates: folder, version and permit.
    saved: BTreeSet<(String, String, String)>,
    /// Orders that were open when somebody looked.
    found_open: usize,
}

impl Acknowledged {
    pub(super) fn take(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["ordered", permit] => drop(self.open.insert(permit.to_owned(), false)),
            ["keyed", permit] => drop(self.open.insert(permit.to_owned(), true)),
            ["saved", folder, version, permit] => {
                self.saved.insert((folder.to_owned(), version.to_owned(), permit.to_owned()));
            }
            // From here on it may be gone.
            ["ending" | "ended", permit] => drop(self.open.remove(permit)),
            _ => {}
        }
    }

    pub(super) fn saved(&self) -> usize {
        self.saved.len()
    }

    pub(super) fn left_open(&self) -> usize {
        self.found_open
    }

    /// All that was acknowledged is there, and all that is there is whole.
    pub(super) fn check(&mut self, root: &Path) {
        let store = Store::open(root).unwrap();
        for lineage in store.lineages().unwrap() {
            let lineage = lineage.unwrap();
            assert_eq!(store.lineage(&lineage.names).unwrap().unwrap(), lineage);
            let live = check_pair(&lineage.live());
            assert_eq!((&live.names, live.serial.to_string()), (&lineage.names, lineage.metadata.serial));
            for version in fs::read_dir(lineage.folder.join("archive")).unwrap().map(Result::unwrap) {
                if !version.file_name().to_str().unwrap().starts_with('.') {
                    check_pair(&version.path());
                }
            }
        }
        for (folder, version, permit) in &self.saved {
            let path = root.join("certificates").join(folder).join("archive").join(version).join("certificate.json");
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(text.contains(&format!("\"permit\": \"{permit}\"")), "{text}");
        }
        let orders = store.open_orders().unwrap();
        self.found_open += orders.len();
        let slots = store.orphans().unwrap();
        for (permit, has_key) in &self.open {
            assert!(orders.iter().any(|order| order.permit == *permit), "{permit} is lost: {orders:#?}");
            let key = slots.iter().find_map(|slot| slot.key(permit).unwrap());
            assert!(!has_key || key.is_some(), "the key of {permit} is lost");
        }
    }
}

/// That a folder has a certificate with its chain and its key.
fn check_pair(folder: &Path) -> Certificate {
    let file = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let certificate = Certificate::parse(file("cert.pem").as_bytes()).unwrap();
    let key = KeyPair::from_pem(&file("privkey.pem")).unwrap();
    assert_eq!(key.subject_public_key_info(), certificate.public_key, "{}", folder.display());
    assert_eq!(file("cert.pem") + &file("chain.pem"), file("fullchain.pem"));
    certificate
}

/// All that lies below a folder, and the folder.
pub(super) fn files_below(folder: &Path) -> Vec<(PathBuf, Metadata)> {
    let mut found = vec![(folder.to_owned(), fs::symlink_metadata(folder).unwrap())];
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let of = entry.metadata().unwrap();
        if of.is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push((entry.path(), of));
        }
    }
    found
}
