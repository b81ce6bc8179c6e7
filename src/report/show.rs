//! `certpace show`: orders of a plan, looked up.

use std::fmt::Write as _;

use serde::Serialize;

use super::plan_file::{PlanHead, PlanOrder};
use super::style::{FAINT, HEAD, NAME, paint};
use super::words::{grouped, wrapped};
use crate::plan::opening::Cause;
use crate::rules::Exemption;

/// What was found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShowReport<'a> {
    /// The version of this shape.
    pub certpace_show: u32,
    /// The name that was asked for, if it is covered by a wildcard only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<String>,
    /// The plan's first line.
    pub plan: PlanHead,
    /// The orders that match.
    pub orders: Vec<PlanOrder<'a>>,
}

/// What a plan says of itself, for people: its first line, a value a line.
#[must_use]
pub fn head_text(head: &PlanHead) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _infallible = writeln!(out, "{}{value}", paint(FAINT, &format!("{name:<28}")));
    };
    field("policy", &format!("{} (sha256 {})", head.policy.name, head.policy.sha256));
    field("start", &head.start.to_string());
    field("margin", &head.margin);
    field("headroom", &head.headroom);
    if let Some(ledger) = &head.ledger {
        field("ledger", &format!("{} as of {}, change {}", ledger.url, ledger.at, grouped(ledger.sequence)));
    }
    for (part, prefix) in [(&head.inventory, "inventory "), (&head.summary, "")] {
        for (name, value) in part.as_object().into_iter().flatten() {
            match value {
                serde_json::Value::Array(_) | serde_json::Value::Object(_) | serde_json::Value::Null => {}
                serde_json::Value::String(text) => field(&format!("{prefix}{name}"), text),
                other => field(&format!("{prefix}{name}"), &other.to_string()),
            }
        }
    }
    out
}

/// The orders, for people.
#[must_use]
pub fn text(report: &ShowReport<'_>) -> String {
    let mut out = String::new();
    if let Some(wildcard) = &report.covered_by {
        let _infallible = writeln!(out, "The name is on no order of its own: {} covers it.\n", paint(NAME, wildcard));
    }
    for (index, order) in report.orders.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        push_order(&mut out, order, report);
    }
    out
}

fn push_order(out: &mut String, order: &PlanOrder<'_>, report: &ShowReport<'_>) {
    let title = format!("Order {}", grouped(u64::from(order.order)));
    let _infallible = writeln!(out, "{}  not before {}", paint(HEAD, &title), order.at);
    let mut field = |name: &str, text: &str| {
        for (index, part) in wrapped(text, 84).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let _infallible = writeln!(out, "  {}{part}", paint(FAINT, &format!("{name:<12}")));
        }
    };
    let why = match (&order.bound_by, order.exemption) {
        (Some(bound), _) => {
            let after = order.at.since(report.plan.start);
            let what = match bound.limit {
                Cause::Limit(limit) => format!("{limit} of {} holds it back", bound.key),
                Cause::Backoff => format!("{} failed, and is not tried again", bound.key),
                Cause::InHand => format!("{} has the names in hand", bound.key),
            };
            format!("{what} until then ({after} after the start)")
        }
        (None, Exemption::None) => "it goes at the start".to_owned(),
        (None, Exemption::Ari) => {
            "spread over the window in which the CA suggests to renew; exempt from all limits there".to_owned()
        }
        (None, Exemption::SameSet) => {
            "spread over the time before it is due; exempt from order and domain limits as the same set".to_owned()
        }
    };
    field("why then", &why);
    field("account", &format!("{}, profile {}", order.account, order.profile));
    if let Some(replaces) = &order.replaces {
        field("replaces", replaces);
    }
    if let Some(deadline) = order.deadline {
        let met = if order.at <= deadline { "met" } else { "missed" };
        field("deadline", &format!("{deadline}: {met}"));
    }
    let count = match order.names.len() {
        1 => "1 name".to_owned(),
        count => format!("{count} names"),
    };
    field(&count, &order.names.join(" "));
}

/// The columns of [`csv_row`].
pub const CSV_HEADER: [&str; 10] = [
    "order",
    "at",
    "hostname",
    "account",
    "profile",
    "exemption",
    "replaces",
    "bound_by_limit",
    "bound_by_key",
    "deadline",
];

/// A row for each name of an order.
pub fn csv_rows<'a>(order: &'a PlanOrder<'a>) -> impl Iterator<Item = [String; 10]> + 'a {
    let exemption = match order.exemption {
        Exemption::None => "none",
        Exemption::SameSet => "same-set",
        Exemption::Ari => "ari",
    };
    let limit = order.bound_by.as_ref().map_or_else(String::new, |bound| bound.limit.to_string());
    let key = order.bound_by.as_ref().map_or_else(String::new, |bound| bound.key.to_string());
    order.names.iter().map(move |name| {
        [
            order.order.to_string(),
            order.at.to_string(),
            name.to_string(),
            order.account.to_string(),
            order.profile.to_string(),
            exemption.to_owned(),
            order.replaces.as_deref().unwrap_or_default().to_owned(),
            limit.clone(),
            key.clone(),
            order.deadline.map_or_else(String::new, |deadline| deadline.to_string()),
        ]
    })
}
