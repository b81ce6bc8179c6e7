//! The options of a plan as its first line keeps them, and back: to plan the same way again.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::ledger::LedgerArgs;
use super::{Args, mix, names_per_cert};
use crate::plan::{Mix, NamesPerCertificate, Share};
use crate::report::plan_file::{Asked, PlanHead};
use crate::time::Span;

impl Args {
    /// What the plan keeps of them.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            account: self.account.clone(),
            profile: self.profile.clone(),
            deadline: self.deadline,
            names_per_cert: match self.names_per_cert {
                NamesPerCertificate::Auto => "auto".to_owned(),
                NamesPerCertificate::AtMost(names) => names.to_string(),
            },
            max_certificates: self.max_certificates,
            mix: match self.mix {
                Mix::None => "none".to_owned(),
                Mix::Tenant => "tenant".to_owned(),
            },
            fold_wildcards: self.fold_wildcards,
            no_ari: self.no_ari,
            horizon: self.horizon.compact(),
            spread: self.spread.compact(),
            skip_invalid: self.skip_invalid,
        }
    }

    /// The options that go on with the plan in the file `plan`, of which `head` is the first line, for `inventories`, from what `ledger` says.
    ///
    /// # Errors
    /// Where that line does not say how it was made, or says what can't be read.
    pub fn going_on(
        plan: PathBuf,
        head: &PlanHead,
        inventories: Vec<PathBuf>,
        ledger: LedgerArgs,
    ) -> anyhow::Result<Self> {
        let asked = head.options.clone().ok_or_else(|| {
            anyhow!("{} does not say with which options it was made: an older certpace wrote it", plan.display())
        })?;
        let bad = |what: &str| format!("{}: its {what} can't be read", plan.display());
        let share = |text: &str, what| Share::parse(text).with_context(|| bad(what));
        let span = |text: &str, what| Span::parse(text).with_context(|| bad(what));
        Ok(Self {
            inventories,
            output: Some(plan.clone()),
            start: None,
            deadline: asked.deadline,
            names_per_cert: names_per_cert(&asked.names_per_cert)
                .map_err(|why| anyhow!(why).context(bad("names_per_cert")))?,
            max_certificates: asked.max_certificates,
            mix: mix(&asked.mix).map_err(|why| anyhow!(why).context(bad("mix")))?,
            fold_wildcards: asked.fold_wildcards,
            no_ari: asked.no_ari,
            headroom: share(&head.headroom, "headroom")?,
            reserve_rate: share(&head.reserve_rate, "reserve_rate")?,
            margin: None,
            horizon: span(&asked.horizon, "horizon")?,
            spread: span(&asked.spread, "spread")?,
            past_deadlines: true,
            skip_invalid: asked.skip_invalid,
            rejects: None,
            account: asked.account,
            profile: asked.profile,
            ledger,
            from: Some(plan),
        })
    }
}
