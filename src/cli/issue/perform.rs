//! What `issue` and `renew` do once all is there: the orders, and the answer to what came of them.

use anyhow::anyhow;

use super::super::failure::hinted;
use super::super::{Context, Format};
use super::progress::Progress;
use super::start::Started;
use crate::issuer::engine::{Ended, Engine, EngineError, Source};
use crate::issuer::order::OrderError;
use crate::report::issue::IssueReport;
use crate::report::json;

impl Started {
    /// Has the engine take orders from `source` until it ends, and answers what came of them; they are told to `progress` as they come.
    ///
    /// # Errors
    /// Where it could not go on, with what to do; what was under way is on disk.
    pub async fn perform(
        self,
        engine: &mut Engine,
        source: &mut dyn Source,
        mut progress: Progress,
        context: &Context,
    ) -> anyhow::Result<(Ended, IssueReport)> {
        let Self { mut ledger, stop, .. } = self;
        let ended = engine.run(source, stop, &mut |event| progress.tell(&event)).await;
        ledger.remember();
        progress.end();
        let ended = ended.map_err(explained)?;
        let report = IssueReport::new(ended, engine, source.to_come(), source.left_out());
        context.terminal.answer(&match context.format {
            Format::Json => json::pretty(&report),
            Format::Text => report.text(),
        })?;
        Ok((ended, report))
    }
}

/// Why it could not go on, with what to do.
fn explained(error: EngineError) -> anyhow::Error {
    match error {
        EngineError::Source(error) => anyhow!(error),
        EngineError::Order(OrderError::Gate(error)) => error.into(),
        EngineError::Order(error) => {
            hinted(error.into(), "what was under way is on disk: mend it and start again, and it goes on")
        }
    }
}
