//! Small cases against exhaustive searches over all groupings and all schedules.
//!
//! A schedule is a sequence of orders with times that never fall. For a given sequence it is best to send each order as soon as its
//! buckets and the order before it allow: a bucket's TAT never gets earlier by spending later. So it suffices to go through the
//! sequences. Certificates of one domain which differ in nothing are alike, and of two that differ in their deadlines alone the more
//! urgent one goes first in some best sequence, since exchanging them changes no bucket: only the sequence of domains is left.

#![expect(clippy::disallowed_macros, reason = "how far off a plan is at most is told")]

use certpace::inventory::Inventory;
use certpace::plan::{Options, plan};
use certpace::time::{Span, Timestamp};
use proptest::prelude::*;

use super::world::{Quotas, Row, START, Tokens, at_most, config, finish, inventory, orders};

/// A bucket as the CA has it, written down once more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: Tokens,
    full_at: i64,
}

impl Bucket {
    pub(super) const fn new(tokens: Tokens) -> Self {
        Self { tokens, full_at: i64::MIN }
    }

    /// One that is full again at that time.
    pub(super) const fn full_at(tokens: Tokens, full_at: i64) -> Self {
        Self { tokens, full_at }
    }

    /// The earliest instant from `at` on when it has a token.
    pub(super) fn free_at(&self, at: i64) -> i64 {
        at.max(self.full_at.saturating_sub((self.tokens.burst - 1) * self.tokens.every.nanos()))
    }

    pub(super) fn spend(&mut self, at: i64) {
        self.full_at = self.full_at.max(at) + self.tokens.every.nanos();
    }
}

/// So many orders can be searched.
pub(super) const SEARCHED: usize = 11;

/// Goes through all sequences of domains, each of whose orders is as soon as can be.
struct Search<'a> {
    /// By domain: its orders' deadlines, the earliest first.
    orders: &'a [Vec<i64>],
    /// The best value found: the last order's time, or the largest lateness.
    best: i64,
    lateness: bool,
}

impl Search<'_> {
    fn run(&mut self, sent: &mut [usize], account: Bucket, domains: &mut [Bucket], now: i64, so_far: i64) {
        if so_far >= self.best {
            return;
        }
        let mut done = true;
        for domain in 0..self.orders.len() {
            let Some(deadline) = self.orders[domain].get(sent[domain]) else { continue };
            done = false;
            let at = domains[domain].free_at(account.free_at(now));
            let value = if self.lateness { at - deadline } else { at };
            let (mut after, before) = (account, domains[domain]);
            after.spend(at);
            domains[domain].spend(at);
            sent[domain] += 1;
            self.run(sent, after, domains, at, so_far.max(value));
            sent[domain] -= 1;
            domains[domain] = before;
        }
        if done {
            self.best = so_far;
        }
    }
}

/// The best that any sequence of these orders comes to.
fn best_of(orders: &[Vec<i64>], account: Bucket, domains: &[Bucket], lateness: bool) -> i64 {
    let mut search = Search { orders, best: i64::MAX, lateness };
    let mut buckets = domains.to_vec();
    let (mut sent, start) = (vec![0; orders.len()], START.unix_nanos());
    search.run(&mut sent, account, &mut buckets, start, if lateness { i64::MIN } else { start });
    search.best
}

/// All ways to put names into certificates of at most `size` without a name beside a wildcard that covers it.
fn groupings<'a>(names: &[&'a str], size: usize) -> Vec<Vec<Vec<&'a str>>> {
    let Some((name, rest)) = names.split_first() else { return vec![Vec::new()] };
    let parent = |name: &str| name.split_once('.').unwrap().1.to_owned();
    let redundant = |a: &str, b: &str| a.starts_with("*.") != b.starts_with("*.") && parent(a) == parent(b);
    let mut all = Vec::new();
    for grouping in groupings(rest, size) {
        for place in 0..grouping.len() {
            if grouping[place].len() < size && !grouping[place].iter().any(|other| redundant(name, other)) {
                let mut with = grouping.clone();
                with[place].push(name);
                all.push(with);
            }
        }
        let mut alone = grouping;
        alone.push(vec![name]);
        all.push(alone);
    }
    all
}

const LABELS: [&str; 7] = ["", "*.", "a.", "b.", "*.a.", "c.a.", "d.a."];

/// Which names each domain has, as bits.
fn names_of(chosen: &[u8]) -> Vec<Vec<String>> {
    let of = |(domain, bits): (usize, &u8)| {
        let labels = LABELS.iter().enumerate().filter(move |(label, _)| bits >> label & 1 == 1);
        labels.map(|(_, label)| format!("{label}d{domain}.com")).collect()
    };
    chosen.iter().enumerate().map(of).collect()
}

/// Bursts of 2 or more, for the account and each domain.
fn usable(every: std::ops::Range<i64>) -> impl Strategy<Value = Tokens> {
    (2..4_i64, every).prop_map(|(burst, every)| Tokens::new(burst, every))
}

fn quotas(account: Tokens, domain: Tokens, first: Option<Tokens>) -> (Quotas, [Tokens; 4]) {
    let mut quotas = Quotas::new(account, domain);
    let mut domains = [domain; 4];
    if let Some(first) = first {
        quotas.domains.insert("d0.com".into(), first);
        domains[0] = first;
    }
    (quotas, domains)
}

/// All products of choices, one for each domain; each called once.
fn for_each_choice(counts: &[usize], call: &mut dyn FnMut(&[usize])) {
    let mut choice = vec![0; counts.len()];
    loop {
        call(&choice);
        let Some(place) = (0..counts.len()).rev().find(|place| choice[*place] + 1 < counts[*place]) else { return };
        choice[place] += 1;
        choice[place + 1..].fill(0);
    }
}

/// The earliest finish of any grouping and any schedule. Of groupings with as many certificates only one need be tried.
fn earliest_finish(names: &[Vec<String>], size: usize, account: Bucket, domains: &[Bucket]) -> i64 {
    let counts: Vec<Vec<usize>> = names
        .iter()
        .map(|names| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut counts: Vec<usize> = groupings(&names, size).iter().map(Vec::len).collect();
            counts.sort_unstable();
            counts.dedup();
            counts
        })
        .collect();
    let mut best = i64::MAX;
    let lens: Vec<usize> = counts.iter().map(Vec::len).collect();
    for_each_choice(&lens, &mut |choice| {
        let orders: Vec<Vec<i64>> = choice.iter().zip(&counts).map(|(of, counts)| vec![0; counts[*of]]).collect();
        // More certificates than the plan has never finish sooner: leave the rest out, and nothing else need wait for them.
        if orders.iter().map(Vec::len).sum::<usize>() <= SEARCHED {
            best = best.min(best_of(&orders, account, domains, false));
        }
    });
    best
}

/// The margin, but no more than what costs only itself at each level: half of the time in which a burst comes back, and so little that
/// a domain's order may come one of the account's emission intervals later still without wasting the domain's refill.
fn small(margin: i64, account: Tokens, domains: &[Tokens]) -> Span {
    let refill = |of: &Tokens| (of.burst - 1) * of.every.nanos();
    let of_domain = |of: &Tokens| (refill(of) / 2).min(refill(of) - account.every.nanos()).max(0);
    let most = domains.iter().map(of_domain).min().unwrap().min(refill(&account) / 2);
    Span::from_seconds(margin).min(Span::from_nanos(most))
}

/// How often a margin is paid: once, and once more where a domain's first order has to wait for its account already. An order that
/// waits for the account is up to a margin late on its domain's clock, and those behind it in the domain wait for another one: no plan
/// that withstands every delay does better.
pub(super) fn levels(domains: usize, account: Tokens) -> i64 {
    if i64::try_from(domains).unwrap() > account.burst { 2 } else { 1 }
}

/// A case that can be searched: names of a few domains, in certificates of up to so many, and what the buckets have.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) names: Vec<Vec<String>>,
    pub(super) size: usize,
    pub(super) quotas: Quotas,
    pub(super) domains: [Tokens; 4],
    pub(super) margin: Span,
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let chosen = proptest::collection::vec(any::<u8>(), 1..4).prop_map(|chosen| names_of(&chosen));
    let chosen = chosen.prop_filter("no name", |names| names.iter().any(|of| !of.is_empty()));
    let first = proptest::option::of(usable(1..120));
    let margin = prop_oneof![Just(0), 1..100_i64];
    let parts = (chosen, 1..4_usize, usable(1..40), usable(1..120), first, margin);
    parts.prop_map(|(names, size, account, domain, first, margin)| {
        let (quotas, domains) = quotas(account, domain, first);
        Case { names, size, quotas, domains, margin: small(margin, account, &domains) }
    })
}

impl Case {
    pub(super) fn inventory(&self) -> Inventory {
        inventory(&self.names.iter().flatten().map(Row::named).collect::<Vec<_>>())
    }

    pub(super) fn options(&self) -> Options {
        Options { margin: Some(self.margin), ..at_most(self.size) }
    }

    /// The earliest finish that can be had from such buckets.
    pub(super) fn best(&self, account: Bucket, domains: &[Bucket]) -> Timestamp {
        Timestamp::from_unix_nanos(earliest_finish(&self.names, self.size, account, domains))
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn no_search_finishes_before_the_bound_or_before_the_plan(of in cases()) {
        let (inventory, limits) = (of.inventory(), of.quotas.limits());
        let plan = plan(&inventory, &limits, of.options()).unwrap();
        prop_assume!(plan.orders.len() <= SEARCHED);
        let best = of.best(Bucket::new(of.quotas.account), &of.domains.map(Bucket::new));
        let finish = finish(&orders(&plan));
        prop_assert_eq!(plan.summary.bound_at, Some(best), "the bound is a bound, and the best there is");
        let late = finish.since(best).nanos();
        let most = of.margin.nanos() * levels(of.names.len(), of.quotas.account);
        prop_assert!(late <= most, "{} instead of {}, {}", finish, best, of.margin);
        prop_assert_eq!(plan.summary.last_at, Some(finish));
        prop_assert_eq!(plan.summary.gap, finish.since(best));
    }

    #[test]
    fn the_bound_is_reached_with_one_account_and_one_domain_a_certificate(
        counts in proptest::collection::vec(1..60_usize, 1..12),
        singles in 0..80_usize,
        account in (2..40_i64, 1..40_i64).prop_map(|(burst, every)| Tokens::new(burst, every)),
        domain in (2..12_i64, 1..400_i64).prop_map(|(burst, every)| Tokens::new(burst, every)),
        first in proptest::option::of(usable(1..900)),
        margin in prop_oneof![Just(0), 0..1_000_i64],
    ) {
        let names = counts.iter().enumerate().flat_map(|(domain, count)| (0..*count).map(move |name| format!("h{name}.d{domain}.com")));
        let rows: Vec<Row> = names.chain((0..singles).map(|name| format!("single{name}.org"))).map(Row::named).collect();
        let inventory = inventory(&rows);
        let (quotas, domains) = quotas(account, domain, first);
        let limits = quotas.limits();
        let margin = small(margin, account, &domains);
        let plan = plan(&inventory, &limits, Options { margin: Some(margin), ..at_most(1) }).unwrap();
        let (finish, bound) = (finish(&orders(&plan)), plan.summary.bound_at.unwrap());
        let late = finish.since(bound).nanos();
        let most = margin.nanos() * levels(counts.len(), account);
        prop_assert!((0..=most).contains(&late), "{} to {}, margin {}", bound, finish, margin);
        prop_assert!(!plan.summary.finish_moved_by_urgency);
    }
}

/// The smallest case in which a margin is paid twice, worked out by hand: the account's third order waits until 2 + 1 s, since its
/// first two may be a second late; the domain that it belongs to may count it another second later, at 4 s, and has its third
/// order's token then at 4 + 99 s. Without any delay that is 2 + 99 s.
#[test]
fn a_margin_is_paid_at_each_of_two_levels() {
    let rows: Vec<Row> = (0..9).map(|index| Row::named(format!("h{}.d{}.com", index / 3, index % 3))).collect();
    let inventory = inventory(&rows);
    let limits = Quotas::new(Tokens::new(2, 2), Tokens::new(2, 99)).limits();
    let finish_with = |margin| {
        let options = Options { margin: Some(Span::from_seconds(margin)), ..at_most(1) };
        finish(&orders(&plan(&inventory, &limits, options).unwrap())).since(START)
    };
    assert_eq!([0, 1].map(finish_with), [101, 103].map(Span::from_seconds));
}

/// The least lateness of any grouping and any schedule.
fn least_lateness(domains: &[Vec<(String, i64)>], size: usize, account: Tokens, tokens: &[Tokens]) -> i64 {
    let deadline = |name: &str| domains.iter().flatten().find(|(other, _)| other == name).unwrap().1;
    let options: Vec<Vec<Vec<i64>>> = domains
        .iter()
        .map(|names| {
            let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
            let mut options: Vec<Vec<i64>> = Vec::new();
            for grouping in groupings(&names, size) {
                let urgent = |names: &Vec<&str>| names.iter().map(|name| deadline(name)).min().unwrap();
                let mut deadlines: Vec<i64> = grouping.iter().map(urgent).collect();
                deadlines.sort_unstable();
                options.push(deadlines);
            }
            options.sort_unstable();
            options.dedup();
            options
        })
        .collect();
    let counts: Vec<usize> = options.iter().map(Vec::len).collect();
    let full: Vec<Bucket> = tokens.iter().copied().map(Bucket::new).collect();
    let mut best = i64::MAX;
    for_each_choice(&counts, &mut |choice| {
        let orders: Vec<Vec<i64>> = choice.iter().zip(&options).map(|(of, options)| options[*of].clone()).collect();
        best = best.min(best_of(&orders, Bucket::new(account), &full, true));
    });
    best
}

/// Searches for less lateness than many plans have, and tells how much there was at most.
#[test]
fn no_search_is_much_less_late_than_the_plan() {
    let domains =
        proptest::collection::vec(proptest::collection::vec(proptest::option::weighted(0.8, 1..90_i64), 1..5), 1..5);
    let strategy = (domains, 1..3_usize, usable(1..40), usable(1..120), any::<u8>());
    let (cases, seconds) = (std::cell::Cell::new(0_u32), std::cell::RefCell::new((0.0_f64, 0.0_f64)));
    let late_cases = std::cell::Cell::new(0_u32);
    let mut runner = proptest::test_runner::TestRunner::new(config(1_200));
    let result = runner.run(&strategy, |(deadlines, size, account, domain, covered)| {
        let far = START.plus(Span::from_days(3_650)).unix_nanos();
        let name = |domain: usize, name: usize| match (covered >> domain & 1, name) {
            (1, 0) => format!("*.d{domain}.com"),
            _ => format!("h{name}.d{domain}.com"),
        };
        let at = |seconds: i64| START.plus(Span::from_seconds(seconds)).unix_nanos();
        let domains: Vec<Vec<(String, i64)>> = deadlines
            .iter()
            .enumerate()
            .map(|(d, of)| of.iter().enumerate().map(|(n, s)| (name(d, n), s.map_or(far, at))).collect())
            .collect();
        let row = |(name, at): &(String, i64)| Row {
            deadline: (*at < far).then(|| Timestamp::from_unix_nanos(*at)),
            ..Row::named(name.as_str())
        };
        let rows: Vec<Row> = domains.iter().flatten().map(row).collect();
        let inventory = inventory(&rows);
        let limits = Quotas::new(account, domain).limits();
        let plan = plan(&inventory, &limits, at_most(size)).unwrap();
        let orders = orders(&plan);
        let late = orders.iter().filter_map(|order| Some(order.at.since(order.deadline?))).max();
        prop_assert_eq!(plan.summary.lateness, late);
        if orders.len() > SEARCHED {
            return Ok(());
        }
        let tokens = vec![domain; domains.len()];
        let best = Span::from_nanos(least_lateness(&domains, size, account, &tokens)).max(Span::ZERO);
        let gap = Span::from_nanos(late.unwrap_or_default().max(Span::ZERO).nanos() - best.nanos());
        let allowed = Span::from_nanos(account.burst * account.every.nanos());
        cases.set(cases.get() + 1);
        if late > Some(Span::ZERO) {
            late_cases.set(late_cases.get() + 1);
        }
        let mut worst = seconds.borrow_mut();
        worst.0 = worst.0.max(gap.seconds_f64());
        worst.1 = worst.1.max(gap.seconds_f64() / allowed.seconds_f64());
        prop_assert!(gap <= allowed, "late by {:?}, but {} would do", late, best);
        Ok(())
    });
    let (worst, part) = *seconds.borrow();
    println!(
        "lateness: {} cases searched, {} late; off by at most {worst:.1} s, {part:.2} of burst x emission interval",
        cases.get(),
        late_cases.get()
    );
    result.unwrap();
}
