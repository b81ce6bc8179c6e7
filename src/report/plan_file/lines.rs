//! Writes orders as lines. There may be millions of them, and they come from anywhere in the inventory: what many lines share is
//! rendered once, and memory is asked for a block of orders at a time.

use std::ops::Range;

use serde::Serialize;

use crate::inventory::{Group, HeldTerms, Inventory, Urgency};
use crate::limits::LimitName;
use crate::plan::opening::Cause;
use crate::plan::{Order, Plan, Subject};
use crate::rules::Exemption;
use crate::time::{NS_PER_S, Timestamp};

/// Renders the orders of a plan. Different ranges of them can be rendered side by side.
#[derive(Debug)]
pub struct Lines<'a> {
    plan: &'a Plan<'a>,
    /// By group, one after the other: whose the order is, from behind the time to the names.
    owners: Vec<u8>,
    /// By group: where its part of `owners` ends.
    owner_ends: Vec<usize>,
    /// By account: the bucket of its orders.
    buckets: Vec<String>,
    /// By urgency: the deadline, and the line's end.
    ends: Vec<String>,
}

/// Orders that are looked up together.
const BLOCK: usize = 128;
/// More than most orders of a few names take.
const ORDER_BYTES: usize = 400;

impl<'a> Lines<'a> {
    /// For the orders of `plan`.
    #[must_use]
    pub fn new(plan: &'a Plan<'a>) -> Self {
        let inventory = plan.inventory;
        let end = |urgency: &Urgency| match urgency.deadline() {
            None => ",\"deadline\":null}\n".to_owned(),
            Some(deadline) => format!(",\"deadline\":\"{deadline}\"}}\n"),
        };
        let (mut owners, mut owner_ends) = (Vec::new(), Vec::with_capacity(inventory.groups.len()));
        for group in &inventory.groups {
            push_owner(&mut owners, group, plan);
            owner_ends.push(owners.len());
        }
        let bucket = |account: &String| bound_by(Cause::Limit(LimitName::NewOrdersPerAccount), account);
        Self {
            plan,
            owners,
            owner_ends,
            buckets: inventory.accounts.iter().map(bucket).collect(),
            ends: inventory.urgencies.iter().map(end).collect(),
        }
    }

    /// The lines of the orders in `range`.
    #[must_use]
    pub fn render(&self, range: Range<usize>) -> Vec<u8> {
        let mut out = Vec::with_capacity(range.len() * ORDER_BYTES);
        let (mut names, mut domains) = (Vec::new(), Vec::new());
        let (mut times, mut number) = (Times::default(), itoa::Buffer::new());
        for block in self.plan.orders[range].chunks(BLOCK) {
            self.plan.warm(block, |group| self.owner(group));
            for order in block {
                self.plan.names_of(order, &mut names, &mut domains);
                out.extend_from_slice(b"{\"order\":");
                out.extend_from_slice(number.format(order.number).as_bytes());
                out.extend_from_slice(b",\"at\":\"");
                out.extend_from_slice(times.text(order.at));
                out.extend_from_slice(self.owner(self.plan.group_of(order)));
                // Names and registered domains are letters, digits, hyphens, dots and such: nothing that JSON escapes.
                push_list(&mut out, &names);
                out.extend_from_slice(b",\"registered_domains\":");
                push_list(&mut out, &domains);
                self.push_reasons(&mut out, order);
            }
        }
        out
    }

    /// Whose the orders of a group are.
    fn owner(&self, group: u32) -> &[u8] {
        let start = group.checked_sub(1).map_or(0, |before| self.owner_ends[before as usize]);
        &self.owners[start..self.owner_ends[group as usize]]
    }

    fn push_reasons(&self, out: &mut Vec<u8>, order: &Order) {
        let mut push = |text: &str| out.extend_from_slice(text.as_bytes());
        push(match order.exemption {
            Exemption::None => ",\"exemption\":\"none\",\"replaces\":",
            Exemption::SameSet => ",\"exemption\":\"same-set\",\"replaces\":",
            Exemption::Ari => ",\"exemption\":\"ari\",\"replaces\":",
        });
        match order.subject {
            Subject::New(_) => push("null"),
            Subject::Renewal(held) => {
                let HeldTerms { certificate, issued_at, expires_at, .. } = &self.plan.inventory.held[held as usize];
                push(&json(certificate));
                push(&format!(",\"held\":{{\"issued_at\":\"{issued_at}\",\"expires_at\":\"{expires_at}\"}}"));
            }
        }
        match self.plan.bound_by_account(order) {
            Some(account) => push(&self.buckets[account]),
            None => match self.plan.bound_by(order) {
                None => push(",\"bound_by\":null"),
                Some((limit, key)) => push(&bound_by(limit, &key)),
            },
        }
        push(&self.ends[self.plan.urgency_of(order) as usize]);
    }
}

fn push_owner(out: &mut Vec<u8>, group: &Group, plan: &Plan<'_>) {
    let Inventory { accounts, tenants, .. } = plan.inventory;
    let mut push = |key: &str, value: &str| {
        out.extend_from_slice(key.as_bytes());
        serde_json::to_writer(&mut *out, value).unwrap_or_else(|error| unreachable!("a string is JSON: {error}"));
    };
    push("\",\"account\":", &accounts[group.account as usize]);
    push(",\"profile\":", &plan.limits.policy.profiles[group.profile as usize].name);
    match tenants[group.tenant as usize].as_str() {
        "" => {}
        tenant => push(",\"tenant\":", tenant),
    }
    if let Some(challenge) = group.challenge {
        push(",\"challenge\":", challenge.as_str());
    }
    out.extend_from_slice(b",\"names\":");
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("a string is JSON: {error}"))
}

fn bound_by(limit: Cause, key: &str) -> String {
    format!(",\"bound_by\":{{\"limit\":\"{limit}\",\"key\":{}}}", json(&key))
}

fn push_list(out: &mut Vec<u8>, texts: &[&[u8]]) {
    for (index, text) in texts.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"[\"" } else { b"\",\"" });
        out.extend_from_slice(text);
    }
    out.extend_from_slice(if texts.is_empty() { b"[]" } else { b"\"]" });
}

/// Times as text. Neighbours mostly share their second or their day, and calendars are slow.
#[derive(Default)]
struct Times {
    at: Option<Timestamp>,
    day: Option<i64>,
    /// The day, and behind it the time.
    text: Vec<u8>,
}

/// The length of `2026-12-01`.
const DAY_BYTES: usize = 10;

impl Times {
    fn text(&mut self, at: Timestamp) -> &[u8] {
        use std::io::Write as _;
        if self.at.replace(at) == Some(at) {
            return &self.text;
        }
        let (seconds, fraction) = (at.unix_nanos().div_euclid(NS_PER_S), at.unix_nanos().rem_euclid(NS_PER_S));
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        if self.day.replace(day) != Some(day) {
            self.text = at.day().into_bytes();
        }
        self.text.truncate(DAY_BYTES);
        let _infallible = match fraction {
            0 => write!(self.text, "T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60),
            _ => write!(self.text, "{}", &at.to_string()[DAY_BYTES..]),
        };
        &self.text
    }
}
