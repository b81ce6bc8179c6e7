//! A permit as the ledger keeps it.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::document::{Task, permit_document};
use super::record::{Done, quota_from};
use crate::gcra::Quota;
use crate::ledger::{LedgerError, Motion, bucket_name, limit_and_key};
use crate::limits::LimitName;
use crate::name::SetKey;
use crate::permits::{Claim, Life, Sending};
use crate::rules::Part;
use crate::time::{NS_PER_US, Timestamp};

/// A permit and all that was said about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Permitted {
    /// Its number.
    pub permit: String,
    /// The account that orders.
    pub account: String,
    /// The names, in their set's order.
    pub names: Vec<String>,
    /// To whom it was given.
    pub holder: String,
    /// Whose certificate it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The profile that the order asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The certificate that the order replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The order of a plan that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// What exempts it.
    pub claim: Claim,
    /// Whether its holder says when it sends.
    pub sending: Sending,
    /// Where it is.
    pub life: Life,
    /// The buckets that it has at stake.
    pub stakes: Vec<Stake>,
    /// Names whose validation failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// What the CA said when it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// In shadow mode: what would have been said. It was let pass all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadowed>,
}

impl Permitted {
    /// The key of the set of its names.
    #[must_use]
    pub fn set(&self) -> String {
        SetKey::of(&self.names).to_string()
    }

    /// The buckets that it has at stake: name, what of the order takes the token, whether the CA asks.
    ///
    /// # Errors
    /// [`LedgerError::Row`] where a stake is of a name that the permit does not have: it is damaged.
    pub fn buckets(&self) -> Result<Vec<(String, Part, bool)>, LedgerError> {
        let set = self.set();
        let own = |part| self.limit_and_key_of(part, &set).map(|(limit, key)| bucket_name(limit, &key.concat()));
        let bucket = |stake: &Stake| {
            let name = stake.bucket.clone().or_else(|| own(stake.part)).ok_or_else(|| LedgerError::Row {
                what: format!("document `{}`", permit_document(&self.permit)),
                reason: format!("`{stake}` is at stake, and it has no such name"),
            })?;
            Ok((name, stake.part, stake.asked))
        };
        self.stakes.iter().map(bucket).collect()
    }

    /// Sets [`Self::stakes`]: those of `buckets` that have a quota. Of the others nothing can be held.
    pub(super) fn stake(&mut self, buckets: Vec<(String, Part, bool)>, mut quota: impl FnMut(&str) -> Option<Quota>) {
        let set = self.set();
        let stake = |(bucket, part, asked): (String, Part, bool)| {
            let quota = quota(&bucket)?;
            let bucket = Some(bucket).filter(|bucket| !self.tells(part, bucket, &set));
            Some(Stake { part, asked, quota, bucket })
        };
        self.stakes = buckets.into_iter().filter_map(stake).collect();
    }

    /// What reserving it did to its buckets, done by the same machine again.
    ///
    /// # Errors
    /// As [`Self::buckets`].
    pub(super) fn reservation(&self) -> Result<Vec<Done>, LedgerError> {
        let moves = self.claim.reserves(self.life.reserved_at);
        let done = |(stake, (bucket, part, asked)): (&Stake, _)| {
            let motion = Motion::of(moves.act(part, false), asked)?;
            Some(Done { bucket, quota: stake.quota, motion })
        };
        Ok(self.stakes.iter().zip(self.buckets()?).filter_map(done).collect())
    }

    /// Whether account and names, whose `set` this is, tell that `part` takes from that bucket.
    fn tells(&self, part: Part, bucket: &str, set: &str) -> bool {
        let (Some((limit, key)), Some((own_limit, own_key))) =
            (limit_and_key(bucket), self.limit_and_key_of(part, set))
        else {
            return false;
        };
        limit == own_limit && own_key.iter().try_fold(key, |rest, piece| rest.strip_prefix(*piece)) == Some("")
    }

    /// Limit and key, in pieces, of the bucket from which `part` takes, as far as account and names tell.
    fn limit_and_key_of<'a>(&'a self, part: Part, set: &'a str) -> Option<(LimitName, [&'a str; 3])> {
        Some(match part {
            Part::Order => (LimitName::NewOrdersPerAccount, [&self.account, "", ""]),
            Part::Failures(name) => {
                let name = self.names.get(usize::from(name))?;
                (LimitName::FailedAuthorizationsPerDomainPerAccount, [&self.account, " ", name])
            }
            Part::Domain => return None,
            Part::Set => (LimitName::CertificatesPerFqdnSet, [set, "", ""]),
        })
    }
}

/// A bucket that an order has at stake. Its name is left out where the permit tells it anyhow: every decision writes one of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stake {
    /// What of the order takes the token.
    pub part: Part,
    /// Whether the CA asks.
    pub asked: bool,
    /// How much the bucket held and how fast it filled when the permit was reserved, in whole microseconds: [`Quota::in_micros`].
    pub quota: Quota,
    /// The bucket's name, where account and names don't tell.
    pub bucket: Option<String>,
}

/// How many bytes the text of a stake has at most beside the bucket's name, mostly.
const WITHOUT_BUCKET: usize = 48;
/// How the text of a stake begins that the CA doesn't ask.
const UNASKED: &str = "unasked ";

/// Part, emission interval in microseconds, burst, bucket: `order 36000000 300`, `failures 2 720000000 5`,
/// `unasked domain 12096000000 50 CertificatesPerDomain example.com`.
impl Display for Stake {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text())
    }
}

impl Stake {
    /// Every decision writes some of these: in one piece.
    fn text(&self) -> String {
        let bucket = self.bucket.as_deref();
        let mut numbers = itoa::Buffer::new();
        let mut text = String::with_capacity(WITHOUT_BUCKET + bucket.map_or(0, str::len));
        text.push_str(if self.asked { "" } else { UNASKED });
        text.push_str(match self.part {
            Part::Order => "order",
            Part::Failures(_) => "failures",
            Part::Domain => "domain",
            Part::Set => "set",
        });
        let name = if let Part::Failures(name) = self.part { Some(i64::from(name)) } else { None };
        let (emission, burst) = (self.quota.emission().nanos() / NS_PER_US, self.quota.burst().into());
        for number in name.into_iter().chain([emission, burst]) {
            text.push(' ');
            text.push_str(numbers.format(number));
        }
        if let Some(bucket) = bucket {
            text.push(' ');
            text.push_str(bucket);
        }
        text
    }
}

impl FromStr for Stake {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).ok_or_else(|| format!("`{text}` is no stake"))
    }
}

impl Stake {
    fn read(text: &str) -> Option<Self> {
        let (text, asked) = text.strip_prefix(UNASKED).map_or((text, true), |rest| (rest, false));
        let (part, text) = text.split_once(' ')?;
        let (part, text) = match part {
            "order" => (Part::Order, text),
            "failures" => {
                let (name, text) = text.split_once(' ')?;
                (Part::Failures(name.parse().ok()?), text)
            }
            "domain" => (Part::Domain, text),
            "set" => (Part::Set, text),
            _ => return None,
        };
        let mut rest = text.splitn(3, ' ');
        let quota = quota_from(rest.next()?, rest.next()?)?;
        let bucket = rest.next().map(ToOwned::to_owned);
        (part != Part::Domain || bucket.is_some()).then_some(Self { part, asked, quota, bucket })
    }
}

impl Serialize for Stake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Stake {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What the gate would have said, in shadow mode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shadowed {
    /// `allow`, `later` or `never`.
    pub verdict: String,
    /// When it would have been let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Because of what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocking: Vec<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Span;

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![Just(Part::Order), any::<u16>().prop_map(Part::Failures), Just(Part::Domain), Just(Part::Set)]
    }

    proptest! {
        #[test]
        fn stakes_are_what_they_were_when_they_are_read_again(
            part in part(), asked: bool, burst in 1..99_u64, emission in 1..99_999_999_i64, bucket in proptest::option::of("[A-Z][a-z]+ .{1,20}"),
        ) {
            let quota = Quota::new(burst, 1, Span::from_nanos(emission)).unwrap().in_micros();
            let bucket = bucket.or_else(|| (part == Part::Domain).then(|| "CertificatesPerDomain a.example".to_owned()));
            let stake = Stake { part, asked, quota, bucket };
            prop_assert_eq!(stake.to_string().parse(), Ok(stake));
        }

        #[test]
        fn no_text_of_a_stake_is_too_much(text in "(unasked )?(order|failures [0-9]|domain|set)?( [0-9]{1,9} [0-9]{1,3})?.{0,9}") {
            if let Ok(stake) = text.parse::<Stake>() {
                prop_assert_eq!(stake.to_string().parse(), Ok(stake));
            }
        }
    }

    const A_AND_B: &str = "CertificatesPerFQDNSet 2c3ba6cdce09fc2a059ed55cba6088b629a86534d65baefdfd3b4395d9bd2c86";

    #[test]
    fn a_permit_tells_most_buckets_of_its_own() {
        let buckets = [
            ("NewOrdersPerAccount 1", Part::Order, "order 36000000 300"),
            ("FailedAuthorizationsPerDomainPerAccount 1 b.example", Part::Failures(1), "failures 1 36000000 300"),
            ("CertificatesPerDomain b.example", Part::Domain, "domain 36000000 300 CertificatesPerDomain b.example"),
            (A_AND_B, Part::Set, "set 36000000 300"),
            ("CertificatesPerFQDNSet bb", Part::Set, "set 36000000 300 CertificatesPerFQDNSet bb"),
        ];
        let permit = r#"{"permit":"p","account":"1","names":["a.example","b.example"],"holder":"me","claim":"none","sending":"silent",
            "life":{"state":"reserved","reserved-at":"2026-01-01T00:00:00Z","lease-end":"2026-01-01T00:30:00Z"},
            "stakes":[]}"#;
        let mut permit: Permitted = serde_json::from_str(permit).unwrap();
        let own: Vec<_> = buckets.iter().map(|(name, part, _)| ((*name).to_owned(), *part, true)).collect();
        let quota = Quota::new(300, 300, Span::from_hours(3)).unwrap();
        permit.stake([own.clone(), vec![("Off 1".to_owned(), Part::Order, true)]].concat(), |bucket| {
            (!bucket.starts_with("Off")).then_some(quota)
        });
        assert_eq!(permit.stakes.iter().map(Stake::to_string).collect::<Vec<_>>(), buckets.map(|(_, _, text)| text));
        assert_eq!(permit.buckets().unwrap(), own);
        permit.names.pop();
        let error = permit.buckets().unwrap_err().to_string();
        assert!(error.contains("permit p") && error.contains("`failures 1 36000000 300` is at stake"), "{error}");
    }
}
