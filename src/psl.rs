//! The registered domain of an identifier: under which name its certificates are counted, and whether it may have any.
//!
//! The Public Suffix List decides, with its private section and the default rule `*`; a name that is a suffix stands for itself,
//! as in Boulder's `ratelimits/utilities.go`. Whether the CA takes a name at all goes by the ICANN section alone (`policy/pa.go`).

mod rules;

use std::sync::Arc;

use crate::digest;
use crate::name::{Identifier, NameError, address};

use rules::{Rules, Section, Suffix};

/// The day and the commit of the list that is built in, which has no version line of its own.
const EMBEDDED_VERSION: &str = "2026-07-15 (9b5c8144)";
/// The list that is built in.
const EMBEDDED: &str = include_str!("../data/public_suffix_list.dat");

/// A Public Suffix List. Clones share its rules.
#[derive(Clone, Debug)]
pub struct SuffixList {
    rules: Arc<Rules>,
    version: String,
    sha256: String,
}

/// Why a text is no Public Suffix List.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SuffixListError {
    /// A rule can't be read.
    #[error("is no Public Suffix List: {0}")]
    Rule(String),
    /// A list without the rule for `com` would refuse every name.
    #[error("is no Public Suffix List: it has no ICANN rule for `com`; get one from https://publicsuffix.org/list/")]
    NoRules,
}

impl SuffixList {
    /// The list that is built in (its date: [`Self::version`]).
    #[must_use]
    pub fn embedded() -> Self {
        // A test holds that the committed list can be read.
        let list = Self::parse(EMBEDDED).unwrap_or_else(|error| unreachable!("the built-in list {error}"));
        Self { version: EMBEDDED_VERSION.to_owned(), ..list }
    }

    /// Reads a list in the format of publicsuffix.org.
    ///
    /// # Errors
    /// [`SuffixListError`] where it is none.
    pub fn parse(text: &str) -> Result<Self, SuffixListError> {
        let rules = Arc::new(Rules::parse(text)?);
        let known = rules.suffix(b"com").section == Some(Section::Icann);
        if !known {
            return Err(SuffixListError::NoRules);
        }
        let version = text.lines().take(50).find_map(|line| line.strip_prefix("// VERSION: ")).unwrap_or("unknown");
        let sha256 = digest::sha256([text.as_bytes()]);
        Ok(Self { rules, version: version.trim().to_owned(), sha256 })
    }

    /// The list's own version line, else `unknown`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 of the list's text, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The registered domain of a canonical DNS name, which is a tail of it: public suffix plus one label, or the name itself if it is
    /// a suffix. `*.example.com` counts under `example.com`, `*.github.io` under itself.
    #[must_use]
    pub fn registered_domain<'a>(&self, name: &'a [u8]) -> &'a [u8] {
        &name[domain_at(name, self.rules.suffix(name).at)..]
    }

    /// The same where the CA would issue for the name.
    ///
    /// # Errors
    /// [`NameError`] where the name is a public suffix of the ICANN section, a wildcard for one, or ends in none.
    #[inline]
    pub fn covering<'a>(&self, name: &'a [u8]) -> Result<&'a [u8], NameError> {
        self.cover(name).map(|covering| covering.domain)
    }

    /// The same, with what it says about other names.
    ///
    /// # Errors
    /// As [`Self::covering`].
    #[inline]
    pub(crate) fn cover<'a>(&self, name: &'a [u8]) -> Result<Covering<'a>, NameError> {
        let Suffix { at, section, seen_from } = self.rules.suffix(name);
        // A private suffix lies below an ICANN one, so that a name with a private suffix is longer than its ICANN suffix.
        match section {
            None => return Err(NameError::UnknownSuffix),
            Some(Section::Icann) if at == 0 => return Err(NameError::Suffix),
            Some(Section::Icann) if at == 2 && name.starts_with(b"*.") => return Err(NameError::WildcardSuffix),
            Some(Section::Icann | Section::Private) => {}
        }
        let domain_at = domain_at(name, at);
        Ok(Covering { domain: &name[domain_at..], of_all_below: seen_from.is_some_and(|from| domain_at <= from) })
    }

    /// The key under which certificates for `identifier` are counted: its registered domain or its address block.
    #[must_use]
    pub fn domain_of(&self, identifier: &Identifier) -> String {
        match identifier {
            Identifier::Dns(name) => {
                let domain = self.registered_domain(name.as_str().as_bytes());
                String::from_utf8_lossy(domain).into_owned()
            }
            Identifier::Ip(ip) => address::block(*ip),
        }
    }

    /// Whether the CA would issue for `identifier`.
    ///
    /// # Errors
    /// [`NameError`] with the reason why not.
    pub fn check(&self, identifier: &Identifier) -> Result<(), NameError> {
        match identifier {
            Identifier::Dns(name) => self.covering(name.as_str().as_bytes()).map(|_domain| ()),
            Identifier::Ip(ip) => match address::special_purpose(*ip) {
                Some((block, name)) => Err(NameError::SpecialPurpose { block, name }),
                None => Ok(()),
            },
        }
    }
}

/// The registered domain that a name counts under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covering<'a> {
    pub(crate) domain: &'a [u8],
    /// Whether it is that of every name which is the domain or lies below it. The rules are followed from the last label on: where
    /// they end within the domain, they are followed the same way for all those names.
    pub(crate) of_all_below: bool,
}

/// Where the registered domain of a name starts whose suffix starts at `suffix_at`: one label before.
fn domain_at(name: &[u8], suffix_at: usize) -> usize {
    let Some(dot) = suffix_at.checked_sub(1) else { return 0 };
    name[..dot].iter().rposition(|byte| *byte == b'.').map_or(0, |before| before + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, domain: &str) {
        let list = SuffixList::embedded();
        assert_eq!(list.covering(name.as_bytes()), Ok(domain.as_bytes()), "{name}");
    }

    #[test]
    fn registered_domains() {
        check("www.example.com", "example.com");
        check("*.example.co.uk", "example.co.uk");
        check("github.io", "github.io");
        check("*.github.io", "*.github.io");
        check("a.b.alice.github.io", "alice.github.io");
    }

    #[test]
    fn a_wildcard_rule_holds_beside_longer_rules() {
        check("mtls.run.app", "mtls.run.app");
        check("a.b.mtls.run.app", "a.b.mtls.run.app");
        check("www.ap-north-1.r.cloud.int.apple", "www.ap-north-1.r.cloud.int.apple");
        check("www.in.futurecms.at", "www.in.futurecms.at");
    }

    /// Whether what is found for `name` is said to hold for all names below its registered domain.
    fn check_below(name: &str, of_all_below: bool) {
        let list = SuffixList::embedded();
        assert_eq!(list.cover(name.as_bytes()).unwrap().of_all_below, of_all_below, "{name}");
    }

    #[test]
    fn a_domain_speaks_for_the_names_below_it_unless_rules_do() {
        check_below("example.com", true);
        check_below("www.example.co.uk", true);
        check_below("a.b.compute.amazonaws.com", true);
        check_below("www.ck", true);
        check_below("github.io", false);
        check_below("*.github.io", true);
        // Longer rules lead through these.
        check_below("amazonaws.com", false);
        check_below("run.app", false);
    }

    #[test]
    fn suffixes_are_refused() {
        let list = SuffixList::embedded();
        assert_eq!(list.covering(b"co.uk"), Err(NameError::Suffix));
        assert_eq!(list.covering(b"*.co.uk"), Err(NameError::WildcardSuffix));
        assert_eq!(list.covering(b"example.invalid"), Err(NameError::UnknownSuffix));
    }

    #[test]
    fn a_text_without_rules_is_no_list() {
        assert!(SuffixList::parse("<html></html>").is_err());
        assert!(SuffixList::parse("").is_err());
    }
}
