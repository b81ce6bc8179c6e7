//! Accounts, as text and JSON.
//!
//! ```text
//! {"certpace_account":1,"outcome":"made|recovered|known|imported","account":{"name","directory","url","key","thumbprint","contact":[…],
//!  "external_account","created_at"}}
//! {"certpace_account":1,"outcome":"later","directory","retry_at","reason"}
//! {"certpace_accounts":1,"accounts":[{…}]}
//! ```
//!
//! What does not apply is left out; `url` is null while nobody knows whether the CA has made the account.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::style::{FAINT, GOOD, NAME, PLAIN, WARN, paint};
use super::table::{Align, Table};
use super::words::printable;
use crate::issuer::account::Account;
use crate::time::Timestamp;

/// The version of the shapes.
const VERSION: u32 = 1;

/// What came of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The CA has made it.
    Made,
    /// The CA had made it before, when its registration was broken off.
    Recovered,
    /// It was here already.
    Known,
    /// It was another client's.
    Imported,
    /// Not now.
    Later,
}

/// What came of making an account, or taking one over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AccountReport {
    certpace_account: u32,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The accounts that are here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListReport {
    certpace_accounts: u32,
    accounts: Vec<Row>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Row {
    name: String,
    directory: String,
    url: Option<String>,
    key: String,
    thumbprint: String,
    contact: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_account: Option<String>,
    created_at: Timestamp,
}

impl Row {
    fn of(account: &Account) -> Self {
        Self {
            name: account.name.clone(),
            directory: account.directory.clone(),
            url: account.url.clone(),
            key: account.key_kind().to_string(),
            thumbprint: account.key.thumbprint(),
            contact: account.contact.clone(),
            external_account: account.external_account.clone(),
            created_at: account.created_at,
        }
    }
}

impl AccountReport {
    /// There is an account.
    #[must_use]
    pub fn of(outcome: Outcome, account: &Account) -> Self {
        let account = Some(Row::of(account));
        Self { certpace_account: VERSION, outcome, account, directory: None, retry_at: None, reason: None }
    }

    /// There can't be one before `retry_at`.
    #[must_use]
    pub fn later(directory: &str, retry_at: Option<Timestamp>, reason: String) -> Self {
        Self {
            certpace_account: VERSION,
            outcome: Outcome::Later,
            account: None,
            directory: Some(directory.to_owned()),
            retry_at,
            reason: Some(reason),
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        if let Some(Row { name, directory, url, key, contact, .. }) = &self.account {
            let what = match self.outcome {
                Outcome::Made => "made",
                Outcome::Recovered => "found again, after it was broken off",
                Outcome::Known => "there already",
                Outcome::Imported => "taken over",
                Outcome::Later => "not now",
            };
            let _infallible = writeln!(out, "{} {}: {what}", paint(GOOD, "✓ account"), paint(NAME, name));
            for (title, text) in [("directory", directory.clone()), ("URL", url.clone().unwrap_or_default())]
                .into_iter()
                .chain([("key", key.clone()), ("contact", contact.join(", "))])
                .filter(|(_, text)| !text.is_empty())
            {
                let _infallible = writeln!(out, "  {} {}", paint(FAINT, &format!("{title:<9}")), printable(&text));
            }
        } else {
            let until = self.retry_at.map_or_else(String::new, |at| format!(", until {at}"));
            let _infallible = writeln!(out, "{}{until}", paint(WARN, "not now"));
            let _infallible = writeln!(out, "  {}", printable(self.reason.as_deref().unwrap_or_default()));
        }
        out
    }
}

impl ListReport {
    /// These.
    #[must_use]
    pub fn of(accounts: &[Account]) -> Self {
        Self { certpace_accounts: VERSION, accounts: accounts.iter().map(Row::of).collect() }
    }

    /// A table for people.
    #[must_use]
    pub fn text(&self, folder: &Path) -> String {
        if self.accounts.is_empty() {
            return format!("no accounts in {}\n", folder.display());
        }
        let titles = ["name", "directory", "URL", "key", "contact", "since"];
        let mut table = Table::new(titles.map(|title| (title, Align::Left)));
        for of in &self.accounts {
            let (style, url) = match &of.url {
                Some(url) => (PLAIN, url.clone()),
                None => (WARN, "unknown: `account create` again asks the CA".to_owned()),
            };
            table.row([
                (NAME, of.name.clone()),
                (PLAIN, of.directory.clone()),
                (style, printable(&url)),
                (PLAIN, of.key.clone()),
                (PLAIN, printable(&of.contact.join(", "))),
                (PLAIN, of.created_at.day()),
            ]);
        }
        table.render()
    }
}
