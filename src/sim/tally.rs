//! What is counted while a run goes on, and what is made of it at its end.

use super::ca::Ca;
use super::measure::{Measure, Quantile, Value};
use super::measures::{Measures, Point, Tightest, quantile};
use super::random::Seed;
use super::setup::Setup;
use crate::limits::LimitName;
use crate::time::{Span, Timestamp};

/// Steps of [`Measures::series`].
const POINTS: usize = 60;
const HOUR: Span = Span::from_hours(1);

/// Plain counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) orders: u64,
    pub(super) certificates: u64,
    pub(super) renewals: u64,
    pub(super) refusals: [u64; LimitName::COUNT],
    pub(super) refusals_paused: u64,
    pub(super) overloads: u64,
    pub(super) unreachable: u64,
    pub(super) failed_orders: u64,
    pub(super) failed_validations: u64,
    pub(super) expired: u64,
    pub(super) lost: u64,
    pub(super) steps: u64,
    pub(super) bound_hit: bool,
}

/// How a hostname stands.
#[derive(Clone, Copy, Debug)]
struct Cover {
    /// Until when it has a valid certificate, as far as is known now.
    until: Timestamp,
    /// Whether it ever had one.
    seen: bool,
    /// Whether it is not wanted any more.
    gone: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// Nanoseconds, over all names.
    total: i128,
    names: i128,
}

#[derive(Debug)]
pub(super) struct Tally<'a> {
    setup: &'a Setup,
    pub(super) counts: Counts,
    covers: Vec<Cover>,
    /// By step of the series: how many hostnames get covered in it, less those that cease to be.
    change: Vec<i64>,
    points: Vec<Point>,
    step: Span,
    renewals_by_hour: Vec<u32>,
    firsts: Vec<Span>,
    /// How many hostnames had no certificate at the start.
    waits: Vec<Wait>,
    uncovered_ns: i128,
    lapsed_ns: i128,
    last_first: Timestamp,
    pub(super) slip: Span,
}

impl<'a> Tally<'a> {
    pub(super) fn new(setup: &'a Setup) -> Self {
        let duration = setup.end.since(setup.start).nanos().max(1);
        let points = i64::try_from(POINTS).unwrap_or(1);
        let step = Span::from_nanos((duration + points - 1) / points);
        let point = |index: i64| Point {
            at: setup.start.plus(Span::from_nanos(step.nanos().saturating_mul(index))),
            ..Point::default()
        };
        let hours = usize::try_from(duration / HOUR.nanos() + 1).unwrap_or(1);
        Self {
            setup,
            counts: Counts::default(),
            covers: vec![Cover { until: setup.start, seen: false, gone: false }; setup.names.len()],
            change: vec![0; POINTS + 1],
            points: (0..points).map(point).collect(),
            step,
            renewals_by_hour: vec![0; hours],
            firsts: Vec::new(),
            waits: vec![Wait::default(); setup.tenants as usize],
            uncovered_ns: 0,
            lapsed_ns: 0,
            last_first: setup.start,
            slip: Span::ZERO,
        }
    }

    /// The step of the series at `at`; one beyond the last for what comes after the end.
    fn point(&self, at: Timestamp) -> usize {
        let since = at.since(self.setup.start).nanos().max(0);
        usize::try_from(since / self.step.nanos()).unwrap_or(POINTS).min(POINTS)
    }

    pub(super) fn refused_at(&mut self, now: Timestamp) {
        let point = self.point(now).min(POINTS - 1);
        self.points[point].refusals += 1;
    }

    /// A certificate is issued; `again`: in place of one that the client had.
    pub(super) fn issued_at(&mut self, again: bool, now: Timestamp) {
        self.counts.certificates += 1;
        let point = self.point(now).min(POINTS - 1);
        self.points[point].certificates += 1;
        if again {
            self.counts.renewals += 1;
            let hour = usize::try_from(now.since(self.setup.start).nanos() / HOUR.nanos()).unwrap_or(0);
            let last = self.renewals_by_hour.len() - 1;
            self.renewals_by_hour[hour.min(last)] += 1;
        }
    }

    /// A certificate that the client has covers a name until `until`.
    pub(super) fn cover(&mut self, name: u32, until: Timestamp, now: Timestamp) {
        let Cover { until: before, seen, gone } = self.covers[name as usize];
        if gone || until <= before {
            return;
        }
        if before <= now {
            self.gap(name, seen, before, now);
            let point = self.point(now);
            self.change[point] += 1;
        } else {
            let point = self.point(before);
            self.change[point] += 1;
        }
        let point = self.point(until);
        self.change[point] -= 1;
        self.covers[name as usize] = Cover { until, seen: true, gone };
    }

    /// A name had no certificate from `from`, or from when it was wanted, until now.
    fn gap(&mut self, name: u32, seen: bool, from: Timestamp, now: Timestamp) {
        let of = self.setup.names[name as usize];
        let gap = i128::from(now.since(from.max(of.wanted_from)).nanos().max(0));
        self.uncovered_ns += gap;
        if seen {
            self.lapsed_ns += gap;
            return;
        }
        let wait = now.since(of.wanted_from);
        self.firsts.push(wait);
        self.last_first = self.last_first.max(now);
        let tenant = &mut self.waits[of.tenant as usize];
        tenant.total += i128::from(wait.nanos());
        tenant.names += 1;
    }

    /// A name is covered at the start.
    pub(super) fn held(&mut self, name: u32, until: Timestamp) {
        let start = self.setup.start;
        self.covers[name as usize].seen = true;
        self.cover(name, until, start);
    }

    /// A name's certificates are worth nothing from `until` on.
    pub(super) fn uncover(&mut self, name: u32, until: Timestamp, now: Timestamp) {
        let before = self.covers[name as usize].until;
        let until = until.max(now);
        if until >= before {
            return;
        }
        let (from, to) = (self.point(before), self.point(until));
        self.change[from] += 1;
        self.change[to] -= 1;
        self.covers[name as usize].until = until;
    }

    /// A name is not wanted any more.
    pub(super) fn forget(&mut self, name: u32, now: Timestamp) {
        self.uncover(name, now, now);
        let Cover { until, seen, gone } = self.covers[name as usize];
        if !gone {
            self.close(name, seen, until, now);
            self.covers[name as usize].gone = true;
        }
    }

    /// The time without a certificate at the end of a name's time.
    fn close(&mut self, name: u32, seen: bool, until: Timestamp, end: Timestamp) {
        let of = self.setup.names[name as usize];
        let gap = i128::from(end.since(until.max(of.wanted_from)).nanos().max(0));
        self.uncovered_ns += gap;
        if seen {
            self.lapsed_ns += gap;
        } else if of.wanted_from < end {
            // It waits at least until now.
            let tenant = &mut self.waits[of.tenant as usize];
            tenant.total += gap;
            tenant.names += 1;
        }
    }

    pub(super) fn finish(mut self, ca: &Ca, seed: Seed, end: Timestamp) -> Measures {
        let (mut covered, mut never) = (0_u64, 0_u64);
        for name in 0..u32::try_from(self.covers.len()).unwrap_or(u32::MAX) {
            let Cover { until, seen, gone } = self.covers[name as usize];
            if gone {
                continue;
            }
            self.close(name, seen, until, end);
            covered += u64::from(seen && until > end);
            never += u64::from(!seen && self.setup.names[name as usize].wanted_from < end);
        }
        let mut running = 0_i64;
        for (point, change) in self.points.iter_mut().zip(&self.change) {
            running += change;
            point.covered = u64::try_from(running).unwrap_or(0);
        }
        self.firsts.sort_unstable();
        let tightest: Vec<Tightest> = LimitName::ALL
            .into_iter()
            .zip(ca.leads.tightest(&ca.model))
            .filter_map(|(limit, found)| {
                let (left, key) = found?;
                Some(Tightest { limit, key, tokens_left: u64::try_from(left).unwrap_or(0) })
            })
            .collect();
        let mut measures = Measures {
            seed,
            start: self.setup.start,
            end,
            values: std::collections::BTreeMap::new(),
            tightest,
            series: std::mem::take(&mut self.points),
        };
        self.counted(&mut measures, ca);
        self.covering(&mut measures, covered, never);
        self.over_time(&mut measures, end);
        measures
    }

    fn counted(&self, measures: &mut Measures, ca: &Ca) {
        let counts = &self.counts;
        let refusals = counts.refusals.iter().sum::<u64>() + counts.refusals_paused;
        let mut set = |measure, count| measures.values.insert(measure, Value::Count(count));
        set(Measure::Orders, counts.orders);
        set(Measure::Certificates, counts.certificates);
        set(Measure::Renewals, counts.renewals);
        set(Measure::Refusals, refusals);
        set(Measure::RefusalsPaused, counts.refusals_paused);
        set(Measure::Overloads, counts.overloads);
        set(Measure::Unreachable, counts.unreachable);
        set(Measure::FailedOrders, counts.failed_orders);
        set(Measure::FailedValidations, counts.failed_validations);
        set(Measure::PausedNames, ca.model.paused_count() as u64);
        set(Measure::ExpiredCertificates, counts.expired);
        set(Measure::LostCertificates, counts.lost);
        set(Measure::Steps, counts.steps);
        set(Measure::StepBoundHit, u64::from(counts.bound_hit));
        for limit in LimitName::ALL {
            set(Measure::RefusalsBy(limit), counts.refusals[limit.index()]);
        }
        for Tightest { limit, tokens_left, .. } in measures.tightest.clone() {
            measures.values.insert(Measure::TokensLeft(limit), Value::Count(tokens_left));
        }
    }

    fn covering(&self, measures: &mut Measures, covered: u64, never: u64) {
        let hours = |ns: i128| {
            let hour = i128::from(HOUR.nanos());
            Value::Count(u64::try_from((ns + hour - 1) / hour).unwrap_or(u64::MAX))
        };
        let mut set = |measure, value| measures.values.insert(measure, value);
        set(Measure::Hostnames, Value::Count(self.covers.len() as u64));
        set(Measure::HostnamesCovered, Value::Count(covered));
        set(Measure::HostnamesNeverCovered, Value::Count(never));
        let full = if never > 0 { Value::Never } else { Value::Span(self.last_first.since(self.setup.start)) };
        set(Measure::FullCoverageAfter, full);
        set(Measure::HostnameHoursUncovered, hours(self.uncovered_ns));
        set(Measure::HostnameHoursLapsed, hours(self.lapsed_ns));
        let wanting = self.firsts.len() + usize::try_from(never).unwrap_or(0);
        for of in Quantile::ALL {
            set(Measure::FirstCertificate(of), quantile(&self.firsts, wanting, of));
        }
    }

    fn over_time(&self, measures: &mut Measures, end: Timestamp) {
        let hours = (end.since(self.setup.start).nanos() / HOUR.nanos()).max(1).unsigned_abs();
        let mean = |wait: &Wait| Span::from_nanos(i64::try_from(wait.total / wait.names.max(1)).unwrap_or(i64::MAX));
        let worst = self.waits.iter().map(mean).max().unwrap_or_default();
        let all = self
            .waits
            .iter()
            .fold(Wait::default(), |sum, wait| Wait { total: sum.total + wait.total, names: sum.names + wait.names });
        let peak = self.renewals_by_hour.iter().max().copied().unwrap_or_default();
        let mut set = |measure, value| measures.values.insert(measure, value);
        set(Measure::RenewalsPerHourPeak, Value::Count(u64::from(peak)));
        set(Measure::RenewalsPerHourMean, Value::Count(self.counts.renewals.div_ceil(hours)));
        set(Measure::SlipMax, Value::Span(self.slip));
        set(Measure::TenantWaitWorst, Value::Span(worst));
        set(Measure::TenantWaitMean, Value::Span(mean(&all)));
    }
}
