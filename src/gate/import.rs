//! Certificates that were issued before, or beside, the ledger: each is counted once, as the CA counted it then.
//!
//! They come in the order of their issue. What of it has flowed back into the buckets by now does not matter any more and is left out
//! ([`charges`]); the set is remembered for as long as the CA remembers it. A certificate is known by its serial number, so that an import can be
//! repeated, or broken off and begun again. One that came of a permit is known by its set and the time: the permit has counted it.
//!
//! What is unsure counts as spent: a certificate whose names are not all known takes a token of every domain that is, and makes no set known;
//! only what surely was a same-set renewal takes none.

mod charges;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rustc_hash::FxHashMap;

use self::charges::{Charge, Charges};
use super::document::{BOARD, Counted, SetState, set_document, text};
use super::permitted::Permitted;
use super::record::Entry;
use super::request::GateError;
use super::stakes::{Draft, quota_of};
use super::{Gate, View};
use crate::import::{Certainty, Issuance, Kind, SourceFile, renewals};
use crate::ledger::{Motion, Step, Write, bucket_name, limit_and_key};
use crate::limits::LimitName;
use crate::permits::State;
use crate::rules::{Exemption, Part};
use crate::time::{Span, Timestamp};

/// How many names certificates may have that are counted in one change of the ledger. Their rows lie all over it: the more go together, the
/// less often a part of it is written. What a store is told at once has its bounds, though.
const TOGETHER: usize = 20_000;
/// How far the CA's clock and the ledger's may be apart where a certificate is recognised as a permit's.
const CLOCKS_APART: Span = Span::from_seconds(15 * 60);

/// What came of an import.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImportedLedger {
    /// Certificates that were counted now.
    pub counted: u64,
    /// Of these, surely same-set renewals: they took no domain tokens.
    pub renewals: u64,
    /// Those that had been counted before.
    pub known: u64,
    /// Those that came of a permit, which has counted them; permits of which nobody knew what came of them are issued now.
    pub permits: u64,
    /// Those so old that neither a bucket nor a set remembers them.
    pub forgotten: u64,
    /// Those issued after now by the ledger's clock: they count as issued now.
    pub from_the_future: u64,
    /// By registered domain: how many certificates of it take part, and from which kinds of source they are known.
    pub domains: BTreeMap<String, (u64, BTreeSet<Kind>)>,
    /// From when on buckets that no certificate tells of are exact: by limit.
    pub exact_from: Vec<(LimitName, Timestamp)>,
}

/// Permits that may have made a certificate, by their set.
type Open = BTreeMap<String, Vec<Permitted>>;

impl Gate {
    /// Counts certificates; `account` is whose they are taken to be. They are sorted as an import has them. `progress` is told how many are
    /// done. What no certificate tells of, orders and failures, counts as empty from now on unless the ledger has seen all of it.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be used; what was counted until then is, and the same import goes on from there.
    pub fn import(
        &mut self,
        account: &str,
        issuances: &[Issuance],
        sources: &[SourceFile],
        progress: &dyn Fn(usize),
    ) -> Result<ImportedLedger, GateError> {
        let now = self.now()?;
        let order_life = self.limits.policy.profiles.iter().map(|profile| profile.pending_order).max();
        let memory = self.limits.policy.renewal.same_set_memory;
        let is_renewal = renewals(issuances, memory, order_life.unwrap_or_default());
        let mut open = self.open_permits()?;
        let mut result = ImportedLedger { exact_from: self.assume_unseen(account, now)?, ..ImportedLedger::default() };
        let oldest = now.minus(memory.max(self.longest_refill()));
        let start = issuances.partition_point(|issuance| issuance.issued_at < oldest);
        result.forgotten = start as u64;
        let charges = self.charges(account, issuances, &is_renewal, start, now)?;
        let mut place = start;
        while place < issuances.len() {
            let end = place + together(&issuances[place..]);
            self.settle_permits(&issuances[place..end], &mut open, &mut result)?;
            let batch = Batch { account, issuances, renewal: &is_renewal, places: place..end, charges: &charges, now };
            self.count(&batch, sources, &mut result)?;
            place = end;
            progress(place);
        }
        Ok(result)
    }

    /// Certificates that came of permits of which nobody knew it: these are issued now. Nothing else is counted. Returns them.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be used.
    pub fn reconcile(&mut self, issuances: &[Issuance]) -> Result<u64, GateError> {
        let mut open = self.open_permits()?;
        let mut result = ImportedLedger::default();
        self.settle_permits(issuances, &mut open, &mut result)?;
        Ok(result.permits)
    }

    /// Follows the certificates from `start` on through their buckets, beside what the ledger knows of these.
    fn charges(
        &mut self,
        account: &str,
        issuances: &[Issuance],
        renewal: &[bool],
        start: usize,
        now: Timestamp,
    ) -> Result<Charges, GateError> {
        let mut full_at: FxHashMap<String, Timestamp> = FxHashMap::default();
        let (code, since) = (self.code.clone(), now.minus(self.longest_refill()));
        self.with_store(|store| {
            store.cells(&code, &mut |name, cell| {
                let of_certificates = limit_and_key(&name).is_some_and(|(limit, _)| counts_certificates(limit));
                if let Some(tat) = cell.tally.tat.filter(|tat| *tat > since && of_certificates) {
                    full_at.insert(name, tat);
                }
            })
        })?;
        let mut charges = Charges::new(now, full_at);
        for (place, issuance) in issuances.iter().enumerate().skip(start) {
            for (_, bucket, spends) in self.buckets_of(account, issuance, renewal[place]) {
                if let Some(quota) = quota_of(&self.limits, &bucket).filter(|_| spends) {
                    charges.follow(&bucket, quota, place, issuance.issued_at);
                }
            }
        }
        Ok(charges)
    }

    /// The buckets of a certificate's domains and of its set, and whether it took a token of each.
    fn buckets_of(&mut self, account: &str, issuance: &Issuance, renewal: bool) -> Vec<(LimitName, String, bool)> {
        let order = self.order(account, &issuance.names);
        let spends = |part| match part {
            Part::Domain => Some(!renewal),
            Part::Set => Some(issuance.names_known.is_all()),
            Part::Order | Part::Failures(_) => None,
        };
        let stakes = self.model.stakes(order, Exemption::None);
        let buckets = stakes.filter_map(|stake| Some((self.model.describe(stake.bucket), spends(stake.part)?)));
        buckets.map(|((limit, key), spends)| (limit, bucket_name(limit, &key), spends)).collect()
    }

    /// Permits of which a certificate may have come.
    fn open_permits(&mut self) -> Result<Open, GateError> {
        let mut open = Open::new();
        for permit in self.permits()? {
            if matches!(permit.life.state, State::Sent | State::Unknown | State::Expired) {
                open.entry(permit.set()).or_default().push(permit);
            }
        }
        Ok(open)
    }

    fn settle_permits(
        &mut self,
        issuances: &[Issuance],
        open: &mut Open,
        result: &mut ImportedLedger,
    ) -> Result<(), GateError> {
        if open.is_empty() {
            return Ok(());
        }
        for issuance in issuances.iter().filter(|issuance| issuance.names_known.is_all()) {
            let Some(permits) = open.get_mut(&issuance.names.key().to_string()) else { continue };
            let came_of = |permit: &Permitted| issuance.issued_at >= permit.life.reserved_at.minus(CLOCKS_APART);
            // The latest that was there before it.
            let Some(place) = permits.iter().rposition(came_of) else { continue };
            let permit = permits.remove(place);
            self.found(&permit.permit, issuance.issued_at.max(permit.life.reserved_at))?;
            result.permits += 1;
        }
        Ok(())
    }

    /// The longest time in which a bucket of certificates fills up.
    fn longest_refill(&self) -> Span {
        let overrides = self.limits.overrides.iter().map(|of| (of.name, of.limit.quota));
        let defaults =
            LimitName::ALL.into_iter().filter_map(|name| Some((name, self.limits.policy.limit(name)?.quota)));
        overrides
            .chain(defaults)
            .filter(|(name, _)| counts_certificates(*name))
            .map(|(_, quota)| quota.offset())
            .max()
            .unwrap_or_default()
    }

    /// Orders and failures stand in no certificate: their buckets count as empty now, unless the ledger was there for as long as they
    /// remember. Returns from when on each is exact.
    fn assume_unseen(&mut self, account: &str, now: Timestamp) -> Result<Vec<(LimitName, Timestamp)>, GateError> {
        let mut since = None;
        self.with_store(|store| store.records(0, 1, &mut |first| since = Some(first.at)).map(|_| ()))?;
        let since = since.unwrap_or(now);
        let board = self.board()?;
        let mut exact = Vec::new();
        let mut unseen = Vec::new();
        for limit in [LimitName::NewOrdersPerAccount, LimitName::FailedAuthorizationsPerDomainPerAccount] {
            let Some(quota) = self.limits.quota(limit, account) else { continue };
            let known = board.limits_empty_at.get(limit.as_str()).copied().max(board.empty_at);
            let from = match known {
                Some(empty_at) => empty_at.plus(quota.offset()),
                None if since.plus(quota.offset()) <= now => now,
                None => {
                    unseen.push(limit);
                    now.plus(quota.offset())
                }
            };
            exact.push((limit, from.max(now)));
        }
        if !unseen.is_empty() {
            self.assume_empty(&unseen, false, "import")?;
        }
        Ok(exact)
    }

    /// Counts a batch in one change.
    fn count(
        &mut self,
        batch: &Batch<'_>,
        sources: &[SourceFile],
        result: &mut ImportedLedger,
    ) -> Result<(), GateError> {
        let keys: Vec<_> = batch.issuances[batch.places.clone()]
            .iter()
            .map(|issuance| set_document(&issuance.names.key().to_string()))
            .collect();
        let mut documents: Vec<_> = keys.clone();
        documents.push(BOARD.to_owned());
        documents.sort_unstable();
        documents.dedup();
        let (_, _, counted) =
            self.decide(&documents, false, |gate, view| gate.draft_import(batch, &keys, sources, view))?;
        result.counted += counted.counted;
        result.renewals += counted.renewals;
        result.known += counted.known;
        result.from_the_future += counted.from_the_future;
        for (domain, (count, kinds)) in counted.domains {
            let known = result.domains.entry(domain).or_default();
            known.0 += count;
            known.1.extend(kinds);
        }
        Ok(())
    }

    fn draft_import(
        &mut self,
        batch: &Batch<'_>,
        keys: &[String],
        sources: &[SourceFile],
        view: &View<'_>,
    ) -> Result<(Step, ImportedLedger), GateError> {
        let board = view.board()?;
        let mut result = ImportedLedger::default();
        let mut sets: BTreeMap<&str, SetState> = BTreeMap::new();
        let mut entry = Entry::new("import", None, "import");
        let mut serials = Vec::new();
        let mut spent = Vec::new();
        for (place, key) in batch.places.clone().zip(keys) {
            let (issuance, key) = (&batch.issuances[place], key.as_str());
            let state = match sets.entry(key) {
                std::collections::btree_map::Entry::Occupied(state) => state.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => place.insert(view.read(key)?.unwrap_or_default()),
            };
            let serial = issuance.serial.to_string();
            if is_counted(state, &serial, issuance) {
                result.known += 1;
                continue;
            }
            let at = issuance.issued_at.min(batch.now);
            result.from_the_future += u64::from(issuance.issued_at > batch.now);
            result.counted += 1;
            let renewal = batch.renewal[place];
            result.renewals += u64::from(renewal);
            let all = issuance.names_known.is_all();
            state.counted.push(Counted { serial: Some(serial.clone()), at, since: None });
            if all {
                state.seen = state.seen.max(Some(issuance.not_before.min(at)));
            }
            let kind = sources.get(issuance.source as usize).map(|source| source.kind);
            for (limit, bucket, spends) in self.buckets_of(batch.account, issuance, renewal) {
                if limit == LimitName::CertificatesPerDomain {
                    let domain = bucket.rsplit(' ').next().unwrap_or_default();
                    let known = result.domains.entry(domain.to_owned()).or_default();
                    known.0 += 1;
                    known.1.extend(kind);
                }
                if spends {
                    spent.push((bucket, place, at));
                }
            }
            serials.push(serial);
        }
        let mut draft = Draft::new(Step::new(self.code.clone(), self.known), &self.limits, &board);
        for (bucket, place, at) in spent {
            let Some(quota) = quota_of(&self.limits, &bucket) else { continue };
            if let Some(Charge { at, short_until }) = batch.charges.charge(&bucket, quota, place, at) {
                if short_until > at {
                    let until = short_until.minus(quota.offset()).plus(quota.emission());
                    draft.move_token(&bucket, Motion::Raise { until });
                }
                draft.move_token(&bucket, Motion::Charge { at: Some(at) });
            }
        }
        let mut step = draft.step;
        if result.counted == 0 {
            step.buckets.clear();
            return Ok((step, result));
        }
        for (key, state) in sets {
            if view.read::<SetState>(key)?.as_ref() != Some(&state) {
                step.writes.push(Write { name: key.to_owned(), body: Some(text(&state)), lease: None });
            }
        }
        entry = entry.with("account", Some(batch.account)).with("serials", Some(&serials));
        step.record = Some(entry.text_with(&step));
        Ok((step, result))
    }
}

/// Whether certificates take tokens of that limit's buckets.
const fn counts_certificates(limit: LimitName) -> bool {
    matches!(
        limit,
        LimitName::CertificatesPerDomain
            | LimitName::CertificatesPerDomainPerAccount
            | LimitName::CertificatesPerFqdnSet
    )
}

/// How many of the certificates, at least the first, are counted together.
fn together(issuances: &[Issuance]) -> usize {
    let mut names = 0;
    let fits = |issuance: &&Issuance| {
        names += issuance.names.identifiers().len();
        names <= TOGETHER
    };
    issuances.iter().take_while(fits).count().max(1)
}

/// Certificates that are counted together.
struct Batch<'a> {
    account: &'a str,
    /// All of the import's, and for each whether it is a renewal.
    issuances: &'a [Issuance],
    renewal: &'a [bool],
    /// Those that are counted now.
    places: Range<usize>,
    charges: &'a Charges,
    now: Timestamp,
}

/// Whether the certificate was counted before: by its serial number, or as a permit's, which then has it.
fn is_counted(state: &mut SetState, serial: &str, issuance: &Issuance) -> bool {
    if state.counted.iter().any(|counted| counted.serial.as_deref() == Some(serial)) {
        return true;
    }
    // Where the time is not sure, `issued_at` is the latest that it can be.
    let earliest = match issuance.certainty {
        Certainty::Sct => issuance.issued_at,
        Certainty::Backdated | Certainty::Told | Certainty::Logged => issuance.not_before.min(issuance.issued_at),
    };
    let came_of_permit = |counted: &Counted| {
        let (from, to) = (counted.since.unwrap_or(counted.at), counted.at);
        counted.serial.is_none() && issuance.issued_at >= from.minus(CLOCKS_APART) && earliest <= to.plus(CLOCKS_APART)
    };
    match state.counted.iter_mut().find(|counted| came_of_permit(counted)) {
        Some(counted) => {
            counted.serial = Some(serial.to_owned());
            true
        }
        None => false,
    }
}
