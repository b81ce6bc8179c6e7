//! What is seen of a plan being performed: a bar on a terminal, lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::Context;
use super::super::terminal::{Terminal, Verbosity};
use super::OrderOptions;
use super::hooks::Hooks;
use super::left::Undeployed;
use crate::clock::Stopwatch;
use crate::issuer::engine::{Event, Job, Standing};
use crate::issuer::order::Orders;
use crate::issuer::store::{Slot, Store};
use crate::name::NameSet;
use crate::time::{Span, Timestamp};

/// How often a line says how it stands, where there is no terminal.
const EVERY: Span = Span::from_seconds(60);

/// What is to come, as far as that is known.
#[derive(Clone, Copy, Default, Debug)]
pub struct Expected {
    /// How many orders.
    pub orders: Option<u64>,
    /// When the plan has its last order go out.
    pub last_at: Option<Timestamp>,
}

/// What is seen.
pub struct Progress {
    terminal: Terminal,
    bar: ProgressBar,
    expected: Expected,
    store: Store,
    slot: Arc<Slot>,
    hooks: Hooks,
    deploy: Option<String>,
    on_error: Option<String>,
    said: Stopwatch,
    /// Buckets in the way that were told, and until when.
    told: BTreeMap<String, Timestamp>,
    unreachable: u64,
}

impl Progress {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(expected: Expected, options: &OrderOptions, orders: &Orders, context: &Context) -> Self {
        let terminal = context.terminal;
        let shows = terminal.verbosity() >= Verbosity::Normal && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            expected.orders,
            if shows { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_error| ProgressStyle::default_bar()));
        Self {
            terminal,
            bar,
            expected,
            store: orders.store.clone(),
            slot: Arc::clone(&orders.slot),
            hooks: Hooks::start(terminal),
            deploy: options.deploy.clone(),
            on_error: options.on_error.clone(),
            said: Stopwatch::start(),
            told: BTreeMap::new(),
            unreachable: 0,
        }
    }

    /// Something has happened.
    pub fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Issued(job, permit) => self.issued(job, permit),
            Event::IssuedElsewhere(job) => self.detail(&format!("{} is issued already", shown(job))),
            Event::Failed(job, names) => self.failed(job, names),
            Event::Refused(job, why) => self.warn(&format!("{}: the CA refused: {why}", shown(job))),
            Event::Lost(job, why) => self.warn(&format!("{}: nobody knows what came of it: {why}", shown(job))),
            Event::Never(job, why) => self.warn(&format!("{}: {why}", shown(job))),
            Event::Later(job, blocking) => {
                let known = self.told.get(&blocking.bucket).copied();
                if known.is_none_or(|known| known < blocking.at) {
                    self.told.insert(blocking.bucket.clone(), blocking.at);
                    self.detail(&format!("{} waits for {} until {}", shown(job), blocking.bucket, blocking.at));
                }
            }
            Event::Unreachable(why) => {
                self.unreachable += 1;
                if self.unreachable.is_power_of_two() {
                    self.warn(&format!("the CA can't be reached: {why}"));
                }
            }
            Event::NoLedger(why) => self.warn(&format!("the ledger can't be reached, and nothing goes out: {why}")),
            Event::Split(rest, alone) => {
                self.warn(&format!("{} is ordered without {}, which failed", shown(rest), shown(alone)));
            }
            Event::Note(text) => self.warn(text),
            Event::News(text) => self.bar.suspend(|| self.warn_plain(text)),
            Event::Tick(standing) => self.stands(standing),
        }
    }

    fn issued(&mut self, job: &Job, permit: &str) {
        self.unreachable = 0;
        self.detail(&format!("{} is issued", shown(job)));
        if let Ok(names) = NameSet::parse(job.names.iter().map(String::as_str)) {
            self.deploy(Undeployed { names, slot: Arc::clone(&self.slot), permit: permit.to_owned() });
        }
    }

    /// Has the user's command run, where there is one: again and again until it has ended, also over processes that are killed.
    pub fn deploy(&self, Undeployed { names, slot, permit }: Undeployed) {
        let Some(command) = &self.deploy else { return };
        let lineage = self.store.lineage(&names);
        let names = names.identifiers().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        match lineage {
            Ok(Some(of)) => {
                let environment = vec![("CERTPACE_NAMES", names), ("CERTPACE_LIVE", of.live().display().to_string())];
                self.hooks.run(command, environment, move || slot.deployed(&permit));
            }
            // Without its folder the command would have nothing to deploy.
            Ok(None) => {
                self.warn(&format!(
                    "the certificate of {names} was removed from the store: --deploy is not run for it"
                ));
                if let Err(error) = slot.deployed(&permit) {
                    self.warn(&error.to_string());
                }
            }
            Err(error) => self.warn(&format!("--deploy is not run for {names}, but by the next start: {error}")),
        }
    }

    fn failed(&mut self, job: &Job, names: &[(String, String)]) {
        let why = job.last_error.as_ref().map_or("", |error| &error.text);
        self.warn(&format!("{}: {why}", shown(job)));
        if let Some(command) = &self.on_error {
            let failed: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
            let environment = vec![
                ("CERTPACE_NAMES", job.names.join(" ")),
                ("CERTPACE_FAILED", failed.join(" ")),
                ("CERTPACE_ERROR", why.to_owned()),
            ];
            self.hooks.run(command, environment, || Ok(()));
        }
    }

    fn stands(&mut self, standing: &Standing) {
        let done = standing.issued + standing.elsewhere;
        let next = standing.next_at.map(|at| format!(", next {} UTC", at.minute())).unwrap_or_default();
        // What is late by now takes at least until its time.
        let ends = self.expected.last_at.filter(|ends| *ends > standing.now);
        let ends = ends.map(|at| format!(", done {} UTC", at.minute())).unwrap_or_default();
        let text = format!("{} under way, {} failed{next}{ends}", standing.in_flight, standing.failed);
        if !self.bar.is_hidden() {
            self.bar.set_position(done);
            self.bar.set_message(text);
        } else if self.said.elapsed() >= EVERY {
            self.said = Stopwatch::start();
            let of = self.expected.orders.map(|total| format!(" of {total}")).unwrap_or_default();
            self.warn_plain(&format!("{} UTC: {done}{of} issued, {text}", standing.now.second()));
        }
    }

    /// A line that is no warning.
    fn warn_plain(&self, text: &str) {
        if self.terminal.verbosity() >= Verbosity::Normal {
            self.terminal.progress(text);
        }
    }

    fn warn(&self, text: &str) {
        self.bar.suspend(|| self.terminal.warn(text));
    }

    fn detail(&self, text: &str) {
        self.bar.suspend(|| self.terminal.detail(text));
    }

    /// All is over: waits for the user's commands.
    pub fn end(&mut self) {
        self.bar.finish_and_clear();
        self.hooks.end();
    }
}

/// A job for people: its order and its names.
fn shown(job: &Job) -> String {
    let order = job.order.map(|order| format!("order {order}, ")).unwrap_or_default();
    let names = match &job.names[..] {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    format!("{order}{names}")
}
