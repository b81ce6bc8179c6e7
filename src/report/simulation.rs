//! `certpace simulate`: measures of one run or of many, of one scenario or of clients side by side.

use std::fmt::Write as _;

use serde::Serialize;

use super::style::{BAD, FAINT, GOOD, HEAD, NAME, PLAIN, paint};
use super::table::{Align, Table};
use super::words::{grouped, wrapped};
use crate::sim::measure::Unit;
use crate::sim::measures::{Json, Point};
use crate::sim::{Measure, Measures, Seed, Value};
use crate::time::Span;

/// What came of a simulation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SimulationReport {
    /// The version of this shape.
    pub certpace_simulation: u32,
    /// What was simulated.
    pub title: String,
    /// The seed of the first run; the others have the next ones.
    pub first_seed: Seed,
    /// How many runs there were of each case.
    pub runs: u64,
    /// The scenario as it is, or a case for each client.
    pub cases: Vec<Case>,
}

/// The runs of one case.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Case {
    /// Its clients.
    pub clients: String,
    /// The measures of the first run.
    pub first: Measures,
    /// How the runs differ; empty for a single one.
    pub spread: Vec<Spread>,
}

/// How a measure differs between runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// Its name.
    pub measure: String,
    /// The least of all runs.
    pub least: Json,
    /// Half of the runs have no more.
    pub p50: Json,
    /// 90 % of the runs have no more.
    pub p90: Json,
    /// The most of all runs.
    pub most: Json,
    /// How likely it is that there is any, for what is counted.
    pub chance: Option<Chance>,
}

/// A probability by what was seen, with its 95 % confidence interval (Wilson's).
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Chance {
    /// In how many runs it was so.
    pub runs: u64,
    /// The share of the runs.
    pub share: f64,
    /// No less than this.
    pub low: f64,
    /// No more than this.
    pub high: f64,
}

impl Chance {
    /// That of something seen in `runs` of `all` runs.
    #[must_use]
    pub fn seen(runs: u64, all: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "for output only")]
        let (runs_seen, n) = (runs as f64, all.max(1) as f64);
        let (share, z) = (runs_seen / n, 1.959_964);
        let z2 = z * z;
        let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
        Self { runs, share, low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
    }
}

impl Case {
    /// The case of these clients, with the measures of all its runs, of which there is at least one.
    ///
    /// # Panics
    /// Without any run.
    #[must_use]
    pub fn new(clients: String, runs: Vec<Measures>) -> Self {
        let spread = if runs.len() > 1 {
            Measure::all().filter_map(|measure| Spread::new(measure, &runs)).collect()
        } else {
            Vec::new()
        };
        let first = runs.into_iter().next().unwrap_or_else(|| unreachable!("there is at least one run"));
        Self { clients, first, spread }
    }
}

impl Spread {
    fn new(measure: Measure, runs: &[Measures]) -> Option<Self> {
        let mut values: Vec<Value> = runs.iter().filter_map(|run| run.values.get(&measure).copied()).collect();
        values.sort_by_key(|value| order(*value));
        let quantile = |percent: usize| Some(Json(*values.get((values.len() * percent).div_ceil(100).max(1) - 1)?));
        let any = values.iter().filter(|value| !matches!(value, Value::Count(0))).count();
        let counted = measure.unit() == Unit::Count;
        Some(Self {
            measure: measure.to_string(),
            least: quantile(0)?,
            p50: quantile(50)?,
            p90: quantile(90)?,
            most: quantile(100)?,
            chance: counted.then(|| Chance::seen(any as u64, values.len() as u64)),
        })
    }
}

/// What sorts values of one measure.
pub(super) fn order(value: Value) -> (bool, i128) {
    match value {
        Value::Count(count) => (false, i128::from(count)),
        Value::Span(span) => (false, i128::from(span.nanos())),
        Value::Never => (true, 0),
    }
}

/// What the text tells, in groups; measures that are 0 and of no interest then are left out.
const SHOWN: [&[Measure]; 4] = [
    &[Measure::Orders, Measure::Certificates, Measure::Renewals],
    &[
        Measure::Refusals,
        Measure::RefusalsPaused,
        Measure::Overloads,
        Measure::Unreachable,
        Measure::FailedOrders,
        Measure::FailedValidations,
        Measure::PausedNames,
        Measure::LostCertificates,
    ],
    &[
        Measure::Hostnames,
        Measure::HostnamesCovered,
        Measure::HostnamesNeverCovered,
        Measure::FullCoverageAfter,
        Measure::HostnameHoursUncovered,
        Measure::HostnameHoursLapsed,
        Measure::ExpiredCertificates,
    ],
    &[Measure::RenewalsPerHourPeak, Measure::RenewalsPerHourMean, Measure::SlipMax, Measure::TenantWaitWorst],
];

/// The report for people.
#[must_use]
pub fn text(report: &SimulationReport) -> String {
    let mut out = String::new();
    for line in wrapped(&report.title, super::WIDTH) {
        let _infallible = writeln!(out, "{}", paint(HEAD, &line));
    }
    if let [case] = &report.cases[..] {
        push_case(&mut out, case);
    } else {
        push_comparison(&mut out, &report.cases);
    }
    for case in report.cases.iter().filter(|case| !case.spread.is_empty()) {
        push_spread(&mut out, case, report.runs);
    }
    let seeds = match report.runs {
        1 => format!("Seed {}", report.first_seed),
        runs => format!("Seeds {} to {}", report.first_seed, report.first_seed.plus(runs - 1)),
    };
    let _infallible = writeln!(out, "\n{}", paint(FAINT, &seeds));
    out
}

fn shown(value: Value) -> String {
    match value {
        Value::Count(count) => grouped(count),
        Value::Span(_) | Value::Never => value.to_string(),
    }
}

fn push_case(out: &mut String, case: &Case) {
    let measures = &case.first;
    let mut rows = Vec::new();
    for group in SHOWN {
        for &measure in group {
            let value = measures.value(measure);
            let is_nothing = matches!(value, Value::Count(0) | Value::Span(Span::ZERO));
            if is_nothing && hides_zero(measure) {
                continue;
            }
            rows.push((measure.to_string(), style(measure, value), shown(value), measure.meaning().to_owned()));
        }
    }
    let by_limit = Measure::all().filter(|measure| matches!(measure, Measure::RefusalsBy(_)));
    for measure in by_limit.filter(|measure| measures.count(*measure) > 0) {
        rows.push((measure.to_string(), BAD, shown(measures.value(measure)), String::new()));
    }
    for tightest in &measures.tightest {
        let name = format!("tokens_left.{}", tightest.limit);
        rows.push((name, PLAIN, grouped(tightest.tokens_left), format!("of {}", short(&tightest.key))));
    }
    let _infallible = write!(out, "\n{}", explained(rows).render());
    push_chart(out, &measures.series);
}

/// The key of a set is a hash, of which the beginning is enough for people.
fn short(key: &str) -> String {
    let is_hash = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { format!("set {}…", &key[..12]) } else { key.to_owned() }
}

/// Names, values and what they mean, which goes on in the next line where it is too long.
fn explained(rows: Vec<(String, anstyle::Style, String, String)>) -> Table {
    let widest = |of: fn(&(String, anstyle::Style, String, String)) -> &str| {
        rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0)
    };
    let left = super::WIDTH.saturating_sub(widest(|row| &row.0) + widest(|row| &row.2) + 4).max(20);
    let mut table = Table::new([("measure", Align::Left), ("value", Align::Right), ("", Align::Left)]);
    for (mut name, style, mut value, meaning) in rows {
        let mut lines = wrapped(&meaning, left);
        if lines.is_empty() {
            lines.push(String::new());
        }
        for line in lines {
            table.row([(NAME, std::mem::take(&mut name)), (style, std::mem::take(&mut value)), (FAINT, line)]);
        }
    }
    table
}

fn hides_zero(measure: Measure) -> bool {
    !matches!(measure, Measure::Refusals | Measure::ExpiredCertificates | Measure::Orders | Measure::Certificates)
}

/// What must not be is told apart.
fn style(measure: Measure, value: Value) -> anstyle::Style {
    let matters = matches!(
        measure,
        Measure::Refusals | Measure::ExpiredCertificates | Measure::PausedNames | Measure::HostnamesNeverCovered
    );
    match value {
        Value::Count(0) if matters => GOOD,
        _ if matters => BAD,
        _ => PLAIN,
    }
}

/// A line of blocks for each of the series that has anything to show.
fn push_chart(out: &mut String, series: &[Point]) {
    let (Some(first), Some(last)) = (series.first(), series.last()) else { return };
    let _infallible = writeln!(out, "\n{}", paint(FAINT, &format!("{} to {}", first.at.minute(), last.at.minute())));
    for (name, of) in [
        ("covered", (|point: &Point| point.covered) as fn(&Point) -> u64),
        ("certificates", |point| point.certificates),
        ("refusals", |point| point.refusals),
    ] {
        let most = series.iter().map(of).max().unwrap_or(0);
        if most > 0 {
            let blocks: String = series.iter().map(|point| block(of(point), most)).collect();
            let _infallible = writeln!(out, "{} {blocks} {}", paint(NAME, &format!("{name:<12}")), grouped(most));
        }
    }
}

fn block(value: u64, most: u64) -> char {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if value == 0 {
        return ' ';
    }
    let height = u128::from(value) * 8 / u128::from(most.max(1));
    BLOCKS[usize::try_from(height.clamp(1, 8)).unwrap_or(1) - 1]
}

fn push_comparison(out: &mut String, cases: &[Case]) {
    let head = [
        ("client", Align::Left),
        ("orders", Align::Right),
        ("certificates", Align::Right),
        ("refusals", Align::Right),
        ("full coverage", Align::Right),
        ("hostname-hours without", Align::Right),
        ("expired", Align::Right),
    ];
    let mut table = Table::new(head);
    for case in cases {
        let cell = |measure| (style(measure, case.first.value(measure)), shown(case.first.value(measure)));
        table.row([
            (NAME, case.clients.clone()),
            cell(Measure::Orders),
            cell(Measure::Certificates),
            cell(Measure::Refusals),
            cell(Measure::FullCoverageAfter),
            cell(Measure::HostnameHoursUncovered),
            cell(Measure::ExpiredCertificates),
        ]);
    }
    let _infallible = write!(out, "\n{}", table.render());
}

fn push_spread(out: &mut String, case: &Case, runs: u64) {
    let title = format!("{} runs of {}", grouped(runs), case.clients);
    let _infallible = writeln!(out, "\n{}", paint(HEAD, &title));
    let mut table = Table::new([
        ("measure", Align::Left),
        ("least", Align::Right),
        ("p50", Align::Right),
        ("p90", Align::Right),
        ("most", Align::Right),
        ("any in", Align::Right),
        ("95 % confidence", Align::Right),
    ]);
    let wanted: Vec<String> = SHOWN.iter().copied().flatten().map(ToString::to_string).collect();
    for spread in case.spread.iter().filter(|spread| wanted.contains(&spread.measure)) {
        let cell = |value: Json| (PLAIN, shown(value.0));
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let any = spread.chance.map_or_else(String::new, |chance| percent(chance.share));
        let interval = spread
            .chance
            .map_or_else(String::new, |chance| format!("{} to {}", percent(chance.low), percent(chance.high)));
        table.row([
            (NAME, spread.measure.clone()),
            cell(spread.least),
            cell(spread.p50),
            cell(spread.p90),
            cell(spread.most),
            (PLAIN, any),
            (FAINT, interval),
        ]);
    }
    out.push_str(&table.render());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_have_wilsons_interval() {
        let rounded = |chance: Chance| [chance.share, chance.low, chance.high].map(|share| format!("{share:.3}"));
        assert_eq!(rounded(Chance::seen(0, 100)), ["0.000", "0.000", "0.037"]);
        assert_eq!(rounded(Chance::seen(50, 100)), ["0.500", "0.404", "0.596"]);
    }

    #[test]
    fn blocks_grow_and_nothing_is_blank() {
        assert_eq!([0, 1, 50, 100].map(|value| block(value, 100)), [' ', '▁', '▄', '█']);
    }
}
