//! Making accounts, and taking over such as there are: at most one for each run, and none where it is not asked for.

use std::sync::Arc;

use super::register::{ExternalAccount, existing, register};
use super::{Account, AccountError, Accounts};
use crate::issuer::key::{AccountKey, KeyKind};
use crate::issuer::wire::{AcmeError, Wire};
use crate::limits::Limits;
use crate::psl::SuffixList;
use crate::time::Timestamp;

/// The account that is to be made.
#[derive(Clone)]
pub struct Asked {
    /// What to call it.
    pub name: String,
    /// What kind of key it gets.
    pub key: KeyKind,
    /// How to reach its owner: `mailto:` URLs.
    pub contact: Vec<String>,
    /// Whether its owner agrees to the CA's terms.
    pub agrees: bool,
    /// What it is bound to.
    pub external: Option<ExternalAccount>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Created {
    /// The CA has made it.
    Made(Account),
    /// It had been made before; its registration was broken off after that.
    Recovered(Account),
    /// It is here, and nobody was asked.
    Known(Account),
}

impl Created {
    /// The account.
    #[must_use]
    pub const fn account(&self) -> &Account {
        match self {
            Self::Made(account) | Self::Recovered(account) | Self::Known(account) => account,
        }
    }
}

impl Accounts {
    /// The account of that name at that CA, whether it is there already or its registration was broken off.
    ///
    /// # Errors
    /// [`AccountError`] where the name is another CA's account's.
    pub fn known(&self, name: &str, directory: &str) -> Result<Option<Account>, AccountError> {
        match self.get(name)? {
            Some(of) if of.directory != directory => {
                Err(AccountError::Taken { name: of.name, directory: of.directory })
            }
            known => Ok(known),
        }
    }

    /// Makes an account, unless there is one of that name at this CA. One process at a time does.
    ///
    /// # Errors
    /// [`AccountError`] where the CA refuses, wants something else first, or its limits on new accounts want it later. Where nobody knows
    /// what the CA did, its key stays: the same again finds out.
    pub async fn create(
        &self,
        wire: &Wire,
        asked: &Asked,
        limits: (&Limits, &SuffixList),
        now: Timestamp,
    ) -> Result<Created, AccountError> {
        let _lock = self.lock()?;
        let directory = &wire.directory().url;
        let known = self.known(&asked.name, directory)?;
        let account = match known {
            Some(account) if account.url.is_some() => return Ok(Created::Known(account)),
            Some(unfinished) => match existing(wire, &unfinished.key).await? {
                Some(of) => {
                    let account = Account { url: Some(of.url), ..unfinished };
                    self.save(&account)?;
                    return Ok(Created::Recovered(account));
                }
                None => unfinished,
            },
            None => Account {
                name: asked.name.clone(),
                url: None,
                directory: directory.clone(),
                key: Arc::new(AccountKey::generate(asked.key)?),
                contact: Vec::new(),
                external_account: None,
                created_at: now,
            },
        };
        check(wire, asked)?;
        self.note_registration(directory, limits, now)?;
        let external_account = asked.external.as_ref().map(|of| of.id.clone());
        let account = Account { contact: asked.contact.clone(), external_account, ..account };
        // From here on nothing is lost: who has the key finds the account.
        self.save(&account)?;
        match register(wire, &account.key, &asked.contact, asked.external.as_ref()).await {
            Ok(of) => {
                let account = Account { url: Some(of.url), ..account };
                self.save(&account)?;
                Ok(Created::Made(account))
            }
            Err(error) => {
                if was_not_made(&error) {
                    self.forget_registration(directory, now)?;
                    self.remove(&account.name)?;
                }
                Err(error)
            }
        }
    }

    /// Takes over an account that has this key at the CA. The CA says which it is; none is made.
    ///
    /// # Errors
    /// [`AccountError::UnknownKey`] where the CA has none, and as [`Self::create`].
    pub async fn adopt(
        &self,
        wire: &Wire,
        name: &str,
        key: AccountKey,
        now: Timestamp,
    ) -> Result<Created, AccountError> {
        let _lock = self.lock()?;
        let directory = &wire.directory().url;
        if let Some(known) = self.known(name, directory)? {
            if known.key.thumbprint() != key.thumbprint() {
                return Err(AccountError::Taken { name: known.name, directory: known.directory });
            }
            if known.url.is_some() {
                return Ok(Created::Known(known));
            }
        }
        let of = existing(wire, &key).await?.ok_or_else(|| AccountError::UnknownKey(directory.clone()))?;
        let account = Account {
            name: name.to_owned(),
            url: Some(of.url),
            directory: directory.clone(),
            key: Arc::new(key),
            contact: of.contact,
            external_account: None,
            created_at: now,
        };
        self.save(&account)?;
        Ok(Created::Made(account))
    }
}

/// Whether the CA has what it wants to have first.
fn check(wire: &Wire, asked: &Asked) -> Result<(), AccountError> {
    let directory = wire.directory();
    match &directory.terms_of_service {
        Some(terms) if !asked.agrees => {
            Err(AccountError::Terms { directory: directory.url.clone(), terms: terms.clone() })
        }
        _ if directory.external_account_required && asked.external.is_none() => {
            Err(AccountError::ExternalAccountRequired(directory.url.clone()))
        }
        _ => Ok(()),
    }
}

/// Whether it is known that there is no account.
const fn was_not_made(error: &AccountError) -> bool {
    match error {
        AccountError::Acme(error) => !matches!(error, AcmeError::Lost { .. }),
        _ => false,
    }
}
