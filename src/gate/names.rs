//! Which name sets the CA takes at all: refusals that no waiting changes.

use super::request::Never;
use crate::limits::Policy;
use crate::name::{Identifier, NameSet};
use crate::psl::SuffixList;

/// The profile that an order without one gets: the first of the policy.
fn default_profile(policy: &Policy) -> &str {
    policy.profiles.first().map_or("", |profile| &profile.name)
}

/// Reads names as people write them.
///
/// # Errors
/// [`Never::Name`] for the first that the CA refuses.
pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Identifier>, Never> {
    let refuse = |name: &str, reason: String| Never::Name { name: name.to_owned(), reason };
    names.into_iter().map(|name| Identifier::parse(name).map_err(|error| refuse(name, error.to_string()))).collect()
}

/// Whether the CA takes the set in `profile`.
///
/// # Errors
/// [`Never`], saying why not.
pub(super) fn check(
    names: &NameSet,
    profile: Option<&str>,
    policy: &Policy,
    suffixes: &SuffixList,
) -> Result<(), Never> {
    let profile = profile.unwrap_or_else(|| default_profile(policy));
    let Some((_, terms)) = policy.profile(profile) else {
        let known = policy.profiles.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Never::NoProfile { profile: profile.to_owned(), known });
    };
    let (count, most) = (names.identifiers().len(), terms.names_max);
    if count > most {
        return Err(Never::TooManyNames { count, most, profile: profile.to_owned() });
    }
    for identifier in names.identifiers() {
        suffixes
            .check(identifier)
            .map_err(|error| Never::Name { name: identifier.to_string(), reason: error.to_string() })?;
        let (taken, what) = match identifier {
            Identifier::Dns(_) => (terms.dns, "DNS names"),
            Identifier::Ip(_) => (terms.ip, "IP addresses"),
        };
        if !taken {
            return Err(Never::WrongKind { profile: profile.to_owned(), what });
        }
    }
    match covered(names) {
        Some((name, wildcard)) => Err(Never::Redundant { name, wildcard }),
        None => Ok(()),
    }
}

/// A name of the set beside a wildcard of the set that covers it.
fn covered(names: &NameSet) -> Option<(String, String)> {
    let texts = || {
        names.identifiers().iter().filter_map(|identifier| match identifier {
            Identifier::Dns(name) => Some(name.as_str()),
            Identifier::Ip(_) => None,
        })
    };
    texts().filter(|name| !name.starts_with("*.")).find_map(|name| {
        let (_, parent) = name.split_once('.')?;
        let wildcard = texts().find(|other| other.strip_prefix("*.") == Some(parent))?;
        Some((name.to_owned(), wildcard.to_owned()))
    })
}
