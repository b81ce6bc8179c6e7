//! The options that say how the CA's challenges are answered.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use super::failure::Hint as _;
use crate::issuer::challenge::{DnsHooks, Http01, Precheck, Settings};
use crate::time::Span;

/// How challenges are answered.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Challenges")]
pub struct ChallengeOptions {
    /// Answer http-01 by listening here, such as [::]:80, which is IPv4 as well; may be given several times
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["webroot", "http_folder"])]
    pub http_listen: Vec<SocketAddr>,
    /// Answer http-01 by files that a web server serves from this folder, below .well-known/acme-challenge
    #[arg(long, value_name = "DIR", conflicts_with = "http_folder")]
    pub webroot: Option<PathBuf>,
    /// Answer http-01 by files right in this folder, which web servers serve as /.well-known/acme-challenge
    #[arg(long, value_name = "DIR")]
    pub http_folder: Option<PathBuf>,
    /// Answer dns-01: a command for `sh` that sets the TXT record $CERTPACE_RECORD to $CERTPACE_VALUE, beside others
    #[arg(long, value_name = "COMMAND", requires = "dns_clear")]
    pub dns_set: Option<String>,
    /// A command for `sh` that clears that record again
    #[arg(long, value_name = "COMMAND", requires = "dns_set")]
    pub dns_clear: Option<String>,
    /// Run these commands once for many records, which they read from stdin: a record and a value a line
    #[arg(long, requires = "dns_set")]
    pub dns_batch: bool,
    /// How long such a command may take
    #[arg(long, value_name = "SPAN", value_parser = wait, default_value = "5m")]
    pub dns_timeout: Duration,
    /// How many such commands may run at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..), default_value_t = 4)]
    pub dns_parallel: u8,
    /// Answer tls-alpn-01 by listening here, such as [::]:443
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub tls_alpn_listen: Option<SocketAddr>,
    /// Look up each answer, and CAA, before the CA is asked to: failed validations are rationed
    #[arg(long, value_name = "on|off", hide_possible_values = true, default_value = "on")]
    pub precheck: AskedPrecheck,
    /// How long a TXT record may take until the zone's name servers have it
    #[arg(long, value_name = "SPAN", value_parser = wait, default_value = "2m")]
    pub propagation: Duration,
    /// Where to look up [default: TXT records at the zones' name servers, all else as this machine does]
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = server)]
    pub dns_server: Option<SocketAddr>,
    /// Where the CA looks for http-01 answers: for test CAs
    #[arg(long, value_name = "PORT", default_value_t = 80, hide = true)]
    pub validation_http_port: u16,
    /// Where the CA looks for tls-alpn-01 answers: for test CAs
    #[arg(long, value_name = "PORT", default_value_t = 443, hide = true)]
    pub validation_tls_port: u16,
}

/// Whether answers are looked up first.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "as the option says")]
pub enum AskedPrecheck {
    On,
    Off,
}

impl ChallengeOptions {
    /// How challenges are answered; what CAA records call the CA is the directory's to say.
    ///
    /// # Errors
    /// Where no challenge is set up, or a folder is none.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let http01 = match (&self.webroot, &self.http_folder) {
            (Some(folder), _) => Some(Http01::Webroot(existing(folder)?)),
            (None, Some(folder)) => Some(Http01::Folder(existing(folder)?)),
            (None, None) => (!self.http_listen.is_empty()).then(|| Http01::Listen(self.http_listen.clone())),
        };
        let hooks = self.dns_set.clone().zip(self.dns_clear.clone());
        let dns01 = hooks.map(|(set, clear)| DnsHooks {
            set,
            clear,
            batch: self.dns_batch,
            timeout: self.dns_timeout,
            parallel: usize::from(self.dns_parallel),
        });
        if http01.is_none() && dns01.is_none() && self.tls_alpn_listen.is_none() {
            let hint = "one of these, or several, for names that take different ones:
  --http-listen [::]:80                    http-01, where port 80 is free
  --webroot DIR, or --http-folder DIR      http-01, by a web server
  --dns-set COMMAND --dns-clear COMMAND    dns-01, which wildcards need
  --tls-alpn-listen [::]:443               tls-alpn-01, where port 443 is free";
            return Err(anyhow::anyhow!("nothing says how the CA's challenges are answered")).hint(hint);
        }
        Ok(Settings {
            http01,
            dns01,
            tls_alpn01: self.tls_alpn_listen,
            precheck: match self.precheck {
                AskedPrecheck::On => Precheck::On,
                AskedPrecheck::Off => Precheck::Off,
            },
            propagation: self.propagation,
            dns_server: self.dns_server,
            http_port: self.validation_http_port,
            tls_port: self.validation_tls_port,
            ca_identities: Vec::new(),
        })
    }
}

/// A mistyped folder would be made, and nobody would serve it.
fn existing(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    Err(anyhow::anyhow!("{} is no folder", folder.display())).hint("it is to be the one that the web server serves")
}

fn wait(text: &str) -> Result<Duration, String> {
    let span = Span::parse(text).map_err(|error| error.to_string())?;
    match u64::try_from(span.nanos()) {
        Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        _ => Err("it is longer than nothing".to_owned()),
    }
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    address
        .or_else(|_with_port| text.parse())
        .map_err(|_neither| "no address, such as 9.9.9.9 or [::1]:5353".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        challenges: ChallengeOptions,
    }

    fn settings(arguments: &str) -> Result<Settings, String> {
        let arguments = std::iter::once("issue").chain(arguments.split_whitespace());
        let command = Command::try_parse_from(arguments).map_err(|error| error.kind().to_string())?;
        command.challenges.settings().map_err(|error| error.to_string())
    }

    fn check(arguments: &str, expected: &Settings) {
        assert_eq!(settings(arguments).as_ref(), Ok(expected), "{arguments}");
    }

    fn refused(arguments: &str, why: &str) {
        let error = settings(arguments).unwrap_err();
        assert!(error.contains(why), "{arguments}: {error}");
    }

    #[test]
    fn options_say_how_challenges_are_answered() {
        let listen = Some(Http01::Listen(vec!["[::]:80".parse().unwrap()]));
        check("--http-listen [::]:80", &Settings { http01: listen, ..Settings::default() });
        check("--webroot src", &Settings { http01: Some(Http01::Webroot("src".into())), ..Settings::default() });
        let hooks = |timeout, parallel, batch| {
            let (set, clear, timeout) = ("a".to_owned(), "b".to_owned(), Duration::from_secs(timeout));
            Settings { dns01: Some(DnsHooks { set, clear, batch, timeout, parallel }), ..Settings::default() }
        };
        check("--dns-set a --dns-clear b", &hooks(300, 4, false));
        check("--dns-set a --dns-clear b --dns-batch --dns-timeout 10s --dns-parallel 1", &hooks(10, 1, true));
        let tls = Settings {
            tls_alpn01: Some("0.0.0.0:443".parse().unwrap()),
            precheck: Precheck::Off,
            dns_server: Some("127.0.0.1:53".parse().unwrap()),
            ..Settings::default()
        };
        check("--tls-alpn-listen 0.0.0.0:443 --precheck off --dns-server 127.0.0.1", &tls);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        refused("", "nothing says how");
        refused("--precheck off", "nothing says how");
        refused("--webroot nowhere", "nowhere is no folder");
        refused("--webroot src --http-folder src", "cannot be used with");
        refused("--http-listen [::]:80 --webroot src", "cannot be used with");
        refused("--dns-set a", "required");
        refused("--dns-set a --dns-clear b --dns-timeout 0s", "invalid");
        refused("--http-listen 80", "invalid");
    }
}
