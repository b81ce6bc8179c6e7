//! Which certificate store.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::failure::Hint as _;
use super::ledger::session::state_folder;
use crate::issuer::store::Store;

/// Which certificate store.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Store")]
pub struct StoreOptions {
    /// The folder of certificates, accounts and open orders [default: `store` in your state folder]
    #[arg(long, value_name = "DIR", env = "CERTPACE_STORE", hide_env_values = true)]
    pub store: Option<PathBuf>,
}

impl StoreOptions {
    /// Its folder.
    ///
    /// # Errors
    /// Where none was named, and the environment does not say either.
    pub fn path(&self) -> anyhow::Result<PathBuf> {
        match &self.store {
            Some(path) => Ok(path.clone()),
            None => state_folder()
                .map(|folder| folder.join("store"))
                .map_err(|_nowhere| anyhow!("neither HOME nor XDG_STATE_HOME says where the store is"))
                .hint("name it: --store /var/lib/certpace"),
        }
    }

    /// Opens it, or makes it. The folders above it are made for the default alone: of one that was named, a folder that is missing may be a
    /// disk that is not there.
    ///
    /// # Errors
    /// Where that fails.
    pub fn open(&self) -> anyhow::Result<Store> {
        let path = self.path()?;
        if self.store.is_none()
            && let Some(parent) = path.parent()
        {
            fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))?;
        }
        Ok(Store::open(&path)?)
    }

    /// Opens it and changes nothing; `None` where there is none.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn find(&self) -> anyhow::Result<Option<Store>> {
        Ok(Store::find(&self.path()?)?)
    }
}
