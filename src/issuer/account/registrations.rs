//! How many accounts this machine has made lately: CAs limit that by IP address, and the ledger's gate knows orders alone.
//!
//! `DIR/accounts/registrations.json` has the times, by directory. The machine counts as one address, whichever it has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{AccountError, Accounts};
use crate::buckets::Batch;
use crate::issuer::files;
use crate::limits::Limits;
use crate::psl::SuffixList;
use crate::rules::{Decision, Model};
use crate::time::{Span, Timestamp};

/// The address that this machine counts as.
const THIS_MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// No limit on new accounts remembers longer.
const KEPT_FOR: Span = Span::from_days(30);

type Times = BTreeMap<String, Vec<Timestamp>>;

impl Accounts {
    /// Notes that an account is about to be made at `directory`, where that is within the limits.
    pub(super) fn note_registration(
        &self,
        directory: &str,
        (limits, suffixes): (&Limits, &SuffixList),
        now: Timestamp,
    ) -> Result<(), AccountError> {
        let mut all = self.registrations()?;
        let of = all.entry(directory.to_owned()).or_default();
        of.retain(|at| now.since(*at) < KEPT_FOR);
        of.sort_unstable();
        if let Some(until) = refused_until(of, Model::new(limits.clone(), suffixes.clone()), now) {
            return Err(AccountError::NotNow { until });
        }
        of.push(now);
        self.write_registrations(&all)
    }

    /// Forgets it again: the CA has refused.
    pub(super) fn forget_registration(&self, directory: &str, at: Timestamp) -> Result<(), AccountError> {
        let mut all = self.registrations()?;
        if let Some(of) = all.get_mut(directory) {
            of.retain(|of| *of != at);
        }
        self.write_registrations(&all)
    }

    fn registrations(&self) -> Result<Times, AccountError> {
        let path = self.folder.join("registrations.json");
        let Some(bytes) = files::read(&path)? else { return Ok(Times::new()) };
        serde_json::from_slice(&bytes).map_err(|error| AccountError::Broken { path, what: error.to_string() })
    }

    fn write_registrations(&self, all: &Times) -> Result<(), AccountError> {
        let path = self.folder.join("registrations.json");
        let text = serde_json::to_string_pretty(all);
        let text = text.map_err(|error| AccountError::Broken { path: path.clone(), what: error.to_string() })?;
        Ok(files::write(&path, &text, files::SECRET)?)
    }
}

/// Until when there can be no other after these, if not now.
fn refused_until(times: &[Timestamp], mut model: Model, now: Timestamp) -> Option<Timestamp> {
    let mut batch = Batch::default();
    for at in times {
        let _allowed_then = model.new_registration(THIS_MACHINE, *at, &mut batch);
    }
    match model.new_registration(THIS_MACHINE, now, &mut batch) {
        Decision::Wait(until) => Some(until),
        Decision::Allow | Decision::Paused => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{LimitName, Overrides, Policy};

    #[test]
    fn as_many_as_the_policy_allows_and_then_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::of_store(folder.path());
        files::make_folders(accounts.folder()).unwrap();
        let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
        let suffixes = SuffixList::embedded();
        let limit = limits.policy.limit(LimitName::NewRegistrationsPerIpAddress).unwrap();
        let quota = limit.quota;
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let note = |directory: &str, now| match accounts.note_registration(directory, (&limits, &suffixes), now) {
            Ok(()) => None,
            Err(AccountError::NotNow { until }) => Some(until),
            Err(other) => panic!("{other}"),
        };
        for index in 0..quota.burst() {
            assert_eq!(note("https://ca/", now.plus(Span::from_nanos(i64::from(index)))), None);
        }
        let free = now.plus(quota.emission());
        assert_eq!(note("https://ca/", now.plus(Span::from_nanos(20))), Some(free));
        assert_eq!(note("https://other/", now), None, "another CA");
        assert_eq!(note("https://ca/", free), None);
        assert_eq!(note("https://ca/", free), Some(free.plus(quota.emission())));
        accounts.forget_registration("https://ca/", free).unwrap();
        assert_eq!(note("https://ca/", free), None);
    }
}
