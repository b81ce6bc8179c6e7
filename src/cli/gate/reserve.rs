//! `certpace gate reserve NAME…`.

use anyhow::bail;

use super::super::ledger::session::{LedgerOptions, Session, Use};
use super::super::output::Interrupt;
use super::super::{Context, Exit, TEMPLATE};
use super::asked::{OrderOptions, PermitOptions, lease};
use super::loss::{self, LossOptions, Passed};
use super::{exit_of, never, print, time_passes};
use crate::clock;
use crate::gate::{Answer, Request, Verdict};
use crate::permits::Sending;
use crate::report::gate::GateReport;
use crate::time::Span;

/// One who waits asks again at least this often: a permit may be given back early.
const ASK_AGAIN: Span = Span::from_seconds(10);

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// The names of the certificate
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// You always say `gate sent` before you send: a permit that was never sent then gives its tokens back when its lease ends
    #[arg(long)]
    pub announced: bool,
    /// Decide and record apart from the real ledger, and let pass whatever was decided
    #[arg(long, conflicts_with = "wait")]
    pub shadow: bool,
    /// The order.
    #[command(flatten)]
    pub order: OrderOptions,
    /// The permit.
    #[command(flatten)]
    pub permit: PermitOptions,
    /// How long to wait.
    #[command(flatten)]
    pub wait: WaitOptions,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What to do without it.
    #[command(flatten)]
    pub loss: LossOptions,
}

/// Whether to wait.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Waiting")]
pub struct WaitOptions {
    /// Wait until it is your turn, or for at most this long
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, value_parser = lease)]
    pub wait: Option<Option<Span>>,
}

const EXAMPLES: &str = "Examples:
  certpace gate reserve example.com www.example.com --holder ci-42
  certpace gate reserve example.com --wait                 until it is your turn
  certpace gate reserve example.com --wait=2h              for at most two hours
  certpace gate reserve example.com --replaces aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE \\
      --window 2026-12-01T00:00:00Z/2026-12-02T19:12:00Z   a renewal by ARI";

const NEXT: &str = "It prints the permit's number. Then tell what comes of it: `gate sent`, and `gate commit`, `fail`, `refused` or `cancel`. If you
say nothing until the lease ends, it counts as issued: nobody knows.
Exit codes: 0 go, 3 later: a limit, 7 never, 8 another holder has it in hand, 9 no ledger.";

/// Asks for a permit.
///
/// # Errors
/// Where the ledger can't be used.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let sending = if args.announced { Sending::Announced } else { Sending::Silent };
    let request = match args.order.request(&args.names, Some(&args.permit), sending)? {
        Ok(request) => request,
        Err(refused) => return never(&refused, context),
    };
    if args.shadow {
        return shadow(args, &request, context);
    }
    let asked = args
        .ledger
        .open(context, Use::Write, false)
        .and_then(|mut session| ask(&mut session, &request, args.wait.wait, context));
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            return match loss::pass(&request, &args.loss, &args.ledger, context, error)? {
                Passed::Not(exit) => Ok(exit),
                Passed::Go(permit, until) => {
                    print(&GateReport::local(&permit, context.now, Some(until)), context)?;
                    Ok(Exit::DONE)
                }
            };
        }
    };
    print(&GateReport::of(&answer), context)?;
    if let Verdict::Allow { permit: Some(permit), .. } = &answer.verdict {
        context.terminal.hint(&format!(
            "the permit holds until {}; tell what comes of it: certpace gate commit {}",
            permit.life.lease_end.whole_second(),
            permit.permit
        ));
    }
    Ok(exit_of(&answer.verdict))
}

/// Lets it pass, and says what would have been said.
fn shadow(args: &Args, request: &Request, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open(context, Use::Write, true)?;
    let (answer, would) = ask_in_shadow(&mut session, request, context)?;
    print(&GateReport { would: Some(Box::new(would)), ..GateReport::of(&answer) }, context)?;
    Ok(exit_of(&answer.verdict))
}

/// The answer that lets it pass, and what would have been said in earnest: on stderr too where that is no yes.
///
/// # Errors
/// Where the ledger can't be used.
pub fn ask_in_shadow(
    session: &mut Session,
    request: &Request,
    context: &Context,
) -> anyhow::Result<(Answer, GateReport)> {
    let (answer, would) = session.gate.shadow(request)?;
    session.remember();
    let report = GateReport::of(&would);
    if exit_of(&would.verdict) != Exit::DONE {
        context.terminal.warn(&format!("in earnest it would have been: {}", report.text().trim_end()));
    }
    Ok((answer, report))
}

/// Asks once, or until the order may go out.
///
/// # Errors
/// Where the ledger can't be used, or an interrupt comes.
pub fn ask(
    session: &mut Session,
    request: &Request,
    wait: Option<Option<Span>>,
    context: &Context,
) -> anyhow::Result<Answer> {
    let Some(most) = wait.filter(|_| time_passes(context)) else {
        let answer = session.gate.reserve(request)?;
        session.remember();
        return Ok(answer);
    };
    let interrupt = Interrupt::watch();
    let ticket = format!("{} {}", request.holder, request.names.key());
    let began = clock::Stopwatch::start();
    let mut told = None;
    loop {
        let answer = session.gate.reserve_in_turn(request, &ticket)?;
        session.remember();
        let Verdict::Later { at, .. } = &answer.verdict else { return Ok(answer) };
        let left = most.map_or(ASK_AGAIN, |most| most.minus(began.elapsed()));
        if left <= Span::ZERO {
            session.gate.leave(&ticket)?;
            return Ok(answer);
        }
        if told != Some(*at) {
            context.terminal.warn(GateReport::of(&answer).text().trim_end());
            told = Some(*at);
        }
        pause(at.since(answer.at).min(ASK_AGAIN).min(left), &interrupt).inspect_err(|_| {
            // Who leaves says so; if that fails its place is forgotten after a minute.
            let _forgotten = session.gate.leave(&ticket);
        })?;
    }
}

/// Waits, but not longer than until an interrupt.
fn pause(span: Span, interrupt: &Interrupt) -> anyhow::Result<()> {
    let began = clock::Stopwatch::start();
    loop {
        if interrupt.has_come() {
            bail!("interrupted while waiting; nothing was reserved");
        }
        let left = span.minus(began.elapsed());
        if left <= Span::ZERO {
            return Ok(());
        }
        clock::sleep(left.min(Span::from_nanos(100_000_000)));
    }
}
