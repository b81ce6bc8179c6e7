//! `certpace gate run --names … -- COMMAND`: runs a command under a permit.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context as _, anyhow};

use super::super::failure::Hint as _;
use super::super::ledger::session::{LedgerOptions, Session, Use};
use super::super::output::Interrupt;
use super::super::{Context, Exit, TEMPLATE};
use super::asked::{OrderOptions, PermitOptions};
use super::listen::{self, Heard, Pipes};
use super::loss::{self, LossOptions, Passed};
use super::reserve::{WaitOptions, ask, ask_in_shadow};
use super::{exit_of, never, print, time_passes};
use crate::clock::{self, Stopwatch};
use crate::digest::sha256;
use crate::gate::journal::News;
use crate::gate::{Dispatch, Request, Verdict};
use crate::permits::Sending;
use crate::report::gate::{GateReport, word};
use crate::time::Span;

/// How often the command is looked after.
const TICK: Span = Span::from_nanos(50_000_000);
/// How often it is looked whether the command was refused and goes on.
const LISTEN: Span = Span::from_seconds(1);

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// The names of the certificate
    #[arg(long, value_name = "NAME,…", required = true, value_delimiter = ',')]
    pub names: Vec<String>,
    /// What a command that fails says of its order: unknown (it counts as issued, until it is known better), or failed (it is dead, and
    /// every name of it failed)
    #[arg(long, value_name = "unknown|failed", default_value = "unknown", value_parser = ["unknown", "failed"], hide_possible_values = true)]
    pub if_it_fails: String,
    /// The certificate's file: whether the command has changed it says what came of the order
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Decide and record apart from the real ledger, and let pass whatever was decided
    #[arg(long, conflicts_with = "wait")]
    pub shadow: bool,
    /// What to run, with its arguments, after `--`
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub command: Vec<OsString>,
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

const EXAMPLES: &str = "Examples:
  certpace gate run --names example.com,www.example.com -- \\
      certbot certonly -n --webroot -w /srv/www -d example.com,www.example.com
  certpace gate run --names example.com --wait --certificate .lego/certificates/example.com.crt -- \\
      lego --accept-tos -m me@example.com --http -d example.com run
  certpace gate run --names example.com --challenge dns-01 -- ./issue.sh";

const NEXT: &str = "The command finds its permit in CERTPACE_PERMIT. If it ends with 0 the certificate counts as issued; with anything else nobody knows,
unless --certificate or --if-it-fails says. The permit is extended while it runs. Off a terminal certpace listens to what the command prints: if
it has printed the CA's 429, the ledger learns which limit it was, and until when; a client that then waits by itself, as lego does, is ended.
Exit codes: the command's own if it ran to its end; else 3 later: a limit, 7 never, 8 another holder has it in hand, 9 no ledger.";

/// Asks for a permit, runs the command, and tells what came of it.
///
/// # Errors
/// Where the ledger can't be used, or the command can't be run.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let request = match args.order.request(&args.names, Some(&args.permit), Sending::Announced)? {
        Ok(request) => request,
        Err(refused) => return never(&refused, context),
    };
    let mut held = match reserve(args, &request, context) {
        Ok(Ok(held)) => held,
        Ok(Err(exit)) => return Ok(exit),
        Err(error) => match loss::pass(&request, &args.loss, &args.ledger, context, error)? {
            Passed::Go(number, _) => Held { number, session: None },
            Passed::Not(exit) => return Ok(exit),
        },
    };
    let names: Vec<_> = request.names.identifiers().iter().map(ToString::to_string).collect();
    let Came { exit, news, heard } = perform(args, &mut held, names, request.lease, context)?;
    let told = loss::tell(&held.number, &news, &args.ledger, args.shadow, context)
        .with_context(|| format!("the command has ended, and the ledger could not be told: permit {}", held.number))?;
    let state = told.map_or("noted in the journal", |told| word(told.state()));
    context.terminal.hint(&format!("permit {}: {state}", held.number));
    // What the command has left running may print for long yet.
    heard.into_iter().for_each(Heard::finish);
    Ok(exit)
}

/// A permit in hand, with the ledger that gave it, if one did.
struct Held {
    number: String,
    session: Option<Session>,
}

/// A permit that says the order is being sent; or how the command ends without one, its answer printed.
fn reserve(args: &Args, request: &Request, context: &Context) -> anyhow::Result<Result<Held, Exit>> {
    let mut session = args.ledger.open(context, Use::Write, args.shadow)?;
    let answer = if args.shadow {
        ask_in_shadow(&mut session, request, context)?.0
    } else {
        ask(&mut session, request, args.wait.wait, context)?
    };
    let Verdict::Allow { permit: Some(permit), .. } = &answer.verdict else {
        print(&GateReport::of(&answer), context)?;
        return Ok(Err(exit_of(&answer.verdict)));
    };
    let dispatch = session.gate.sent(&permit.permit)?;
    session.remember();
    let exit = match dispatch {
        Dispatch::Go(_) | Dispatch::Gone(_) => {
            return Ok(Ok(Held { number: permit.permit.clone(), session: Some(session) }));
        }
        Dispatch::Later { .. } => Exit::NOT_NOW,
        Dispatch::Frozen(_) => Exit::NEVER,
    };
    session.gate.cancel(&permit.permit)?;
    print(&GateReport::of_dispatch(&dispatch, answer.at, answer.mark), context)?;
    Ok(Err(exit))
}

/// What came of a command.
struct Came {
    exit: Exit,
    news: News,
    heard: Option<Heard>,
}

/// Runs the command, and says how it ended and what came of the order.
fn perform(args: &Args, held: &mut Held, names: Vec<String>, lease: Span, context: &Context) -> anyhow::Result<Came> {
    let before = args.certificate.as_deref().map(contents);
    let interrupt = Interrupt::watch();
    let (mut child, heard) = match start(args, held) {
        Ok(started) => started,
        Err(error) => {
            // Nothing was sent, though it was about to be.
            loss::tell(&held.number, &News::Failed { names: Vec::new() }, &args.ledger, args.shadow, context)?;
            return Err(error).hint("the permit was given back, but for its order token");
        }
    };
    let ended = look_after(&mut child, held, lease, heard.as_ref(), &interrupt, context)?;
    let refusal = heard.as_ref().and_then(Heard::last_refusal);
    let changed = before.map(|before| {
        let after = args.certificate.as_deref().and_then(contents);
        after.is_some() && after != before
    });
    let news = match (changed, ended.status.code(), refusal) {
        (Some(true), _, _) | (None, Some(0), _) => News::Issued,
        (_, _, Some(said)) => News::Refused { retry_after_seconds: None, detail: Some(said.detail) },
        // Whatever it made of the interrupt.
        _ if ended.interrupted => News::Lost,
        // It ended well and made no certificate: it had nothing to do.
        (Some(false), Some(0), None) => News::Failed { names: Vec::new() },
        (Some(false), Some(_), None) => News::Failed { names },
        (None, Some(_), None) if args.if_it_fails == "failed" => News::Failed { names },
        (_, _, None) => News::Lost,
    };
    let waited = ended.stopped && news != News::Issued;
    let exit = if waited { Exit::NOT_NOW } else { Exit::of_program(code_of(ended.status)) };
    Ok(Came { exit, news, heard })
}

/// Starts the command, listened to unless it prints to a terminal.
fn start(args: &Args, held: &Held) -> anyhow::Result<(Child, Option<Heard>)> {
    let Some((program, arguments)) = args.command.split_first() else { unreachable!("clap asks for one") };
    // It is gone at the end, and with it our ends of the pipes.
    let mut command = Command::new(program);
    command.args(arguments).env("CERTPACE_PERMIT", &held.number);
    let pipes = listen::prepare(&mut command).context("can't listen to the command")?;
    let child = command.spawn().map_err(|error| anyhow!("can't run {}: {error}", program.display()))?;
    Ok((child, pipes.map(Pipes::listen)))
}

/// The code of a command that has ended, as a shell has it: of one that a signal has ended, 128 and the signal's number.
fn code_of(status: ExitStatus) -> u8 {
    let by_signal = status.signal().map(|signal| 128 | signal);
    status.code().or(by_signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// What tells one certificate's file from the next; `None` where there is none yet.
fn contents(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| sha256([bytes.as_slice()]))
}

/// How a command ended.
struct Ended {
    status: ExitStatus,
    /// An interrupt was handed on to it.
    interrupted: bool,
    /// It was ended since it went on after a refusal.
    stopped: bool,
}

/// Waits for the command, keeps its permit, hands on an interrupt, and ends it if it waits for its turn by itself: for hours perhaps, with
/// the permit in hand. Waiting is the gate's.
fn look_after(
    child: &mut Child,
    held: &mut Held,
    lease: Span,
    heard: Option<&Heard>,
    interrupt: &Interrupt,
    context: &Context,
) -> anyhow::Result<Ended> {
    let (mut extended, mut listened) = (Stopwatch::start(), Stopwatch::start());
    let (mut interrupted, mut stopped, mut was_refused) = (false, false, false);
    loop {
        if let Some(status) = child.try_wait().context("can't wait for the command")? {
            return Ok(Ended { status, interrupted, stopped });
        }
        if interrupt.has_come() && !interrupted {
            interrupted = true;
            terminate(child);
        }
        if !stopped && listened.elapsed() > LISTEN {
            listened = Stopwatch::start();
            // One that was refused before it began is somebody else's.
            let refusal = heard.and_then(Heard::refusal).filter(|said| said.retry_at.is_none_or(|at| at > context.now));
            // The second time: until then it may end by itself.
            stopped = was_refused && refusal.is_some();
            was_refused = refusal.is_some();
            if stopped {
                context.terminal.warn("the CA has refused the order, and the command goes on by itself: it is ended");
                terminate(child);
            }
        }
        if extended.elapsed().nanos() > lease.nanos() / 2
            && time_passes(context)
            && let Held { number, session: Some(session) } = held
        {
            extended = Stopwatch::start();
            if let Err(error) = session.gate.extend(number, lease) {
                context.terminal.warn(&format!("the permit could not be extended: {error}"));
            }
        }
        clock::sleep(TICK);
    }
}

/// Asks the command to end. It may have ended just now.
fn terminate(child: &Child) {
    if let Some(process) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ended = rustix::process::kill_process(process, rustix::process::Signal::TERM);
    }
}
