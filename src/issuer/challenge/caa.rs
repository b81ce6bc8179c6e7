//! Whether CAA records let a CA issue (RFC 8659, and RFC 8657's parameters).

use hickory_resolver::proto::rr::rdata::CAA;

use super::dns::{Dns, upwards};
use super::{ChallengeError, Kind, Proof};
use crate::name::Identifier;

/// What CAA records are held against.
struct Asked<'a> {
    /// Names of the CA.
    identities: &'a [String],
    wildcard: bool,
    kind: Kind,
    account_uri: Option<&'a str>,
}

/// Looks for the records that hold for a name: its own, or those of the closest name above it that has any.
pub(super) async fn check(proof: &Proof, identities: &[String], dns: &Dns) -> Result<(), ChallengeError> {
    let Identifier::Dns(name) = &proof.identifier else { return Ok(()) };
    if identities.is_empty() {
        return Ok(());
    }
    for domain in upwards(name.as_str()) {
        let records = dns.caa(domain).await.map_err(|error| ChallengeError::Lookup {
            name: proof.ordered(),
            place: format!("CAA of {domain} at {}", dns.asked()),
            error,
        })?;
        if records.is_empty() {
            continue;
        }
        let account_uri = proof.account_uri.as_deref();
        let asked = Asked { identities, wildcard: proof.wildcard, kind: proof.kind, account_uri };
        return verdict(&records, &asked).map_err(|why| ChallengeError::Caa {
            name: proof.ordered(),
            domain: domain.to_owned(),
            records: records.iter().map(text).collect::<Vec<_>>().join(", "),
            ours: identities.join(" or "),
            why,
        });
    }
    Ok(())
}

/// Whether these records let the CA issue; if not, why not.
fn verdict(records: &[CAA], asked: &Asked<'_>) -> Result<(), String> {
    let tagged = |tag: &str| -> Vec<&CAA> { records.iter().filter(|caa| caa.tag.eq_ignore_ascii_case(tag)).collect() };
    let known =
        |caa: &&CAA| ["issue", "issuewild", "iodef", "issuemail"].iter().any(|tag| caa.tag.eq_ignore_ascii_case(tag));
    if let Some(caa) = records.iter().find(|caa| caa.issuer_critical && !known(caa)) {
        return Err(format!("`{}` is critical, and no CA knows it", caa.tag));
    }
    let (issue, issue_wild) = (tagged("issue"), tagged("issuewild"));
    let relevant = if asked.wildcard && !issue_wild.is_empty() { issue_wild } else { issue };
    let mut refusals = relevant.iter().filter_map(|caa| property(caa, asked).err()).collect::<Vec<_>>();
    if relevant.len() == refusals.len() { refusals.pop().map_or(Ok(()), Err) } else { Ok(()) }
}

fn property(caa: &CAA, asked: &Asked<'_>) -> Result<(), String> {
    let other = || "none names it".to_owned();
    let (name, parameters) = caa.value_as_issue().map_err(|_unreadable| other())?;
    let name = name.ok_or_else(other)?.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    if !asked.identities.iter().any(|identity| identity.eq_ignore_ascii_case(&name)) {
        return Err(other());
    }
    for parameter in &parameters {
        let value = parameter.value();
        match parameter.key().to_ascii_lowercase().as_str() {
            "validationmethods" if !value.split(',').any(|method| method == asked.kind.as_str()) => {
                return Err(format!("{} is not among the `validationmethods`", asked.kind.as_str()));
            }
            "accounturi" if asked.account_uri.is_some_and(|uri| uri != value) => {
                return Err(format!(
                    "`accounturi` is another account's than {}",
                    asked.account_uri.unwrap_or_default()
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn text(caa: &CAA) -> String {
    format!("{} {:?}", caa.tag, String::from_utf8_lossy(&caa.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(records: &[(&str, &str)], wildcard: bool, why: Option<&str>) {
        let caa = |(tag, value): &(&str, &str)| {
            let mut caa = CAA::new_issue(tag.starts_with('!'), None, Vec::new());
            caa.tag = tag.trim_start_matches('!').to_owned();
            caa.value = value.as_bytes().to_vec();
            caa
        };
        let records: Vec<_> = records.iter().map(caa).collect();
        let identities = ["ca.example".to_owned()];
        let kind = if wildcard { Kind::Dns01 } else { Kind::Http01 };
        let asked = Asked { identities: &identities, wildcard, kind, account_uri: Some("https://ca.example/acct/1") };
        assert_eq!(verdict(&records, &asked).err().as_deref(), why, "{records:?}");
    }

    #[test]
    fn a_ca_that_is_named_may_issue() {
        check(&[("issue", "ca.example")], false, None);
        check(&[("issue", "other.example"), ("Issue", "CA.example")], false, None);
        check(&[("iodef", "mailto:admin@example.com")], false, None);
        check(&[("issue", "other.example"), ("issuewild", "ca.example")], true, None);
        check(&[("issue", "ca.example")], true, None);
    }

    #[test]
    fn another_may_not() {
        check(&[("issue", "other.example")], false, Some("none names it"));
        check(&[("issue", ";")], false, Some("none names it"));
        check(&[("issue", "%%")], false, Some("none names it"));
        check(&[("issue", "ca.example"), ("issuewild", ";")], true, Some("none names it"));
        check(&[("!tbs", "unknown")], false, Some("`tbs` is critical, and no CA knows it"));
    }

    #[test]
    fn methods_and_accounts_may_be_bound() {
        check(&[("issue", "ca.example; validationmethods=dns-01,http-01")], false, None);
        let why = "http-01 is not among the `validationmethods`";
        check(&[("issue", "ca.example; validationmethods=dns-01")], false, Some(why));
        check(&[("issue", "ca.example; accounturi=https://ca.example/acct/1")], false, None);
        let why = "`accounturi` is another account's than https://ca.example/acct/1";
        check(&[("issue", "ca.example; accounturi=https://ca.example/acct/2")], false, Some(why));
    }
}
