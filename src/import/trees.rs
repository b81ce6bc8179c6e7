//! The trees in which ACME clients keep certificates: whose a file is, and whether what it holds is still in use.
//!
//! | client | where | what is in use |
//! |---|---|---|
//! | certbot | `live/NAME/cert.pem`, `fullchain.pem`, which are links to `archive/NAME/cert12.pem`, … | what `live` points at; without `live`, the highest number |
//! | lego | `certificates/NAME.crt` | all |
//! | acme.sh | `NAME/NAME.cer`, `NAME_ecc/NAME.cer`, `fullchain.cer` | all |
//! | Caddy | `certificates/CA-directory/NAME/NAME.crt` | all |

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::Kind;

/// Recognises files by where they stand. What it has seen of a directory is kept.
#[derive(Debug, Default)]
pub(super) struct Trees {
    /// By directory of certbot's archive: the numbers of the certificates that are in use.
    in_use: HashMap<PathBuf, Vec<u64>>,
}

impl Trees {
    /// Whose a PEM file is, and whether what it holds is in use.
    pub(super) fn place(&mut self, path: &Path) -> (Kind, bool) {
        let mut above = path.ancestors().skip(1).map(|folder| folder.file_name().unwrap_or_default());
        let names = [above.next(), above.next(), above.next()].map(Option::unwrap_or_default);
        let [parent, grandparent, _] = names;
        let stem = path.file_stem().unwrap_or_default();
        let extension = path.extension().unwrap_or_default();
        if grandparent == "live" && extension == "pem" && number(stem).0 == stem {
            return (Kind::Certbot, true);
        }
        if grandparent == "archive" && extension == "pem" && number(stem).1.is_some() {
            return (Kind::Certbot, self.in_use(path));
        }
        let kind = match extension.to_str() {
            Some("crt") if parent == stem && names[2] == "certificates" => Kind::Caddy,
            Some("crt") if parent == "certificates" => Kind::Lego,
            Some("cer") if stem == "fullchain" || is_acme_sh(parent, stem) => Kind::AcmeSh,
            _ => Kind::Pem,
        };
        (kind, true)
    }

    /// Whether a file of certbot's archive is one that `live` points at; without `live`, whether it is the last.
    fn in_use(&mut self, path: &Path) -> bool {
        let (Some(folder), Some(number)) = (path.parent(), path.file_stem().and_then(|stem| number(stem).1)) else {
            return true;
        };
        if !self.in_use.contains_key(folder) {
            let live =
                folder.ancestors().nth(2).zip(folder.file_name()).map(|(root, name)| root.join("live").join(name));
            let numbers = match live.filter(|live| live.is_dir()) {
                Some(live) => numbers_in(&live, |path| fs::canonicalize(path).ok()),
                None => numbers_in(folder, |path| Some(path.to_owned())).into_iter().max().into_iter().collect(),
            };
            self.in_use.insert(folder.to_owned(), numbers);
        }
        self.in_use.get(folder).is_some_and(|numbers| numbers.contains(&number))
    }
}

/// The numbers of what a directory's entries stand for.
fn numbers_in(folder: &Path, target: impl Fn(&Path) -> Option<PathBuf>) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| number(target(&entry.path())?.file_stem()?).1).collect()
}

/// `cert12` as `cert` and 12.
fn number(stem: &OsStr) -> (&OsStr, Option<u64>) {
    let Some(text) = stem.to_str() else { return (stem, None) };
    let name = text.trim_end_matches(|c: char| c.is_ascii_digit());
    (OsStr::new(name), text[name.len()..].parse().ok())
}

/// `NAME.cer` in `NAME` or `NAME_ecc`.
fn is_acme_sh(parent: &OsStr, stem: &OsStr) -> bool {
    let (Some(parent), Some(stem)) = (parent.to_str(), stem.to_str()) else { return false };
    parent.strip_suffix("_ecc").unwrap_or(parent) == stem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Kind) {
        assert_eq!(Trees::default().place(Path::new(path)).0, expected, "{path}");
    }

    #[test]
    fn trees_are_told_apart() {
        check("/etc/letsencrypt/live/example.com/cert.pem", Kind::Certbot);
        check("/etc/letsencrypt/live/example.com/fullchain.pem", Kind::Certbot);
        check("archive/example.com/cert3.pem", Kind::Certbot);
        check(".lego/certificates/_.example.com.crt", Kind::Lego);
        check(".acme.sh/example.com_ecc/example.com.cer", Kind::AcmeSh);
        check(".acme.sh/example.com/fullchain.cer", Kind::AcmeSh);
        check(
            "caddy/certificates/acme-v02.api.letsencrypt.org-directory/wildcard_.example.com/wildcard_.example.com.crt",
            Kind::Caddy,
        );
        check("/etc/nginx/ssl/example.com.pem", Kind::Pem);
        check("cert.pem", Kind::Pem);
    }
}
