//! Which of the certificates imported are held: what an inventory says of them.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use super::Issuance;
use crate::limits::{Policy, Profile};
use crate::name::{Identifier, NameSet};
use crate::time::{Span, Timestamp};

/// The certificates held at some time, such that no name is on two of them and each can be renewed as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Those that are held, by the time of their issue, then by serial number.
    pub certificates: Vec<HeldCertificate>,
    /// Names that are only on certificates which can't be held beside the others: they want one of their own. Each with its profile, as
    /// [`HeldCertificate::profile`].
    pub loose: Vec<(Identifier, Option<String>)>,
    /// Why they are loose: the certificates that were left out though they have not expired.
    pub overlaps: Vec<Overlap>,
    /// Certificates that have expired.
    pub expired: u64,
    /// Certificates whose names all stand on newer ones.
    pub renewed: u64,
    /// Certificates that nobody has in use, as far as can be told: older ones of a lineage, and those that only a search or a table tells of.
    pub not_in_use: u64,
}

/// A certificate held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldCertificate {
    /// Its ARI id, else its serial number.
    pub id: String,
    /// Its names.
    pub names: NameSet,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Its profile, where there is but one that it can be of: by its names and how long it is valid.
    pub profile: Option<String>,
}

/// A certificate that was left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overlap {
    /// Its ARI id, else its serial number.
    pub id: String,
    /// A name of it that a newer certificate has; `None` where it has more names than any profile takes.
    pub name: Option<Identifier>,
}

impl Held {
    /// What is held of `issuances` at `now`, under a policy's profiles.
    ///
    /// Of two certificates that share a name the newer one is kept whole, and the other one's remaining names are loose: an inventory can't
    /// have a name on two certificates, and a certificate without one of its names is no longer the same.
    #[must_use]
    pub fn at(now: Timestamp, issuances: &[Issuance], policy: &Policy) -> Self {
        let mut held = Self::default();
        let mut candidates = Vec::new();
        for issuance in issuances {
            match issuance.not_after.filter(|_| issuance.held) {
                None => held.not_in_use += 1,
                Some(not_after) if not_after <= now => held.expired += 1,
                Some(not_after) => candidates.push((issuance, not_after)),
            }
        }
        candidates
            .sort_by_key(|(issuance, _)| Reverse((issuance.issued_at, issuance.serial, Arc::clone(&issuance.issuer))));
        // Names of newer certificates.
        let mut taken: HashSet<&Identifier> = HashSet::new();
        let mut loose: Vec<(&Identifier, Option<String>)> = Vec::new();
        for (issuance, expires_at) in candidates {
            let names = issuance.names.identifiers();
            // A certificate is valid to the end of its last second.
            let validity = expires_at.plus(Span::from_seconds(1)).since(issuance.not_before);
            let profile = profile_of(names, Some((issuance.issued_at, validity)), policy);
            let overlap = names.iter().find(|name| taken.contains(name));
            match profile {
                Some(profile) if overlap.is_none() => {
                    taken.extend(names);
                    let (names, issued_at) = (issuance.names.clone(), issuance.issued_at);
                    held.certificates.push(HeldCertificate {
                        id: issuance.id(),
                        names,
                        issued_at,
                        expires_at,
                        profile,
                    });
                }
                _ if names.iter().all(|name| taken.contains(name)) => held.renewed += 1,
                profile => {
                    held.overlaps.push(Overlap { id: issuance.id(), name: overlap.cloned() });
                    let alone = |name| profile_of(std::slice::from_ref(name), None, policy).flatten();
                    loose.extend(names.iter().map(|name| (name, profile.clone().unwrap_or_else(|| alone(name)))));
                }
            }
        }
        loose.retain(|(name, _)| !taken.contains(name));
        loose.sort_by_key(|(name, _)| *name);
        loose.dedup_by_key(|(name, _)| *name);
        held.loose = loose.into_iter().map(|(name, profile)| (name.clone(), profile)).collect();
        held.certificates.reverse();
        held.overlaps.reverse();
        held
    }
}

/// The profile of a certificate, where it can be but one: by the time it is valid, if issue and validity are given and that tells; else by
/// how many names it has and of which kinds. `Some(None)` where several are possible, of which the usual one will do; `None` where no
/// profile takes all the names.
fn profile_of(names: &[Identifier], valid: Option<(Timestamp, Span)>, policy: &Policy) -> Option<Option<String>> {
    let takes = |profile: &&Profile| {
        let kind = |name: &Identifier| match name {
            Identifier::Dns(_) => profile.dns,
            Identifier::Ip(_) => profile.ip,
        };
        names.len() <= profile.names_max && names.iter().all(kind)
    };
    let able: Vec<&Profile> = policy.profiles.iter().filter(takes).collect();
    let lasts = |profile: &&Profile| valid.is_some_and(|(at, validity)| profile.terms_at(at).validity == validity);
    let lasting: Vec<&Profile> = able.iter().copied().filter(lasts).collect();
    match (&lasting[..], &able[..]) {
        (_, []) => None,
        ([only], _) | (_, [only]) => Some(Some(only.name.clone())),
        _ => Some(None),
    }
}
