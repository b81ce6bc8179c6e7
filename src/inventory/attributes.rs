//! What the columns beside the hostname say. Each distinct combination is read once, however many rows have it.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::reject::Column;
use super::text::TextRef;
use super::{Challenge, Group, HeldTerms, Settings, Urgency};
use crate::time::Timestamp;

/// What a combination of attributes comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attribute {
    /// Which names it may share a certificate with: a place in [`Attributes::groups`].
    pub(super) group: u32,
    /// How soon it is wanted: a place in [`Attributes::urgencies`].
    pub(super) urgency: u32,
    /// The certificate held, a place in [`Attributes::held`].
    pub(super) held: Option<u32>,
    pub(super) ready: bool,
}

/// A value that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BadValue {
    pub(super) column: Column,
    pub(super) value: String,
    pub(super) reason: String,
}

/// All combinations, and the tables they refer to: each sorted, so that the numbers depend on the contents alone.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) accounts: Vec<String>,
    pub(super) tenants: Vec<String>,
    pub(super) groups: Vec<Group>,
    pub(super) urgencies: Vec<Urgency>,
    pub(super) held: Vec<HeldTerms>,
    /// By the number of the combination.
    pub(super) of: Vec<Result<Attribute, BadValue>>,
}

/// One combination, read but not numbered.
#[derive(Clone, Copy, Debug)]
struct Raw<'a> {
    account: &'a str,
    tenant: &'a str,
    label: &'a str,
    profile: u32,
    challenge: Option<Challenge>,
    urgency: Urgency,
    ready: bool,
    held: Option<(&'a str, Timestamp, Timestamp)>,
}

/// Reads the combinations, which stand in `items` as columns joined by NUL; `key` finds them.
pub(super) fn read<'a>(
    items: &[TextRef],
    key: impl Fn(TextRef) -> &'a [u8] + Sync,
    settings: &'a Settings<'a>,
) -> Attributes {
    let mut raws: Vec<Result<Raw<'_>, BadValue>> = items.par_iter().map(|at| read_one(key(*at), settings)).collect();
    refuse_contradictions(&mut raws);
    let ((accounts, urgencies), tenants) = rayon::join(
        || (Table::of(&raws, |_, raw| raw.account), Table::of(&raws, |_, raw| raw.urgency)),
        || Table::of(&raws, |_, raw| raw.tenant),
    );
    let groups = Table::of(&raws, |index, raw| {
        (accounts.places[index], tenants.places[index], raw.profile, raw.challenge, raw.label)
    });
    let held_terms = |(index, raw): (usize, &Result<Raw<'_>, BadValue>)| {
        let (certificate, issued_at, expires_at) = raw.as_ref().ok()?.held?;
        let (group, urgency) = (groups.places[index], urgencies.places[index]);
        Some(HeldTerms { certificate: certificate.to_owned(), issued_at, expires_at, group, urgency })
    };
    let mut held: Vec<HeldTerms> = raws.par_iter().enumerate().filter_map(held_terms).collect();
    // A certificate's rows may differ in tenant, group or challenge; the first of them in order stands for it.
    held.par_sort_unstable();
    held.dedup_by(|a, b| a.certificate == b.certificate);
    let held_places: FxHashMap<&str, u32> =
        held.iter().zip(0..).map(|(terms, place)| (terms.certificate.as_str(), place)).collect();
    let attribute = |(index, raw): (usize, &Result<Raw<'_>, BadValue>)| {
        let raw = raw.as_ref().map_err(Clone::clone)?;
        let held = raw.held.and_then(|(certificate, ..)| held_places.get(certificate).copied());
        Ok(Attribute { group: groups.places[index], urgency: urgencies.places[index], held, ready: raw.ready })
    };
    let of = raws.par_iter().enumerate().map(attribute).collect();
    let group = |(account, tenant, profile, challenge, label): &(u32, u32, u32, _, &str)| Group {
        account: *account,
        tenant: *tenant,
        profile: *profile,
        challenge: *challenge,
        label: (*label).to_owned(),
    };
    Attributes {
        accounts: accounts.things.iter().map(|text| (*text).to_owned()).collect(),
        tenants: tenants.things.par_iter().map(|text| (*text).to_owned()).collect(),
        groups: groups.things.par_iter().map(group).collect(),
        urgencies: urgencies.things,
        held,
        of,
    }
}

/// The distinct values of a part of all combinations.
struct Table<T> {
    /// Sorted.
    things: Vec<T>,
    /// By the number of the combination: the place of its own; 0 for those that make no sense.
    places: Vec<u32>,
}

impl<T: Copy + Ord + Send> Table<T> {
    fn of<'a>(raws: &[Result<Raw<'a>, BadValue>], part: impl Fn(usize, &Raw<'a>) -> T) -> Self {
        let good = raws.iter().enumerate().filter_map(|(at, raw)| Some((part(at, raw.as_ref().ok()?), at)));
        let mut sorted: Vec<(T, usize)> = good.collect();
        sorted.par_sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut places = vec![0; raws.len()];
        for (same, place) in sorted.chunk_by(|a, b| a.0 == b.0).zip(0..) {
            same.iter().for_each(|(_, at)| places[*at] = place);
        }
        sorted.dedup_by(|a, b| a.0 == b.0);
        Self { things: sorted.into_iter().map(|(thing, _)| thing).collect(), places }
    }
}

fn read_one<'a>(key: &'a [u8], settings: &Settings<'a>) -> Result<Raw<'a>, BadValue> {
    let mut fields = [""; Column::ALL.len()];
    for (field, bytes) in fields[1..].iter_mut().zip(key.split(|byte| *byte == 0)) {
        // The record was seen to be UTF-8.
        *field = std::str::from_utf8(bytes).unwrap_or_default();
    }
    let field = |column: Column| fields[column as usize];
    let bad = |column: Column, reason: String| BadValue { column, value: field(column).to_owned(), reason };
    let date = |column: Column| match field(column) {
        "" => Ok(None),
        text => Timestamp::parse(text).map(Some).map_err(|error| {
            // The row's message names the value already.
            let reason = error.to_string();
            bad(column, reason.strip_prefix(&format!("`{text}` ")).unwrap_or(&reason).to_owned())
        }),
    };
    let or = |column: Column, default: &'a str| match field(column) {
        "" => default,
        text => text,
    };
    let profile = or(Column::Profile, settings.profile);
    let profile = settings.policy.profile(profile).ok_or_else(|| {
        let known: Vec<&str> = settings.policy.profiles.iter().map(|profile| profile.name.as_str()).collect();
        bad(Column::Profile, format!("the policy has no such profile; it has {}", known.join(", ")))
    })?;
    let challenge = match field(Column::Challenge) {
        "" => None,
        text => Some(Challenge::parse(text).ok_or_else(|| {
            bad(Column::Challenge, "is no challenge type; there are http-01, dns-01, tls-alpn-01".to_owned())
        })?),
    };
    let priority = match field(Column::Priority) {
        "" => 0,
        text => text.parse().map_err(|_no_number| {
            bad(Column::Priority, "is no whole number; 0 is ordinary, a larger one goes first".to_owned())
        })?,
    };
    let deadline = date(Column::Deadline)?;
    if deadline.is_some_and(|deadline| deadline <= settings.start) {
        return Err(bad(Column::Deadline, format!("lies in the past: the plan starts at {}", settings.start)));
    }
    let says_ready = |words: &[&str]| words.iter().any(|word| field(Column::Ready).eq_ignore_ascii_case(word));
    let ready = match () {
        () if says_ready(&["", "yes", "true", "y", "1"]) => true,
        () if says_ready(&["no", "false", "n", "0"]) => false,
        () => return Err(bad(Column::Ready, "is neither `yes` nor `no`".to_owned())),
    };
    let held = match (field(Column::Certificate), date(Column::IssuedAt)?, date(Column::ExpiresAt)?) {
        ("", None, None) => None,
        ("", Some(_), _) => {
            return Err(bad(Column::IssuedAt, "there is a date, but no `certificate` it belongs to".to_owned()));
        }
        ("", None, Some(_)) => {
            return Err(bad(Column::ExpiresAt, "there is a date, but no `certificate` it belongs to".to_owned()));
        }
        (_, None, _) => return Err(bad(Column::IssuedAt, "a certificate held needs the date of its issue".to_owned())),
        (_, _, None) => {
            return Err(bad(Column::ExpiresAt, "a certificate held needs the date of its expiry".to_owned()));
        }
        (_, Some(issued), Some(expires)) if expires <= issued => {
            return Err(bad(Column::ExpiresAt, format!("is not after the issue at {issued}")));
        }
        (certificate, Some(issued), Some(expires)) => Some((certificate, issued, expires)),
    };
    Ok(Raw {
        account: or(Column::Account, settings.account),
        tenant: field(Column::Tenant),
        label: field(Column::Group),
        profile: u32::try_from(profile.0).unwrap_or(u32::MAX),
        challenge,
        urgency: Urgency {
            priority: std::cmp::Reverse(priority),
            deadline: deadline.or(settings.deadline).unwrap_or(Urgency::NEVER),
        },
        ready,
        held,
    })
}

/// Rows of one certificate must agree on what a certificate has once.
fn refuse_contradictions(raws: &mut [Result<Raw<'_>, BadValue>]) {
    let mut by_certificate: Vec<(&str, usize)> = Vec::new();
    for (index, raw) in raws.iter().enumerate() {
        if let Ok(Raw { held: Some((certificate, ..)), .. }) = raw {
            by_certificate.push((*certificate, index));
        }
    }
    by_certificate.par_sort_unstable();
    for same in by_certificate.chunk_by(|a, b| a.0 == b.0) {
        let once = |index: usize| {
            let raw = raws[index].as_ref().ok()?;
            let (_, issued, expires) = raw.held.as_ref()?;
            Some([
                (Column::Account, raw.account.to_owned()),
                (Column::Profile, raw.profile.to_string()),
                (Column::IssuedAt, issued.to_string()),
                (Column::ExpiresAt, expires.to_string()),
                (Column::Ready, if raw.ready { "yes" } else { "no" }.to_owned()),
            ])
        };
        let Some(first) = once(same[0].1) else { continue };
        let contradiction = same[1..].iter().find_map(|(_, index)| {
            let other = once(*index)?;
            first.iter().zip(&other).find(|(a, b)| a != b).map(|((column, a), (_, b))| (*column, a.clone(), b.clone()))
        });
        let Some((column, a, b)) = contradiction else { continue };
        for (certificate, index) in same {
            let reason = match column {
                Column::Profile => format!("rows of this certificate have different values of {column}"),
                _ => format!("rows of this certificate have different values of {column}: `{a}` and `{b}`"),
            };
            raws[*index] = Err(BadValue { column: Column::Certificate, value: (*certificate).to_owned(), reason });
        }
    }
}
