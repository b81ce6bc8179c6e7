//! Who issued a certificate, and whose certificates count.

use crate::limits::Policy;

/// Whose certificates are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Issuers {
    /// Anybody's: for test CAs such as Pebble, which make their names up.
    Any,
    /// Those of these organisations; upper and lower case are the same.
    Of(Vec<String>),
}

impl Issuers {
    /// Those that a policy names; anybody's where it names none.
    #[must_use]
    pub fn of_policy(policy: &Policy) -> Self {
        if policy.issuers.is_empty() { Self::Any } else { Self::Of(policy.issuers.clone()) }
    }

    /// Whether certificates of `issuer`, as [`super::Issuance::issuer`] has it, are taken.
    #[must_use]
    pub fn take(&self, issuer: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of(organisations) => organisations.iter().any(|known| known.eq_ignore_ascii_case(issuer)),
        }
    }

    /// The issuer of what names none: the first that is taken.
    pub(super) fn default_name(&self) -> &str {
        match self {
            Self::Any => "",
            Self::Of(organisations) => organisations.first().map_or("", String::as_str),
        }
    }
}

/// The name of an issuer: its organisation, else its common name.
///
/// A mark in parentheses that its common name starts with belongs to the organisation: Let's Encrypt's staging environment issues as
/// `O=(STAGING) Let's Encrypt` and as `O=Let's Encrypt, CN=(STAGING) …`, and neither counts in production.
pub(super) fn named(organisation: Option<&str>, common_name: Option<&str>) -> Option<String> {
    let Some(organisation) = organisation else { return common_name.map(str::to_owned) };
    let mark =
        common_name.filter(|name| name.starts_with('(')).and_then(|name| name.find(')').map(|end| &name[..=end]));
    Some(match mark {
        Some(mark) if !organisation.starts_with(mark) => format!("{mark} {organisation}"),
        _ => organisation.to_owned(),
    })
}

/// The issuer of a distinguished name as text, such as `C=US, O=Let's Encrypt, CN=R3`; values with commas stand in quotes. A text
/// that is none is an organisation's name.
pub(super) fn of_text(text: &str) -> String {
    let (mut organisation, mut common_name) = (None, None);
    for part in parts(text) {
        let Some((key, value)) = part.trim().split_once('=') else { continue };
        let value = value.trim().trim_matches('"').replace("\\\"", "\"");
        match key.trim().to_ascii_uppercase().as_str() {
            "O" => _ = organisation.get_or_insert(value),
            "CN" => _ = common_name.get_or_insert(value),
            _ => {}
        }
    }
    named(organisation.as_deref(), common_name.as_deref()).unwrap_or_else(|| text.trim().to_owned())
}

/// Cuts at commas outside quotes.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(of_text(text), expected);
    }

    #[test]
    fn issuers_are_organisations() {
        check("C=US, O=Let's Encrypt, CN=R3", "Let's Encrypt");
        check("CN=R3,O=Let's Encrypt,C=US", "Let's Encrypt");
        check("C=US, O=\"DigiCert, Inc.\", CN=X", "DigiCert, Inc.");
        check("CN=Pebble Intermediate CA 3a2b1c", "Pebble Intermediate CA 3a2b1c");
        check("Let's Encrypt", "Let's Encrypt");
        check("", "");
    }

    #[test]
    fn staging_is_not_production_in_either_hierarchy() {
        check("C=US, O=(STAGING) Let's Encrypt, CN=(STAGING) Artificial Apricot R3", "(STAGING) Let's Encrypt");
        check("C=US, O=Let's Encrypt, CN=(STAGING) Baloney Bulgur YE2", "(STAGING) Let's Encrypt");
        for (policy, production, staging) in [("letsencrypt", true, false), ("letsencrypt-staging", false, true)] {
            let issuers = Issuers::of_policy(&Policy::built_in(policy).unwrap());
            assert_eq!(issuers.take("Let's Encrypt"), production);
            assert_eq!(issuers.take("(staging) let's encrypt"), staging);
        }
    }
}
