//! What came of performing a plan, or of renewing.

use serde::Serialize;

use super::words::grouped;
use crate::issuer::engine::{Ended, Engine, Job, State};
use crate::time::{Span, Timestamp};

/// How many certificates that are not there are listed.
const LISTED: usize = 20;

/// What came of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct IssueReport {
    /// The version of this shape.
    pub certpace_issue: u32,
    /// `done`, `stuck`, `until`, `interrupted`.
    pub ended: &'static str,
    /// The ledger's time.
    pub at: Timestamp,
    /// Certificates that came.
    pub issued: u64,
    /// Orders that were issued before, or by other processes.
    pub issued_elsewhere: u64,
    /// Certificates that are held and kept fresh.
    pub fresh: u64,
    /// When the next thing is to be done.
    pub next_at: Option<Timestamp>,
    /// Orders of the plan that are still to come; `None`: there is no plan.
    pub to_come: Option<u64>,
    /// Orders that `--only` left out.
    pub left_out: u64,
    /// Orders that failed.
    pub failed: u64,
    /// Orders of which nobody knows what came.
    pub lost: u64,
    /// Orders that the CA refused (429).
    pub refused: u64,
    /// Orders that went out of the plan before they went out to the CA (`--follow`).
    pub withdrawn: u64,
    /// When the last certificate came.
    pub last_issued_at: Option<Timestamp>,
    /// Orders that went out more than a minute later than planned.
    pub late: u64,
    /// The most that one did.
    pub late_most_seconds: i64,
    /// Requests for the certificates that came.
    pub requests: u64,
    /// Certificates that are wanted and not there; the first of them.
    pub open: Vec<OpenReport>,
    /// How many those are.
    pub open_count: u64,
}

/// A certificate that is wanted and not there.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OpenReport {
    /// Its order in the plan.
    pub order: Option<u64>,
    /// Its names.
    pub names: Vec<String>,
    /// How often it failed in a row.
    pub failures: u32,
    /// Whether a person has to do something.
    pub stopped: bool,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl OpenReport {
    fn new(job: &Job) -> Self {
        Self {
            order: job.order,
            names: job.names.clone(),
            failures: job.failures,
            stopped: job.state == State::Stopped,
            last_error: job.last_error.as_ref().map(|error| error.text.clone()),
        }
    }
}

impl IssueReport {
    /// What came of what an engine did, of a plan with `to_come` orders that it has not seen; `left_out` by `--only`.
    #[must_use]
    pub fn new(ended: Ended, engine: &Engine, to_come: Option<u64>, left_out: u64) -> Self {
        let standing = engine.standing();
        // Where it was stopped, those whose turn has not come are no news.
        let all = matches!(ended, Ended::Done | Ended::Stuck);
        let open: Vec<_> = engine.lacking().filter(|job| all || job.last_error.is_some()).collect();
        let done = engine.jobs().filter(|job| job.state == State::Done).count();
        Self {
            certpace_issue: 1,
            ended: match ended {
                Ended::Done => "done",
                Ended::Stuck => "stuck",
                Ended::Until => "until",
                Ended::Interrupted => "interrupted",
            },
            at: standing.now,
            issued: standing.issued,
            issued_elsewhere: standing.elsewhere,
            fresh: (engine.jobs().count() - done - open.len()) as u64,
            next_at: standing.next_at,
            to_come,
            left_out,
            failed: standing.failed,
            lost: standing.lost,
            refused: standing.refused,
            withdrawn: standing.withdrawn,
            last_issued_at: standing.last_issued_at,
            late: standing.late,
            late_most_seconds: standing.late_most.nanos() / 1_000_000_000,
            requests: standing.requests,
            open: open.iter().take(LISTED).map(|job| OpenReport::new(job)).collect(),
            open_count: open.len() as u64,
        }
    }

    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} certificates issued", grouped(self.issued));
        if let Some(last) = self.last_issued_at {
            text.push_str(&format!(", the last at {} UTC", last.second()));
        }
        text.push('\n');
        let mut line = |count: u64, what: &str| {
            if count > 0 {
                text.push_str(&format!("  {} {what}\n", grouped(count)));
            }
        };
        line(self.issued_elsewhere, "orders were issued before, or by other processes");
        line(self.fresh, "certificates are kept fresh");
        line(self.to_come.unwrap_or(0), "orders are still to come");
        line(self.left_out, "orders left out by --only");
        line(self.failed, "orders failed");
        line(self.refused, "orders refused by the CA (429)");
        line(self.withdrawn, "orders were not wanted any more");
        line(self.lost, "orders of which nobody knows what came: they count as spent");
        if self.late > 0 {
            let most = Span::from_seconds(self.late_most_seconds);
            text.push_str(&format!("  {} orders went out later than planned, by {most} at most\n", grouped(self.late)));
        }
        if self.open_count > 0 {
            text.push_str(&format!("\nNot there: {}\n", grouped(self.open_count)));
            for open in &self.open {
                let order = open.order.map(|order| format!("order {order}: ")).unwrap_or_default();
                let why = open.last_error.as_deref().unwrap_or("not ordered yet");
                text.push_str(&format!("  {order}{}: {why}\n", open.names.join(", ")));
            }
        }
        match self.ended {
            "interrupted" => text.push_str("\nInterrupted: the same command goes on.\n"),
            "until" => text.push_str("\n--until has come: the same command goes on.\n"),
            _ => {}
        }
        text
    }
}
