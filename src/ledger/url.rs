//! Which store a ledger is kept in, by its URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::LedgerError;

/// What may be done to a store that is no ledger yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It is made one: only on somebody's word, since a store that was lost looks the same.
    Init,
    /// An SQLite file is made; a shared store is refused.
    Create,
    /// It is refused.
    MustExist,
}

/// Where a ledger is.
#[derive(Clone, PartialEq, Eq)]
pub enum LedgerUrl {
    /// `sqlite:PATH`: a file on this machine.
    Sqlite(PathBuf),
    /// `redis://…` or `rediss://…`. A name after `#` tells ledgers in one database apart.
    Redis {
        /// The URL without the name.
        url: String,
        /// The ledger's name.
        name: String,
    },
    /// `postgres://…`: likewise; the name is that of a schema.
    Postgres {
        /// The URL without the name.
        url: String,
        /// The ledger's name.
        name: String,
    },
}

/// The ledger's name where the URL says none.
const NAME: &str = "certpace";

impl LedgerUrl {
    /// Whether other machines use it too: then its clock decides.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Redis { .. } | Self::Postgres { .. } => true,
        }
    }
}

impl FromStr for LedgerUrl {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let refuse = |reason: &str| LedgerError::Url { url: without_password(text), reason: reason.to_owned() };
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(refuse("write sqlite:PATH, redis://HOST/ or postgres://HOST/DATABASE"));
        };
        let named = || {
            let (url, name) = text.split_once('#').unwrap_or((text, NAME));
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if name.is_empty() || name.len() > 40 || !name.bytes().all(plain) {
                return Err(refuse("a ledger's name, after #, is at most 40 of a-z, 0-9 and _"));
            }
            Ok((url.to_owned(), name.to_owned()))
        };
        match scheme {
            "sqlite" => {
                // `sqlite:///var/lib/x` is meant as `sqlite:/var/lib/x`.
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() { Err(refuse("a path is missing")) } else { Ok(Self::Sqlite(path.into())) }
            }
            "redis" | "rediss" | "redis+unix" | "unix" => named().map(|(url, name)| Self::Redis { url, name }),
            "postgres" | "postgresql" => named().map(|(url, name)| Self::Postgres { url, name }),
            _ => Err(refuse("write sqlite:PATH, redis://HOST/ or postgres://HOST/DATABASE")),
        }
    }
}

/// As it is written, without a password.
impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis { url, name } | Self::Postgres { url, name } => {
                let url = without_password(url);
                if name == NAME { f.write_str(&url) } else { write!(f, "{url}#{name}") }
            }
        }
    }
}

impl fmt::Debug for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL with its password left out, for messages.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A password may hold an `@` that is not escaped.
    let Some((login, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    let user = login.split(':').next().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    format!("{scheme}://{user}@{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        assert_eq!(text.parse::<LedgerUrl>().map_or_else(|error| error.to_string(), |url| url.to_string()), shown);
    }

    #[test]
    fn stores_are_known_by_scheme() {
        check("sqlite:ledger.sqlite", "sqlite:ledger.sqlite");
        check("sqlite:///var/lib/ledger.sqlite", "sqlite:/var/lib/ledger.sqlite");
        check("redis://127.0.0.1:6379/2", "redis://127.0.0.1:6379/2");
        check("redis://127.0.0.1/#staging", "redis://127.0.0.1/#staging");
        check("sqlite:", "`sqlite:` is no ledger: a path is missing");
        check("mysql://x/", "`mysql://x/` is no ledger: write sqlite:PATH, redis://HOST/ or postgres://HOST/DATABASE");
        check(
            "redis://x/#Not-this",
            "`redis://x/#Not-this` is no ledger: a ledger's name, after #, is at most 40 of a-z, 0-9 and _",
        );
    }

    #[test]
    fn a_password_is_never_shown() {
        check("postgres://me:secret@db/x?sslmode=require", "postgres://me@db/x");
        check("redis://:se@cret@cache:6379/#one", "redis://@cache:6379/#one");
        check(
            "mysql://me:secret@db/x",
            "`mysql://me@db/x` is no ledger: write sqlite:PATH, redis://HOST/ or postgres://HOST/DATABASE",
        );
    }
}
