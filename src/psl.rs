//! The registered domain of an identifier: under which name its certificates are counted, and whether it may have any.
//!
//! The Public Suffix List decides, with its private section and the default rule `*`; a name that is a suffix stands for itself,
//! as in Boulder's `ratelimits/utilities.go`. Whether the CA takes a name at all goes by the ICANN section alone (`policy/pa.go`).

use publicsuffix::{List, Psl as _, Type};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::digest;
use crate::name::{Identifier, NameError, address};

/// The day and the commit of the list that is built in, which has no version line of its own.
const EMBEDDED_VERSION: &str = "2026-07-15 (9b5c8144)";
/// The list that is built in.
const EMBEDDED: &str = include_str!("../data/public_suffix_list.dat");

/// A Public Suffix List.
#[derive(Clone, Debug)]
pub struct SuffixList {
    list: List,
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
        let whole = format!("{text}\n{}", overshadowed(text));
        let list: List =
            whole.parse().map_err(|error: publicsuffix::Error| SuffixListError::Rule(error.to_string()))?;
        let known = list.suffix(b"com").is_some_and(|suffix| suffix.typ() == Some(Type::Icann));
        if !known {
            return Err(SuffixListError::NoRules);
        }
        let version = text.lines().take(50).find_map(|line| line.strip_prefix("// VERSION: ")).unwrap_or("unknown");
        let sha256 = digest::sha256([text.as_bytes()]);
        Ok(Self { list, version: version.trim().to_owned(), sha256 })
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
        self.find(name).0
    }

    /// The same where the CA would issue for the name.
    ///
    /// # Errors
    /// [`NameError`] where the name is a public suffix of the ICANN section, a wildcard for one, or ends in none.
    #[inline]
    pub fn covering<'a>(&self, name: &'a [u8]) -> Result<&'a [u8], NameError> {
        let (domain, suffix_len, section) = self.find(name);
        // A private suffix lies below an ICANN one, so that a name with a private suffix is longer than its ICANN suffix.
        match section {
            Some(Type::Private) => Ok(domain),
            None => Err(NameError::UnknownSuffix),
            Some(Type::Icann) if suffix_len == name.len() => Err(NameError::Suffix),
            Some(Type::Icann) if name.starts_with(b"*.") && suffix_len + 2 == name.len() => {
                Err(NameError::WildcardSuffix)
            }
            Some(Type::Icann) => Ok(domain),
        }
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

    /// Registered domain, length of the suffix, and the section of the list that the suffix stands in.
    #[inline]
    fn find<'a>(&self, name: &'a [u8]) -> (&'a [u8], usize, Option<Type>) {
        let info = self.list.find(name.rsplit(|&byte| byte == b'.'));
        let suffix_at = name.len().saturating_sub(info.len);
        let domain_at = match suffix_at.checked_sub(1) {
            Some(dot) => name[..dot].iter().rposition(|&byte| byte == b'.').map_or(0, |at| at + 1),
            None => 0,
        };
        (&name[domain_at..], info.len, info.typ)
    }
}

/// The rules that [`List::find`] would overlook, in the list's format.
///
/// It goes down the rules label by label and prefers a label of its own to `*`. So beside `*.run.app` and `*.mtls.run.app` the name
/// `mtls.run.app` leads it to the label `mtls`, at which no rule ends, and the wildcard that matches is not looked at. Such a
/// name is made a rule of its own, in the section of the wildcard.
fn overshadowed(list: &str) -> String {
    let (mut section, mut rules, mut wildcards) = ("", Vec::new(), FxHashMap::default());
    for line in list.lines() {
        if line.starts_with("//") {
            section = if line.contains("BEGIN ") { line } else { section };
        } else if let Some(rule) = line.split_whitespace().next() {
            rules.push(rule.trim_start_matches('!'));
            wildcards.extend(rule.strip_prefix("*.").map(|base| (base, section)));
        }
    }
    let mut known: FxHashSet<&str> = rules.iter().copied().collect();
    let mut overlooked = String::new();
    for rule in rules {
        let mut tail = rule;
        while let Some((_, shorter)) = tail.split_once('.') {
            tail = shorter;
            let wildcard = tail.split_once('.').and_then(|(_, base)| wildcards.get(base));
            if let Some(section) = wildcard
                && known.insert(tail)
            {
                overlooked.extend([section, "\n", tail, "\n"]);
            }
        }
    }
    overlooked
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
