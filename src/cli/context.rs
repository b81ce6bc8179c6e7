//! What every command that plans or looks up needs: the limits in force, the suffix list, the time, and how to answer.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, anyhow};

use super::failure::Hint as _;
use super::{AskedFormat, Format, GlobalArgs, Terminal};
use crate::clock::{Clock, Timescale};
use crate::limits::{Limits, Overrides, Policy, PolicyError};
use crate::psl::SuffixList;
use crate::time::Timestamp;

const EXAMPLE: &str = r#"
  [[override]]
  limit = "NewOrdersPerAccount"
  burst = 25000
  count = 25000
  period = "7d"
  ids = ["https://acme-v02.api.letsencrypt.org/acme/acct/1234567"]"#;

/// The world as a command sees it, read once.
#[derive(Debug)]
pub struct Context {
    /// The policy and the overrides in force.
    pub limits: Limits,
    /// The time, or `--now`.
    pub now: Timestamp,
    /// How time goes for what asks a ledger's clock: with `--now` it stands still.
    pub timescale: Timescale,
    /// How to answer.
    pub format: Format,
    /// Where answers, warnings and errors go.
    pub terminal: Terminal,
    suffixes: OnceLock<SuffixList>,
}

impl Context {
    /// Reads policy, overrides and suffix list as the options say, and the time. What is odd about the overrides is told on stderr.
    ///
    /// # Errors
    /// With the file, what is wrong with it, why, and what to do.
    pub fn load(global: &GlobalArgs, clock: &dyn Clock) -> anyhow::Result<Self> {
        let terminal = Terminal::new(global);
        let suffixes = OnceLock::new();
        if let Some(path) = &global.psl {
            let list = SuffixList::parse(&read(path, "the Public Suffix List")?)
                .with_context(|| format!("{} can't be used for --psl", path.display()))
                .hint("get one from https://publicsuffix.org/list/public_suffix_list.dat")?;
            terminal.detail(&format!("public suffix list: {}, version {}", path.display(), list.version()));
            suffixes.get_or_init(|| list);
        }
        let policy = policy(&global.policy)?;
        terminal.detail(&format!("policy: {}, read {}, sha256 {}", policy.name, policy.read, policy.sha256));
        let overrides = match &global.overrides {
            Some(path) => {
                // Registered domains of the ids: the list that is built in is parsed only where something asks for it.
                overrides(path, &policy, suffixes.get_or_init(SuffixList::embedded), terminal)?
            }
            None => Overrides::none(),
        };
        Ok(Self {
            limits: Limits { policy, overrides },
            now: global.now.unwrap_or_else(|| clock.now()),
            timescale: global.now.map_or(Timescale::REAL, Timescale::stopped),
            // What a CI reads is for `test`, which looks at the option itself.
            format: if global.format == AskedFormat::Json { Format::Json } else { Format::Text },
            terminal,
            suffixes,
        })
    }

    /// That the policy's limits are token buckets: for commands that look ahead.
    ///
    /// # Errors
    /// Where one is not, with what to do.
    pub fn check_token_buckets(&self) -> anyhow::Result<()> {
        let can = "use --policy letsencrypt; `certpace simulate` and `certpace limits` know the older policy";
        self.limits.check_token_buckets().hint(can)
    }

    /// The CA's directory: the one that was asked for, else the policy's.
    ///
    /// # Errors
    /// Where the policy names none either.
    pub fn directory(&self, asked: Option<&str>) -> anyhow::Result<String> {
        let policy = &self.limits.policy;
        asked
            .or_else(|| policy.directories.first().map(String::as_str))
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("the policy {} names no directory", policy.name))
            .hint("say which CA it is: --directory https://acme.example/directory")
    }

    /// The suffix list of `--psl`, else the one built in, which is parsed when first asked for.
    pub fn suffixes(&self) -> &SuffixList {
        self.suffixes.get_or_init(SuffixList::embedded)
    }
}

/// The text of a file.
///
/// # Errors
/// With `what` it was to be, its path, and the system's reason; also where it is not UTF-8.
pub fn read(path: &Path, what: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {what} from {}", path.display()))
}

/// The built-in policy of that name, else the policy of that file.
///
/// # Errors
/// Where there is none, or the file holds none.
pub fn policy(name: &str) -> anyhow::Result<Policy> {
    let path = Path::new(name);
    match Policy::built_in(name) {
        Err(PolicyError::Unknown(_)) if path.exists() || looks_like_a_path(name) => {
            let names = Policy::built_in_names().collect::<Vec<_>>().join(", ");
            let text = read(path, "the policy").hint(format!("built in are: {names}; else name a TOML file"))?;
            Policy::parse(&text)
                .with_context(|| format!("{name} holds no valid policy"))
                .hint("start from a policy that is built in: data/letsencrypt.toml in certpace's source")
        }
        policy => Ok(policy?),
    }
}

fn looks_like_a_path(name: &str) -> bool {
    name.contains(std::path::MAIN_SEPARATOR) || name.ends_with(".toml")
}

/// The overrides of a file; what is odd about them is told on stderr.
///
/// # Errors
/// With the file and what is wrong with it.
pub fn overrides(path: &Path, policy: &Policy, suffixes: &SuffixList, terminal: Terminal) -> anyhow::Result<Overrides> {
    let overrides = Overrides::parse(&read(path, "overrides")?, policy, suffixes)
        .with_context(|| format!("{} holds no valid overrides", path.display()))
        .hint(format!("an override looks like this:{EXAMPLE}"))?;
    for note in &overrides.notes {
        terminal.warn(&format!("{}: {note}", path.display()));
    }
    terminal.detail(&format!("overrides: {}, {} in force", path.display(), overrides.iter().count()));
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;
    use crate::clock::FixedClock;

    const CLOCK: FixedClock = FixedClock(Timestamp::from_unix_seconds(1_800_000_000));

    fn load(options: &[&str]) -> Context {
        let cli = Cli::try_parse_from(["certpace", "limits"].iter().chain(options)).unwrap();
        Context::load(&cli.global, &CLOCK).unwrap()
    }

    #[test]
    fn an_option_stands_in_for_the_clock() {
        assert_eq!(load(&[]).now, CLOCK.0);
        assert_eq!(load(&["--now", "2026-12-01"]).now, Timestamp::parse("2026-12-01").unwrap());
    }

    #[test]
    fn the_suffix_list_is_parsed_when_asked_for() {
        let context = load(&[]);
        assert!(context.suffixes.get().is_none());
        assert_eq!(context.suffixes().registered_domain(b"www.example.co.uk"), b"example.co.uk");
    }
}
