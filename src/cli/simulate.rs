//! `certpace simulate PLAN|SCENARIO`: what comes of a plan, or of clients as they are, when things go wrong.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use rayon::prelude::*;

use super::failure::Hint as _;
use super::output::{self, Interrupt};
use super::{Context, Exit, Format, TEMPLATE, scenario};
use crate::report::simulation::{Case, SimulationReport, text};
use crate::report::{json, trace};
use crate::sim::{self, Behaviour, Measures, Seed, Setup};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// Plans that `certpace plan -o` has written, or scenarios, TOML files
    #[arg(value_name = "PLAN|SCENARIO", required = true)]
    pub inputs: Vec<PathBuf>,
    /// How often to run it, with as many seeds: gives quantiles and the chance of what must not happen
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub runs: u64,
    /// The first seed [default: the scenario's, else 1]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Run these clients side by side in place of the scenario's, such as certbot,traefik
    #[arg(long, value_name = "CLIENTS", value_delimiter = ',', value_parser = behaviour)]
    pub compare: Vec<Behaviour>,
    /// Where to write every step, as JSON Lines
    #[arg(long, value_name = "FILE", conflicts_with_all = ["runs", "compare"])]
    pub trace: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  certpace simulate plan.jsonl                        each order up to the margin late: is one refused?
  certpace simulate plan.jsonl --runs 100             the same with a hundred seeds
  certpace simulate outage.toml                       a scenario
  certpace simulate outage.toml --compare certbot,caddy,certpace
  certpace simulate outage.toml --trace steps.jsonl   every step

A scenario has the keys
  title start duration      and may have story, policy, overrides, seed, steps_max, latency
  [inventory]               file, or hostnames with domains, tenants, accounts, held
  [[client]]                behaviour: certpace, plan, certbot, cert-manager, caddy, traefik, lego,
                            acme.sh, naive; name account ip replicas profile share names_per_cert
                            margin headroom tick deactivates ledger
  [[event]]                 kind and at; by kind: until endpoint delay share probability certificates
                            every client deadline ahead downtime hostnames name limit id burst
                            count period age
    kinds                   outage slow-validation failing-names repair unpause strangers
                            lose-storage revocation clock-skew crash add-hostnames remove-hostnames
                            policy override lose-ledger restore-ledger
  [[expect]]                measure op value";

const NEXT: &str =
    "Exit codes: 0 simulated, whatever came of it; 1 bad input; 2 usage; 6 the plan is stale: made under other
limits, and these refuse some of its orders.";

fn behaviour(text: &str) -> Result<Behaviour, String> {
    let known = || Behaviour::ALL.map(Behaviour::as_str).join(", ");
    Behaviour::parse(text).ok_or_else(|| format!("no client of that name; there are {}", known()))
}

/// What is simulated, ready to run: once as it is, or once for each client that is compared.
struct Ready {
    title: String,
    cases: Vec<(String, Setup)>,
    /// How the limits differ from those under which a plan was made.
    other_limits: Option<String>,
}

/// Simulates and prints the measures.
///
/// # Errors
/// Where the plan or the scenario can't be read, or the trace can't be written.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    if args.inputs.len() > 1 && args.trace.is_some() {
        return Err(anyhow!("--trace takes one plan or scenario")).hint("every step of one run is written to one file");
    }
    let mut exit = Exit::DONE;
    let mut reports = Vec::new();
    for path in &args.inputs {
        let (report, is_stale) = report(path, args, context)?;
        if is_stale {
            exit = Exit::STALE;
        }
        reports.push(report);
    }
    let answer = match (context.format, &reports[..]) {
        (Format::Json, [report]) => json::pretty(report),
        (Format::Json, _) => json::pretty(&reports),
        (Format::Text, _) => reports.iter().map(text).collect::<Vec<_>>().join("\n"),
    };
    context.terminal.answer(&answer)?;
    Ok(exit)
}

/// Simulates one; says too whether it is a plan that is stale.
fn report(path: &Path, args: &Args, context: &Context) -> anyhow::Result<(SimulationReport, bool)> {
    let ready = ready(path, args, context)?;
    let first = args.seed.map_or_else(|| ready.cases[0].1.seed(), Seed);
    let mut cases = Vec::new();
    for (name, setup) in &ready.cases {
        let all: Vec<Measures> = match &args.trace {
            Some(path) => vec![traced(setup, first, path)?],
            None => (0..args.runs).into_par_iter().map(|place| sim::run(setup, first.plus(place))).collect(),
        };
        cases.push(Case::new(name.clone(), all));
    }
    let report =
        SimulationReport { certpace_simulation: 1, title: ready.title, first_seed: first, runs: args.runs, cases };
    let refused = report.cases[0].first.count(sim::Measure::Refusals);
    let is_stale = ready.other_limits.is_some() && refused > 0;
    if let Some(other) = ready.other_limits {
        context.terminal.warn(&other);
        if is_stale {
            let again = "certpace plan INVENTORY --from PLAN plans again";
            context.terminal.warn(&format!("the plan is stale: these limits refuse {refused} times; {again}"));
        }
    }
    Ok((report, is_stale))
}

fn ready(path: &Path, args: &Args, context: &Context) -> anyhow::Result<Ready> {
    if is_plan(path)? {
        if !args.compare.is_empty() {
            return Err(anyhow!("{} is a plan, which is performed by one client alone", path.display()))
                .hint("--compare takes a scenario");
        }
        let title = format!("The plan {}, each order up to its margin late", path.display());
        let (setup, other_limits) = scenario::plan(path, context)?;
        return Ok(Ready { title, cases: vec![("plan".to_owned(), setup)], other_limits });
    }
    let mut loaded = scenario::load(path, context)?;
    let title = loaded.scenario.title.clone();
    let own = loaded.scenario.clone();
    let mut cases = Vec::new();
    if args.compare.is_empty() {
        let names: Vec<&str> = own.clients.iter().map(|client| client.name.as_str()).collect();
        cases.push((names.join(", "), loaded.set_up(context)?));
    }
    for behaviour in &args.compare {
        loaded.scenario = own.with_behaviour(*behaviour);
        cases.push((behaviour.to_string(), loaded.set_up(context)?));
    }
    Ok(Ready { title, cases, other_limits: None })
}

/// A plan is JSON Lines, and TOML never begins with a brace; stdin can only be a plan.
fn is_plan(path: &Path) -> anyhow::Result<bool> {
    if path.as_os_str() == "-" {
        return Ok(true);
    }
    let fail = || format!("can't read the plan or scenario from {}", path.display());
    let mut first = [0];
    let read = File::open(path).and_then(|mut file| file.read(&mut first)).with_context(fail)?;
    Ok(read == 1 && first == *b"{")
}

/// Bytes of a trace that are kept together.
const TRACE_BYTES: usize = 1 << 20;

fn traced(setup: &Setup, seed: Seed, path: &Path) -> anyhow::Result<Measures> {
    let (mut full, mut last) = (Vec::new(), Vec::new());
    let measures = sim::run_traced(setup, seed, &mut |entry| {
        trace::push_line(&mut last, setup, entry);
        if last.len() > TRACE_BYTES {
            full.push(vec![std::mem::take(&mut last)]);
        }
    });
    full.push(vec![last]);
    output::write(path, &Interrupt::watch(), full.into_iter())?;
    Ok(measures)
}
