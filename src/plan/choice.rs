//! Which order goes first, of those that can go.
//!
//! Every order has a due time: its deadline, or the finish that is aimed at, less its *tail*, the time that its domain's bucket will
//! still force after it. The one that is due first goes; of equals each tenant's first one, then each one's second, in an order of
//! tenants that has nothing to do with the alphabet.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::jobs::{Job, Jobs, Lane, TightLanes};
use crate::dense::dense;
use crate::inventory::Urgency;
use crate::time::Timestamp;

/// What the order of choice aims at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// The higher priority first; then deadlines, and this finish for all that have none.
    Finish(Timestamp),
    /// This finish alone, as if there were neither priorities nor deadlines.
    FinishAlone(Timestamp),
    /// Deadlines first, whatever the priority, and this finish for all that have none.
    Deadlines(Timestamp),
}

/// What tells streams of one account and domain apart.
type Apart = (u32, usize);

/// What decides between orders that can go; the smaller one goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    weight: (i64, i64),
    fair_place: u32,
    pub(super) job: u32,
}

/// An order that no domain holds back; the smaller one goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Free {
    class: u32,
    /// Its place in [`Jobs::fair_order`].
    pub(super) fair_place: u32,
}

/// What the orders weigh that no domain holds back.
pub(super) struct Classes {
    /// By class, the one that goes first in front.
    weights: Vec<(i64, i64)>,
    /// By urgency.
    of_urgency: Vec<u32>,
}

impl Classes {
    /// Whether a free order goes before one that a domain may hold back.
    pub(super) fn goes_before(&self, free: Free, key: &Key) -> bool {
        (self.weights[free.class as usize], free.fair_place) < (key.weight, key.fair_place)
    }
}

/// The order of choice among jobs.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) jobs: &'a Jobs<'a>,
    pub(super) aim: Aim,
}

impl Choice<'_> {
    fn due_of(&self, urgency: Urgency) -> Timestamp {
        match self.aim {
            Aim::Finish(finish) | Aim::Deadlines(finish) => urgency.deadline.min(finish),
            Aim::FinishAlone(finish) => finish,
        }
    }

    fn weight(&self, urgency: Urgency, due: Timestamp) -> (i64, i64) {
        let priority = i64::from(urgency.priority.0).wrapping_neg();
        match self.aim {
            Aim::Finish(_) => (priority, due.unix_nanos()),
            Aim::Deadlines(_) => (due.unix_nanos(), priority),
            Aim::FinishAlone(_) => (due.unix_nanos(), 0),
        }
    }

    /// All that decides between the jobs that no domain holds back: nothing comes after them.
    pub(super) fn classes(&self) -> Classes {
        let weights = self.jobs.urgencies().iter().map(|urgency| self.weight(*urgency, self.due_of(*urgency)));
        let weights: Vec<(i64, i64)> = weights.collect();
        let mut distinct = weights.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let class = |weight: &(i64, i64)| dense(distinct.partition_point(|other| other < weight));
        Classes { of_urgency: weights.iter().map(class).collect(), weights: distinct }
    }

    /// By account: the jobs that no domain holds back, in the order in which they go. There may be millions: places in the fair
    /// order stand for them.
    pub(super) fn free(&self, classes: &Classes, is_tight: &[bool]) -> Vec<Vec<Free>> {
        let mut free: Vec<Vec<Free>> = vec![Vec::new(); self.jobs.account_count()];
        for (place, (job, of)) in (0..).zip(self.jobs.in_fair_order()) {
            if !is_tight.get(job as usize).copied().unwrap_or_default() {
                let class = classes.of_urgency[of.urgency as usize];
                free[of.account as usize].push(Free { class, fair_place: place });
            }
        }
        if classes.weights.len() > 1 {
            free.par_iter_mut().for_each(|of_account| of_account.par_sort_unstable());
        }
        free
    }

    /// The keys of jobs that a domain may hold back, by account and domain: each such stream in the order in which it goes out.
    pub(super) fn streams(&self, lanes: &TightLanes, is_tight: &[bool]) -> Vec<(u32, Vec<Key>)> {
        let all = self.jobs.fair_order().par_iter().copied().enumerate();
        let tight: Vec<(u32, u32)> = all
            .filter(|(_, job)| is_tight.get(*job as usize).copied().unwrap_or_default())
            .map(|(place, job)| (dense(place), job))
            .collect();
        let dues = self.dues(&tight, lanes);
        let mut keys: Vec<(u32, Lane, Apart, Key)> = Vec::with_capacity(tight.len());
        for (fair_place, job) in tight {
            let mut checked = self.jobs.lanes(job).into_iter().filter(|(_, checked)| *checked);
            let lane = checked.next().map_or(Lane::NONE, |(lane, _)| lane);
            // An order of several domains waits for each of them: a stream of its own. So have those with a delay in common.
            let several = if checked.next().is_some() { job + 1 } else { 0 };
            let apart = (several, self.jobs.delay(job).map_or(0, |(place, _)| place + 1));
            let (of, urgency) = (self.jobs.job(job), self.jobs.urgency(self.jobs.job(job)));
            let due = dues.get(&job).copied().unwrap_or_else(|| self.due_of(urgency));
            let key = Key { weight: self.weight(urgency, due), fair_place, job };
            keys.push((of.account, lane, apart, key));
        }
        keys.par_sort_unstable();
        let same_stream = |a: &(u32, Lane, Apart, Key), b: &(u32, Lane, Apart, Key)| (a.0, a.1, a.2) == (b.0, b.1, b.2);
        keys.chunk_by(same_stream).map(|same| (same[0].0, same.iter().map(|(.., key)| *key).collect())).collect()
    }

    /// When each tight job is due: so early that those behind it in its domains can still be in time.
    fn dues(&self, tight: &[(u32, u32)], lanes: &TightLanes) -> FxHashMap<u32, Timestamp> {
        let mut in_lane: Vec<(usize, Option<Timestamp>, bool, u32, u32, u32)> = Vec::with_capacity(tight.len());
        for &(fair_place, job) in tight {
            let of: &Job = self.jobs.job(job);
            let all = self.jobs.lanes(job);
            let until = self.jobs.delay(job).map(|(_, until)| until);
            // An order of several domains goes before those of one: it would hold all its domains up.
            let single = all.iter().filter(|(_, checked)| *checked).count() < 2;
            for lane in all.into_iter().filter_map(|(lane, _)| lanes.place(lane)) {
                in_lane.push((lane, until, single, of.urgency, fair_place, job));
            }
        }
        in_lane.par_sort_unstable();
        let mut dues: FxHashMap<u32, Timestamp> = FxHashMap::default();
        for same in in_lane.chunk_by(|a, b| a.0 == b.0) {
            let quota = lanes.lanes[same[0].0].1.quota;
            let due_of = |job: u32| self.due_of(self.jobs.urgency(self.jobs.job(job)));
            let (mut after, mut behind) = (Urgency::NEVER, Urgency::NEVER);
            for (place, (.., job)) in same.iter().enumerate().rev() {
                // What is a burst or more behind this one waits for its token: one emission interval for each place.
                let next = same.get(place + quota.burst() as usize).map_or(Urgency::NEVER, |(.., job)| due_of(*job));
                let forced = next.min(after);
                after = if forced == Urgency::NEVER { forced } else { forced.minus(quota.emission()) };
                behind = due_of(*job).min(after).min(behind);
                dues.entry(*job).and_modify(|due| *due = behind.min(*due)).or_insert(behind);
            }
        }
        dues
    }
}
