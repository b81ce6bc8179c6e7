//! What the agent's numbers stand for.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Work;
use crate::agent::{CertificateId, GateId, NameId, TenantId, Wanted};
use crate::dense::dense;
use crate::issuer::order::Item;
use crate::issuer::store::{LastError, Notes, OpenOrder, Slot};
use crate::ledger::bucket_name;
use crate::limits::LimitName;
use crate::name::{Identifier, NameSet, SetKey};
use crate::permits::PermitId;
use crate::psl::SuffixList;
use crate::time::Timestamp;

/// A certificate that is wanted, and how it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// Its names, as an order has them.
    pub names: Vec<String>,
    /// When it was to go out.
    pub planned_at: Timestamp,
    /// Which order of the plan it is.
    pub order: Option<u64>,
    /// Where it stands.
    pub state: State,
    /// Whether a certificate is held, which is to be kept fresh.
    pub held: bool,
    /// How often it failed in a row.
    pub failures: u32,
    /// What went wrong last, or holds it up.
    pub last_error: Option<LastError>,
    /// When it was issued.
    pub issued_at: Option<Timestamp>,
    /// When the CA was asked for its window last.
    pub asked_at: Option<Timestamp>,
    /// When it wants to be asked again.
    pub ask_again_at: Option<Timestamp>,
}

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// It is not there yet.
    Open,
    /// It is not, and a person has to do something.
    Stopped,
    /// It is.
    Done,
}

/// All of a job that only those need who order it; gone once it is done.
pub(super) struct Inside {
    pub(super) item: Item,
    /// The certificate held.
    pub(super) held: Option<Holding>,
    /// The names of the certificate held, where one of them was left out.
    pub(super) whole: Option<NameSet>,
    /// The permit of the order that was sent last.
    pub(super) permit: Option<String>,
    /// An order that an earlier process has left, and where.
    pub(super) open: Option<(OpenOrder, Arc<Slot>)>,
    /// Whether an order of it is under way, and has to come to its end.
    pub(super) is_out: bool,
    /// Whether it is not wanted any more once that has ended.
    pub(super) withdrawn: bool,
}

/// What the CA and the store know of a certificate held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// Its id in renewal information.
    pub ari_id: Option<String>,
    /// The first second of its validity, by its own dates.
    pub not_before: Timestamp,
    /// What earlier processes have noted of its renewal.
    pub notes: Notes,
}

/// Numbers for texts, and back.
#[derive(Default)]
struct Numbers {
    numbers: FxHashMap<String, u32>,
    texts: Vec<String>,
}

impl Numbers {
    fn of(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = dense(self.texts.len());
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

/// The jobs, by the agent's number.
#[derive(Default)]
pub(super) struct Jobs {
    all: Vec<(Job, Option<Box<Inside>>)>,
    /// How many are not done.
    wanted: u64,
    /// Account and name, by a space: two accounts' same name are two.
    names: Numbers,
    /// By names, where certificates are kept fresh.
    sets: FxHashMap<SetKey, CertificateId>,
    tenants: Numbers,
    gates: Numbers,
    permits: Numbers,
}

impl Jobs {
    pub(super) fn all(&self) -> impl Iterator<Item = &Job> {
        self.all.iter().map(|(job, _)| job)
    }

    /// Those that are not done.
    pub(super) fn open(&self) -> impl Iterator<Item = (CertificateId, &Job)> {
        let all = self.all().enumerate().map(|(place, job)| (CertificateId::new(dense(place)), job));
        all.filter(|(_, job)| job.state != State::Done)
    }

    /// How many are not done.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// What the agent is told of some work, and what is kept of it here.
    pub(super) fn take_in(&mut self, work: Work, suffixes: &SuffixList) -> (Wanted, Job, Inside) {
        let Work { item, at, held, open } = work;
        let names: Vec<_> = item.names.identifiers().iter().map(ToString::to_string).collect();
        let ids: Vec<_> = names.iter().map(|name| self.name(&item, name)).collect();
        let tenant = TenantId::new(self.tenants.of(item.tenant.as_deref().unwrap_or_default()));
        let mut gates: Vec<_> = item.names.identifiers().iter().map(|name| domain(name, suffixes)).collect();
        gates.sort_unstable();
        gates.dedup();
        gates.push(bucket_name(LimitName::NewOrdersPerAccount, &item.account.url));
        let gates: Vec<_> = gates.iter().map(|gate| self.gate(gate)).collect();
        let (held, holding) = held.unzip();
        let notes = holding.as_ref().map(|holding| holding.notes.clone()).unwrap_or_default();
        let permit = open.as_ref().map(|(open, _)| self.permit(&open.permit));
        let wanted = Wanted { not_before: at, held, open: permit, ..Wanted::new(ids, tenant, gates) };
        let job = Job {
            names,
            planned_at: at,
            order: item.plan.as_ref().map(|plan| plan.order),
            state: State::Open,
            held: held.is_some(),
            failures: notes.failures,
            last_error: notes.last_error,
            issued_at: None,
            asked_at: notes.asked_at,
            ask_again_at: notes.ask_again_at,
        };
        let is_out = open.is_some();
        (wanted, job, Inside { item, held: holding, whole: None, permit: None, open, is_out, withdrawn: false })
    }

    /// Those of these orders of the plan that are not done.
    pub(super) fn of_orders(&self, orders: &BTreeSet<u64>) -> Vec<CertificateId> {
        let is_open = |job: &Job| job.state != State::Done && job.order.is_some_and(|order| orders.contains(&order));
        let numbers = self.all.iter().zip(0..).filter(|((job, _), _)| is_open(job)).map(|(_, number)| number);
        numbers.map(CertificateId::new).collect()
    }

    pub(super) fn push(&mut self, id: CertificateId, job: Job, inside: Inside) {
        debug_assert_eq!(id.number() as usize, self.all.len(), "the agent counts as we do");
        if inside.held.is_some() {
            self.sets.insert(inside.item.names.key(), id);
        }
        self.all.push((job, Some(Box::new(inside))));
        self.wanted += 1;
    }

    /// The job that holds a certificate for exactly these names.
    pub(super) fn holds(&self, names: &NameSet) -> Option<CertificateId> {
        self.sets.get(&names.key()).copied()
    }

    pub(super) fn job(&self, id: CertificateId) -> &Job {
        &self.all[id.number() as usize].0
    }

    pub(super) fn job_mut(&mut self, id: CertificateId) -> &mut Job {
        &mut self.all[id.number() as usize].0
    }

    /// `None` once it is done.
    pub(super) fn inside(&self, id: CertificateId) -> Option<&Inside> {
        self.all[id.number() as usize].1.as_deref()
    }

    /// `None` once it is done.
    pub(super) fn inside_mut(&mut self, id: CertificateId) -> Option<&mut Inside> {
        self.all[id.number() as usize].1.as_deref_mut()
    }

    /// No more is wanted of it. Its names go too: there may be millions.
    pub(super) fn close(&mut self, id: CertificateId) {
        let (job, inside) = &mut self.all[id.number() as usize];
        self.wanted -= u64::from(job.state != State::Done);
        (job.state, job.names) = (State::Done, Vec::new());
        *inside = None;
    }

    pub(super) fn name(&mut self, item: &Item, name: &str) -> NameId {
        NameId::new(self.names.of(&format!("{} {name}", item.account.url)))
    }

    /// The name of that number.
    pub(super) fn name_of(&self, name: NameId) -> &str {
        let text = self.names.text(name.number());
        text.split_once(' ').map_or(text, |(_, name)| name)
    }

    pub(super) fn gate(&mut self, bucket: &str) -> GateId {
        GateId::new(self.gates.of(bucket))
    }

    pub(super) fn permit(&mut self, permit: &str) -> PermitId {
        PermitId::new(self.permits.of(permit))
    }

    pub(super) fn permit_of(&self, permit: PermitId) -> &str {
        self.permits.text(permit.number())
    }
}

/// The bucket in which certificates for a name are counted.
fn domain(name: &Identifier, suffixes: &SuffixList) -> String {
    bucket_name(LimitName::CertificatesPerDomain, &suffixes.domain_of(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, key: &str) {
        let bucket = domain(&Identifier::parse(name).unwrap(), &SuffixList::embedded());
        assert_eq!(bucket, format!("CertificatesPerDomain {key}"));
    }

    #[test]
    fn names_wait_where_they_are_counted() {
        check("*.www.example.com", "example.com");
        check("8.8.4.4", "8.8.4.4/32");
        check("2606:4700:10:20:1:2:3:4", "2606:4700:10:20::/64");
    }
}
