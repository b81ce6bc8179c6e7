//! Why there is no account.

use std::path::PathBuf;

use crate::issuer::files::FileError;
use crate::issuer::key::KeyError;
use crate::issuer::wire::AcmeError;
use crate::time::Timestamp;

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is none of ours.
    #[error("{} holds no account: {what}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No account can be called that.
    #[error("`{0}` can't be an account's name: use up to 64 letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// The name is another's.
    #[error("there is an account `{name}` already, of {directory}")]
    Taken {
        /// The name.
        name: String,
        /// The CA of the account that has it.
        directory: String,
    },
    /// There is none of that name.
    #[error("there is no account `{name}` in {}{}", folder.display(), list(known))]
    Unknown {
        /// The name.
        name: String,
        /// Where it would be.
        folder: PathBuf,
        /// What is there.
        known: Vec<String>,
    },
    /// The account is another CA's.
    #[error("the account `{name}` is one of {directory}, not of {asked}")]
    Elsewhere {
        /// The account.
        name: String,
        /// Its CA.
        directory: String,
        /// The CA that was asked for.
        asked: String,
    },
    /// There is none for that CA.
    #[error("there is no account for {directory} in {}{}", folder.display(), list(known))]
    None {
        /// The CA.
        directory: String,
        /// Where it would be.
        folder: PathBuf,
        /// What is there.
        known: Vec<String>,
    },
    /// There are several for that CA.
    #[error("there are several accounts for {directory}: {}", names.join(", "))]
    Several {
        /// The CA.
        directory: String,
        /// Which.
        names: Vec<String>,
    },
    /// Nobody knows whether the CA made it.
    #[error("the registration of the account `{0}` was broken off")]
    Unfinished(String),
    /// The CA has terms to agree to.
    #[error("{directory} has terms that an account has to agree to: {terms}")]
    Terms {
        /// The CA.
        directory: String,
        /// Where they are.
        terms: String,
    },
    /// The CA wants accounts bound to others.
    #[error("{0} wants every account to be bound to one that it knows otherwise (external account binding)")]
    ExternalAccountRequired(String),
    /// Too many accounts were made lately.
    #[error("too many new accounts from this machine: the next at {until}")]
    NotNow {
        /// When the next can be made.
        until: Timestamp,
    },
    /// The CA does not know the key.
    #[error("{0} has no account with this key")]
    UnknownKey(String),
    /// The account is not valid any more.
    #[error("the account {url} is {status}")]
    NotValid {
        /// Which.
        url: String,
        /// `deactivated` or `revoked`.
        status: String,
    },
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What the CA said, or what came instead.
    #[error(transparent)]
    Acme(#[from] AcmeError),
}

fn list(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are: {}", known.join(", ")) }
}
