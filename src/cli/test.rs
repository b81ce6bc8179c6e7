//! `certpace test SCENARIO…`: runs scenarios and holds them to what they expect.

mod collect;
mod twice;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use rayon::prelude::*;

use super::failure::{Hint as _, hinted, hints};
use super::scenario::{self, Loaded, Unusable};
use super::{AskedFormat, Context, Exit, TEMPLATE};
use crate::report::json;
use crate::report::test::{Broken, Determinism, TestReport, Tested};
use crate::report::test::{github::github, junit::junit, text::text};
use crate::sim::{self, Measure, Measures, Seed, Setup};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// Scenarios: files, folders whose *.toml are scenarios, or patterns such as 'scenarios/ca-*'
    #[arg(value_name = "SCENARIO", required_unless_present = "init")]
    pub scenarios: Vec<PathBuf>,
    /// Run each with these seeds, and expect the same of every run [default: the scenario's own]
    #[arg(long, value_name = "FIRST..LAST", value_parser = seeds)]
    pub seeds: Option<Seeds>,
    /// Run each seed twice, on one thread and on several, and compare every step
    #[arg(long)]
    pub check_determinism: bool,
    /// Write an example with comments to start from, and run nothing
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        default_missing_value = "scenario.toml",
        conflicts_with_all = ["scenarios", "seeds", "check_determinism"]
    )]
    pub init: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  certpace test scenarios                     all scenarios of a folder
  certpace test outage.toml --seeds 1..100    the same expectations of a hundred runs
  certpace test scenarios --format junit      for CI servers; --format github for GitHub Actions
  certpace test scenarios --check-determinism
  certpace test --init outage.toml            an example to start from

An expectation names a measure, a comparison and a value:
  [[expect]]
  measure = \"refusals\"
  op = \"==\"
  value = 0";

const NEXT: &str =
    "Exit codes: 0 all as expected; 1 a scenario is broken, or there is none; 2 usage; 5 something is not as expected.
docs/scenarios.md has every key of a scenario and every measure.";

const EXAMPLE: &str = include_str!("../../docs/scenario.toml");

/// Seeds from the first to the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeds {
    first: Seed,
    runs: u64,
}

/// More runs than this are a slip.
const RUNS_MAX: u64 = 1_000_000;

fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| {
        text.parse::<u64>().map_err(|_no_number| format!("`{text}` is no seed; write FIRST..LAST, such as 1..100"))
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first)?, number(last.trim_start_matches('='))?),
        None => (number(text)?, number(text)?),
    };
    match last.checked_sub(first) {
        Some(more) if more < RUNS_MAX => Ok(Seeds { first: Seed(first), runs: more + 1 }),
        Some(_) => Err(format!("these are more than {RUNS_MAX} seeds")),
        None => Err(format!("{last} is before {first}; both the first and the last seed are run")),
    }
}

/// Runs scenarios and prints how they stand to their expectations.
///
/// # Errors
/// Where there is nothing to run, or the answer can't be written. A scenario that is broken is part of the answer.
pub fn run(args: &Args, format: AskedFormat, context: &Context) -> anyhow::Result<Exit> {
    if let Some(path) = &args.init {
        return init(path, context);
    }
    let files = collect::files(&args.scenarios)?;
    // Read one after the other, since what is odd about overrides is told; run side by side.
    let loaded: Vec<_> = files.iter().map(|path| (path, scenario::load(path, context))).collect();
    let tested: Vec<_> = loaded.into_par_iter().map(|(path, loaded)| test(path, loaded, args, context)).collect();
    let report = TestReport::new(tested);
    let answer = match format {
        AskedFormat::Text => text(&report),
        AskedFormat::Json => json::pretty(&report),
        AskedFormat::Junit => junit(&report),
        AskedFormat::Github => github(&report),
    };
    context.terminal.answer(&answer)?;
    Ok(match (report.broken, report.failed) {
        (0, 0) => Exit::DONE,
        (0, _) => Exit::EXPECTATION_FAILED,
        _ => Exit::ERROR,
    })
}

/// Writes the example, unless there is a file.
fn init(path: &Path, context: &Context) -> anyhow::Result<Exit> {
    let name = path.display();
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(anyhow!("{name} is there already, and is left as it is"))
                .hint("name another file: certpace test --init FILE");
        }
        opened => opened.with_context(|| format!("can't write the example to {name}"))?,
    };
    file.write_all(EXAMPLE.as_bytes()).with_context(|| format!("can't write the example to {name}"))?;
    context.terminal.answer(&format!("Wrote {name}\n"))?;
    context.terminal.hint(&format!("run it: certpace test {name}"));
    Ok(Exit::DONE)
}

/// Runs one scenario, or says why it can't be run.
fn test(path: &Path, loaded: Result<Loaded, Unusable>, args: &Args, context: &Context) -> Tested {
    let file = path.display().to_string();
    let title = loaded.as_ref().ok().map(|loaded| loaded.scenario.title.clone());
    let tested = loaded.and_then(|loaded| {
        let scenario = &loaded.scenario;
        if scenario.expects.is_empty() && !args.check_determinism {
            let error = anyhow!("{file} expects nothing, so nothing can be tested");
            return Err(Unusable {
                line: None,
                error: hinted(error, "certpace test --init writes an example with [[expect]] tables"),
            });
        }
        let setup = loaded.set_up(context)?;
        let seeds = args.seeds.unwrap_or_else(|| Seeds { first: setup.seed(), runs: 1 });
        let runs = runs(&setup, seeds);
        complete(scenario, &runs).map_err(|error| Unusable { line: None, error })?;
        let same = if args.check_determinism { Some(determinism(&loaded, seeds, context)?) } else { None };
        Ok(Tested::ran(file.clone(), scenario.title.clone(), &scenario.expects, &runs, same))
    });
    tested.unwrap_or_else(|Unusable { line, error }| {
        let hints = hints(&error).map(|hint| format!("hint: {hint}"));
        let messages = error.chain().map(ToString::to_string).chain(hints).collect();
        Tested::broken(file, title, Broken { line, messages })
    })
}

fn runs(setup: &Setup, seeds: Seeds) -> Vec<Measures> {
    (0..seeds.runs).into_par_iter().map(|place| sim::run(setup, seeds.first.plus(place))).collect()
}

/// What a run measured that was cut short says nothing, unless that is what is expected.
fn complete(scenario: &sim::Scenario, runs: &[Measures]) -> anyhow::Result<()> {
    let expected = scenario.expects.iter().any(|expect| expect.measure == Measure::StepBoundHit);
    let cut = runs.iter().find(|run| run.count(Measure::StepBoundHit) > 0).filter(|_| !expected);
    if let Some(run) = cut {
        bail!(
            "with seed {} it ended at {}, after {} steps; raise `steps_max`",
            run.seed,
            run.end,
            run.count(Measure::Steps)
        );
    }
    Ok(())
}

/// Threads for the second run of a seed: the same everywhere, since the report names them.
const SEVERAL: usize = 4;

/// Runs each seed on one thread and on several: both set-ups and runs must be the same.
fn determinism(loaded: &Loaded, seeds: Seeds, context: &Context) -> Result<Determinism, Unusable> {
    let threads = SEVERAL;
    let pool = |threads: usize| {
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        built.map_err(|error| Unusable { line: None, error: error.into() })
    };
    let (one, several) = (pool(1)?, pool(threads)?);
    let (first, second) = (one.install(|| loaded.set_up(context))?, several.install(|| loaded.set_up(context))?);
    // Traces wait in files: so many at a time.
    let all: Vec<Seed> = (0..seeds.runs).map(|place| seeds.first.plus(place)).collect();
    for part in all.chunks(16) {
        let traces: anyhow::Result<Vec<_>> =
            one.install(|| part.iter().map(|seed| twice::trace(&first, *seed)).collect());
        let traces = traces.map_err(|error| Unusable { line: None, error })?;
        let compared: anyhow::Result<Vec<_>> = several.install(|| {
            let pairs = part.par_iter().zip(traces);
            pairs.map(|(seed, trace)| twice::compare(&second, *seed, trace)).collect()
        });
        let compared = compared.map_err(|error| Unusable { line: None, error })?;
        if let Some(difference) = compared.into_iter().flatten().next() {
            return Ok(Determinism { threads, difference: Some(difference) });
        }
    }
    Ok(Determinism { threads, difference: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(u64, u64), &str>) {
        match (seeds(text), expected) {
            (Ok(seeds), Ok((first, runs))) => assert_eq!(seeds, Seeds { first: Seed(first), runs }),
            (Err(told), Err(expected)) => assert!(told.contains(expected), "{told}"),
            (came, expected) => panic!("{text}: {came:?}, not {expected:?}"),
        }
    }

    #[test]
    fn seeds_are_a_range_with_both_ends_or_one() {
        check("1..100", Ok((1, 100)));
        check("7", Ok((7, 1)));
        check("7..7", Ok((7, 1)));
        check("1..=3", Ok((1, 3)));
        check("3..1", Err("before"));
        check("a..3", Err("no seed"));
        check("0..18446744073709551615", Err("more than"));
        check("", Err("no seed"));
    }
}
