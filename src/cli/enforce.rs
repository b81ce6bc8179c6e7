//! `certpace enforce --upstream URL`: a reverse proxy that enforces the policy in front of a test CA.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::failure::hinted;
use super::output::{self, Interrupt, PowerCut};
use super::{Context, Exit, Format, TEMPLATE};
use crate::enforce::{self, EnforceError, Ready, Settings, UpstreamError, Verdict};
use crate::report::{enforce as told, json};
use crate::tls::Trust;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// The directory of the test CA
    #[arg(long, value_name = "URL")]
    pub upstream: String,
    /// Where to listen; port 0 is a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:14443")]
    pub listen: String,
    /// A name by which clients reach it, beside localhost and that of --listen
    #[arg(long = "hostname", value_name = "NAME")]
    pub hostnames: Vec<String>,
    /// How much faster than the clock the limits' time runs: with 1000 a week passes in ten minutes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub speed: u32,
    /// Where to write the root certificate that clients have to trust
    #[arg(long, value_name = "FILE", default_value = "certpace-root.pem")]
    pub root: PathBuf,
    /// Speak HTTP to clients, without TLS
    #[arg(long, conflicts_with = "root")]
    pub plain: bool,
    /// The test CA's own root certificate [default: whom this machine trusts]
    #[arg(long, value_name = "FILE")]
    pub upstream_root: Option<PathBuf>,
    /// Take whatever certificate the test CA shows
    #[arg(long, conflicts_with = "upstream_root")]
    pub upstream_insecure: bool,
    /// Where to write the verdict at the end: JUnit for *.xml, else JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// End with 5 if anybody was refused
    #[arg(long)]
    pub fail_on_refusal: bool,
}

const EXAMPLES: &str = "Examples:
  certpace enforce --upstream https://localhost:14000/dir --upstream-insecure
  certpace enforce --upstream https://localhost:14000/dir --upstream-root pebble.minica.pem \\
    --report verdict.xml --fail-on-refusal     for CI
  certpace enforce … --speed 1000              a week passes in ten minutes
  certpace enforce … --policy letsencrypt-staging --overrides overrides.toml
  certpace enforce … --now 2028-03-01          the limits' time begins there

  SSL_CERT_FILE=certpace-root.pem   what most clients trust then; certbot: REQUESTS_CA_BUNDLE,
                                    lego: LEGO_CA_CERTIFICATES
  curl -k https://127.0.0.1:14443/-/buckets    what is left
  curl -k https://127.0.0.1:14443/-/log        every decision";

const NEXT: &str =
    "The first line on stdout is the directory for clients. Ctrl-C or SIGTERM ends it and tells the verdict.
Exit codes: 0 ended, whoever was refused; 1 it could not begin, or the report can't be written;
2 usage; 5 with --fail-on-refusal, if a client was refused.
docs/enforce.md has a worked example with certbot and lego, and says what is modelled.";

/// Enforces until a signal comes, and tells the verdict.
///
/// # Errors
/// Where it can't begin, or the report can't be written.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let trust = match (&args.upstream_root, args.upstream_insecure) {
        (_, true) => Trust::Anyone,
        (None, false) => Trust::System,
        (Some(path), false) => {
            let what = || format!("can't read the test CA's root from {}", path.display());
            Trust::Roots(fs::read(path).with_context(what)?)
        }
    };
    let settings = Settings {
        upstream: args.upstream.clone(),
        trust,
        listen: args.listen.clone(),
        hostnames: args.hostnames.clone(),
        plain: args.plain,
        speed: args.speed,
        start: context.now,
        limits: context.limits.clone(),
        suffixes: context.suffixes().clone(),
    };
    let verdict = enforce::run(settings, |ready| Ok(tell(ready, args, context)?)).map_err(explain)?;
    if let Some(path) = &args.report {
        report(path, &verdict)?;
    }
    let answer = match context.format {
        Format::Json => format!("{}\n", serde_json::to_string(&verdict)?),
        Format::Text => told::text(&verdict),
    };
    context.terminal.answer(&answer)?;
    Ok(if args.fail_on_refusal && !verdict.passed { Exit::EXPECTATION_FAILED } else { Exit::DONE })
}

/// Clients can come: the root is there before anybody is told so.
fn tell(ready: &Ready, args: &Args, context: &Context) -> anyhow::Result<()> {
    let root = ready.root_pem.as_ref().map(|pem| (pem, args.root.display().to_string()));
    if let Some((pem, _)) = &root {
        write(&args.root, pem)?;
    }
    let root = root.map(|(_, path)| path);
    ready.notes.iter().for_each(|note| context.terminal.warn(note));
    let line = match context.format {
        Format::Json => json!({ "directory": ready.directory, "address": ready.address, "root": root }).to_string(),
        Format::Text => ready.directory.clone(),
    };
    context.terminal.answer(&format!("{line}\n"))?;
    context.terminal.hint(&told::ready(ready, root.as_deref()));
    Ok(())
}

fn report(path: &Path, verdict: &Verdict) -> anyhow::Result<()> {
    let is_junit = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml"));
    write(path, &if is_junit { told::junit(verdict) } else { json::pretty(verdict) })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    // A signal that comes now has done what it is for.
    let part = vec![text.as_bytes().to_vec()];
    output::write(path, PowerCut::Repeatable, &Interrupt::default(), std::iter::once(part))
}

const PATHS: &str = "Pebble's directory is at /dir, step-ca's at /acme/PROVISIONER/directory, Boulder's at /directory";

/// What to do about it.
fn explain(error: EnforceError) -> anyhow::Error {
    let hint = match &error {
        EnforceError::Listen { .. } => "--listen 127.0.0.1:0 takes a free port",
        EnforceError::Upstream { error: UpstreamError::Url { .. }, .. } => PATHS,
        EnforceError::Upstream { .. } => {
            "is the test CA running? --upstream-root FILE names the root of its certificate, --upstream-insecure takes any"
        }
        EnforceError::Directory { .. } => PATHS,
        EnforceError::Start(_) | EnforceError::Tls(_) => "`certpace enforce --help` has examples",
        // What told it says for itself.
        EnforceError::Told(_) => return error.into(),
    };
    hinted(error.into(), hint)
}
