//! What the commands that speak to a CA have in common: whom to trust, and what runs requests.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

use super::Context;
use super::failure::hinted;
use crate::issuer::wire::{AcmeError, Wire};
use crate::tls::Trust;

/// Whom to trust as the CA.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Test CAs")]
pub struct TrustOptions {
    /// The root of the certificate that the CA's server has, PEM [default: whoever this machine trusts]
    #[arg(long, value_name = "FILE", env = "CERTPACE_CA_ROOT", hide_env_values = true)]
    pub root: Option<PathBuf>,
    /// Don't check the certificate of the CA's server
    #[arg(long)]
    pub insecure: bool,
}

impl TrustOptions {
    /// What the options say.
    ///
    /// # Errors
    /// Where the root can't be read.
    pub fn trust(&self) -> anyhow::Result<Trust> {
        Ok(match (&self.root, self.insecure) {
            (_, true) => Trust::Anyone,
            (None, false) => Trust::System,
            (Some(path), false) => {
                let what = || format!("can't read the root of the CA's server from {}", path.display());
                Trust::Roots(fs::read(path).with_context(what)?)
            }
        })
    }

    /// Fetches a CA's directory. `speed` is how much faster than in earnest the CA's limits refill.
    ///
    /// # Errors
    /// Where there is none, with what to do.
    pub async fn open(&self, directory: &str, context: &Context, speed: u32) -> anyhow::Result<Wire> {
        let wire = Wire::open(directory, &self.trust()?, &context.limits.policy, speed).await;
        wire.map_err(advised).with_context(|| format!("can't use the CA's directory {directory}"))
    }
}

/// What runs requests.
///
/// # Errors
/// Where the system gives no threads or timers.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().context("can't begin to speak to the CA")
}

/// The error with what to do about it.
#[must_use]
pub fn advised(error: AcmeError) -> anyhow::Error {
    let hint = match &error {
        AcmeError::Unavailable { .. } => {
            "is the CA there? For a test CA, --root FILE names the root of its server's certificate, --insecure takes any"
        }
        AcmeError::Lost { .. } => "nobody knows whether the CA has done it: the same command again finds out",
        AcmeError::RateLimited { .. } | AcmeError::Problem { .. } | AcmeError::Local { .. } => return error.into(),
    };
    hinted(error.into(), hint)
}
