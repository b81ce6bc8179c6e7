//! `certpace show PLAN`: looks into a plan: when is this name issued, with which others, and why not sooner?

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::failure::Hint as _;
use super::plan_file::PlanFile;
use super::{Context, Exit, Format, TEMPLATE};
use crate::name::Identifier;
use crate::report::json;
use crate::report::plan_file::{PlanOrder, read_order};
use crate::report::show::{self, CSV_HEADER, ShowReport, csv_rows};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// A plan that `certpace plan -o` has written; `-` reads stdin
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// The order of this name
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// All orders with names of this registered domain
    #[arg(long, value_name = "DOMAIN", conflicts_with = "hostname")]
    pub domain: Option<String>,
    /// A row for each name, for spreadsheets
    #[arg(long)]
    pub csv: bool,
}

const EXAMPLES: &str = "Examples:
  certpace show plan.jsonl                              what the plan says of itself
  certpace show plan.jsonl --hostname www.example.com   when is it issued, and why not sooner?
  certpace show plan.jsonl --domain example.com         all orders of a registered domain
  certpace show plan.jsonl --csv > plan.csv             all names with their times";

const NEXT: &str = "Exit codes: 0 found, 1 the plan can't be read or has no such name, 2 usage.";

/// What to look for.
enum Query {
    /// A name, and the wildcard that would cover it.
    Hostname(String, Option<String>),
    /// A registered domain.
    Domain(String),
}

impl Query {
    fn of(args: &Args) -> anyhow::Result<Option<Self>> {
        let parse = |text: &String| Identifier::parse(text).with_context(|| format!("`{text}` is no hostname"));
        Ok(match (&args.hostname, &args.domain) {
            (Some(name), _) => {
                let name = parse(name)?.to_string();
                let wildcard =
                    name.split_once('.').filter(|(label, _)| *label != "*").map(|(_, parent)| format!("*.{parent}"));
                Some(Self::Hostname(name, wildcard))
            }
            // An address block, such as 8.8.4.4/32, is no hostname.
            (None, Some(domain)) if domain.contains('/') => Some(Self::Domain(domain.clone())),
            (None, Some(domain)) => Some(Self::Domain(parse(domain)?.to_string())),
            (None, None) => None,
        })
    }

    /// Texts of which a line that matches holds one: most lines are told apart without being read.
    fn needles(&self) -> Vec<String> {
        match self {
            Self::Hostname(name, wildcard) => {
                std::iter::once(name).chain(wildcard).map(|name| format!("\"{name}\"")).collect()
            }
            Self::Domain(domain) => vec![format!("\"{domain}\"")],
        }
    }

    fn matches(&self, order: &PlanOrder<'_>) -> bool {
        match self {
            Self::Hostname(name, _) => order.names.iter().any(|other| other == name),
            Self::Domain(domain) => order.registered_domains.iter().any(|other| other == domain),
        }
    }

    fn is_covered_by(&self, order: &PlanOrder<'_>) -> bool {
        match self {
            Self::Hostname(_, Some(wildcard)) => order.names.iter().any(|other| other == wildcard),
            Self::Hostname(_, None) | Self::Domain(_) => false,
        }
    }
}

/// Looks orders up and prints them.
///
/// # Errors
/// Where the plan can't be read, or has no such name.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let query = Query::of(args)?;
    let mut file = PlanFile::open(&args.plan)?;
    match query {
        _ if args.csv => csv(&mut file, query.as_ref(), context),
        None => {
            let answer = match context.format {
                Format::Json => json::pretty(&file.head),
                Format::Text => show::head_text(&file.head),
            };
            context.terminal.answer(&answer)?;
            Ok(Exit::DONE)
        }
        Some(query) => look_up(file, &query, context),
    }
}

fn look_up(mut file: PlanFile, query: &Query, context: &Context) -> anyhow::Result<Exit> {
    let (mut found, mut covering) = (Vec::new(), Vec::new());
    file.each(&query.needles(), |line, number| {
        let order = read_order(line, number)?;
        if query.matches(&order) {
            found.push(line.to_vec());
        } else if query.is_covered_by(&order) {
            covering.push(line.to_vec());
        }
        Ok(())
    })?;
    let (what, wildcard) = match query {
        Query::Hostname(name, wildcard) => (name, wildcard.clone()),
        Query::Domain(domain) => (domain, None),
    };
    let covered_by = wildcard.filter(|_| found.is_empty() && !covering.is_empty());
    let lines = if covered_by.is_some() { &covering } else { &found };
    if lines.is_empty() {
        return Err(anyhow!("the plan has no order with {what}"))
            .hint("it may be rejected, `ready = no`, or on a certificate that is not due within the plan's horizon");
    }
    let orders = lines.iter().map(|line| read_order(line, 0)).collect::<Result<Vec<_>, _>>()?;
    let report = ShowReport { certpace_show: 1, covered_by, plan: file.head, orders };
    let answer = match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => show::text(&report),
    };
    context.terminal.answer(&answer)?;
    Ok(Exit::DONE)
}

/// Rows a plan's names are written in at a time.
const CSV_BYTES: usize = 1 << 20;

fn csv(file: &mut PlanFile, query: Option<&Query>, context: &Context) -> anyhow::Result<Exit> {
    let terminal = context.terminal;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(CSV_HEADER)?;
    file.each(&query.map(Query::needles).unwrap_or_default(), |line, number| {
        let order = read_order(line, number)?;
        if query.is_some_and(|query| !query.matches(&order)) {
            return Ok(());
        }
        for row in csv_rows(&order) {
            writer.write_record(row)?;
        }
        if writer.get_ref().len() > CSV_BYTES {
            let full = std::mem::replace(&mut writer, csv::Writer::from_writer(Vec::new()));
            terminal.answer_raw(&full.into_inner().map_err(|error| error.into_error())?)?;
        }
        Ok(())
    })?;
    terminal.answer_raw(&writer.into_inner().map_err(|error| error.into_error())?)?;
    Ok(Exit::DONE)
}
