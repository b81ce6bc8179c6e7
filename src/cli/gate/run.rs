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
use super::listen;
use super::loss::{self, Passed};
use super::reserve::{WaitOptions, ask};
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
}

const EXAMPLES: &str = "Examples:
  certpace gate run --names example.com,www.example.com -- \\
      certbot certonly -n --webroot -w /srv/www -d example.com,www.example.com
  certpace gate run --names example.com --wait --certificate .lego/certificates/example.com.crt -- \\
      lego --accept-tos -m me@example.com --http -d example.com run
  certpace gate run --names example.com --challenge dns-01 -- ./issue.sh";

const NEXT: &str = "The command finds its permit in CERTPACE_PERMIT. If it ends with 0 the certificate counts as issued; with anything else nobody knows,
unless --certificate or --if-it-fails says. The permit is extended while it runs. Off a terminal certpace listens to what the command prints: if
it fails and has printed the CA's 429, the ledger learns which limit it was, and until when.
Exit codes: the command's own if it ran; else 3 later: a limit, 7 never, 8 another holder has it in hand, 9 no ledger.";

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
        Err(error) => match loss::pass(&request, &args.ledger, context, error)? {
            Passed::Go(number, _) => Held { number, session: None },
            Passed::Not(exit) => return Ok(exit),
        },
    };
    let names: Vec<_> = request.names.identifiers().iter().map(ToString::to_string).collect();
    let (status, news) = perform(args, &mut held, names, request.lease, context)?;
    let told = loss::tell(&held.number, &news, &args.ledger, args.shadow, context)
        .with_context(|| format!("the command has ended, and the ledger could not be told: permit {}", held.number))?;
    let state = told.map_or("noted in the journal", |told| word(told.state()));
    context.terminal.hint(&format!("permit {}: {state}", held.number));
    let signalled = status.signal().and_then(|signal| u8::try_from(signal).ok()).map(|signal| 128 | signal);
    let code = status.code().and_then(|code| u8::try_from(code).ok()).or(signalled);
    Ok(Exit::of_program(code.unwrap_or(1)))
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
        session.gate.shadow(request)?.0
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
        Dispatch::Go(_) => return Ok(Ok(Held { number: permit.permit.clone(), session: Some(session) })),
        Dispatch::Later { .. } => Exit::NOT_NOW,
        Dispatch::Frozen(_) => Exit::NEVER,
    };
    session.gate.cancel(&permit.permit)?;
    print(&GateReport::of_dispatch(&dispatch, answer.at, answer.mark), context)?;
    Ok(Err(exit))
}

/// Runs the command, and says how it ended and what came of the order.
fn perform(
    args: &Args,
    held: &mut Held,
    names: Vec<String>,
    lease: Span,
    context: &Context,
) -> anyhow::Result<(ExitStatus, News)> {
    let before = args.certificate.as_deref().map(contents);
    let Some((program, arguments)) = args.command.split_first() else { unreachable!("clap asks for one") };
    let mut command = Command::new(program);
    command.args(arguments).env("CERTPACE_PERMIT", &held.number);
    let listens = listen::prepare(&mut command);
    let spawned = command.spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            // Nothing was sent, though it was about to be.
            loss::tell(&held.number, &News::Failed { names: Vec::new() }, &args.ledger, args.shadow, context)?;
            return Err(anyhow!("can't run {}: {error}", program.display()))
                .hint("the permit was given back, but for its order token");
        }
    };
    let heard = listens.then(|| listen::start(&mut child));
    let status = look_after(&mut child, held, lease, context)?;
    let refusal = heard.and_then(listen::refusal);
    let changed = before.map(|before| before != args.certificate.as_deref().map_or_else(Vec::new, contents));
    let news = match (changed, status.code(), args.if_it_fails.as_str()) {
        (Some(true), _, _) | (None, Some(0), _) => News::Issued,
        _ if refusal.is_some() => News::Refused { retry_after_seconds: None, detail: refusal },
        // It ended well and made no certificate: it had nothing to do.
        (Some(false), Some(0), _) => News::Failed { names: Vec::new() },
        (_, Some(_), "failed") | (Some(false), Some(_), _) => News::Failed { names },
        (_, _, _) => News::Lost,
    };
    Ok((status, news))
}

/// What tells one certificate's file from the next.
fn contents(path: &Path) -> Vec<u8> {
    fs::read(path).map_or_else(|_none| Vec::new(), |bytes| sha256([bytes.as_slice()]).into_bytes())
}

/// Waits for the command, keeps its permit, and hands on an interrupt.
fn look_after(child: &mut Child, held: &mut Held, lease: Span, context: &Context) -> anyhow::Result<ExitStatus> {
    let interrupt = Interrupt::watch();
    let mut extended = Stopwatch::start();
    let mut handed_on = false;
    loop {
        if let Some(status) = child.try_wait().context("can't wait for the command")? {
            return Ok(status);
        }
        if interrupt.has_come() && !handed_on {
            handed_on = true;
            if let Some(process) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                // It may have ended just now.
                let _ended = rustix::process::kill_process(process, rustix::process::Signal::TERM);
            }
        }
        let half = extended.elapsed().nanos() > lease.nanos() / 2;
        if half
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
