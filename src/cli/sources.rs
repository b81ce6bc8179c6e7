//! Reading what people already have, for `inventory from-certs`, `ledger import` and `gate reconcile`.

use std::path::PathBuf;

use anyhow::anyhow;

use super::Context;
use super::failure::Hint as _;
use crate::import::{self, Imported, Issuers, Options, SearchNames};
use crate::report::from_certs::broken_text;
use crate::report::words::{grouped, printable};

/// Whose certificates count, and what to do about entries that can't be read.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Sources")]
pub struct SourceOptions {
    /// Take certificates of this organisation [default: those of the policy]
    #[arg(long, value_name = "NAME")]
    pub issuer: Vec<String>,
    /// Take anybody's certificates, such as a test CA's
    #[arg(long, conflicts_with = "issuer")]
    pub all_issuers: bool,
    /// Go by the good entries even if there are bad ones
    #[arg(long)]
    pub skip_invalid: bool,
}

impl SourceOptions {
    /// Whose certificates count.
    #[must_use]
    pub fn issuers(&self, context: &Context) -> Issuers {
        match (self.all_issuers, &self.issuer[..]) {
            (true, _) => Issuers::Any,
            (false, []) => Issuers::of_policy(&context.limits.policy),
            (false, named) => Issuers::Of(named.to_vec()),
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// Where something can't be read and is not to be skipped.
    pub fn read(&self, paths: &[PathBuf], names: SearchNames, context: &Context) -> anyhow::Result<Imported> {
        let issuers = self.issuers(context);
        let options = Options { issuers, suffixes: context.suffixes(), search_names: names };
        let imported = import::read(paths, &options)?;
        for source in &imported.sources {
            let told = format!("{}: {}, {} certificates", printable(&source.name), source.kind, source.entries);
            context.terminal.detail(&told);
        }
        self.tell_broken(&imported, context)?;
        Ok(imported)
    }

    /// Tells entries that can't be read. Without `skip_invalid` they are an error.
    fn tell_broken(&self, imported: &Imported, context: &Context) -> anyhow::Result<()> {
        if imported.broken.is_empty() {
            return Ok(());
        }
        let entries = match imported.broken.len() {
            1 => "1 entry".to_owned(),
            count => format!("{} entries", grouped(count as u64)),
        };
        let told = broken_text(&imported.broken);
        if self.skip_invalid {
            context.terminal.warn(&format!("{entries} left out:\n{}", told.trim_end()));
            return Ok(());
        }
        Err(anyhow!("{entries} can't be read, and nothing was written:\n{}", told.trim_end()))
            .hint("mend or remove them, or go by the others with --skip-invalid")
    }
}
