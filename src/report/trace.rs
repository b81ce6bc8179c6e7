//! The steps of a simulation as JSON Lines: `{"at","step","client","certificate","names",…}`, in the order of their times.

use serde::Serialize;

use crate::rules::Exemption;
use crate::sim::Setup;
use crate::sim::trace::{Entry, Step};
use crate::time::{Span, Timestamp};

#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemption: Option<Exemption>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// Adds a step's line.
pub fn push_line(out: &mut Vec<u8>, setup: &Setup, entry: &Entry) {
    let seconds = |span: Span| span.nanos() / crate::time::NS_PER_S;
    let mut line = Line {
        at: entry.at,
        step: "",
        client: entry.client.map(|client| setup.client(client)),
        certificate: entry.lineage,
        names: entry.names.iter().map(|name| setup.name(*name)).collect(),
        exemption: None,
        limit: None,
        key: None,
        retry_after_seconds: None,
        failed: None,
        expires_at: None,
        event: None,
        until: None,
    };
    line.step = match &entry.step {
        Step::Permitted(exemption) => {
            line.exemption = Some(*exemption);
            "permitted"
        }
        Step::Waits { limit, key, until } => {
            (line.limit, line.key, line.until) = (Some(limit.as_str()), Some(key.as_str()), Some(*until));
            "waits"
        }
        Step::Split => "split",
        Step::Forgotten => "forgotten",
        Step::Ordered(exemption) => {
            line.exemption = Some(*exemption);
            "ordered"
        }
        Step::Refused { limit, key, retry_after } => {
            (line.limit, line.key) = (Some(limit.as_str()), Some(key.as_str()));
            line.retry_after_seconds = retry_after.map(seconds);
            "refused"
        }
        Step::Paused => "paused",
        Step::AlreadyReplaced => "already-replaced",
        Step::Busy(wait) => {
            line.retry_after_seconds = Some(seconds(*wait));
            "busy"
        }
        Step::Unreachable => "unreachable",
        Step::Validated => "validated",
        Step::Invalid(failed) => {
            line.failed = Some(*failed);
            "invalid"
        }
        Step::Expired => "expired",
        Step::Issued(expires_at) => {
            line.expires_at = Some(*expires_at);
            "issued"
        }
        Step::Lost(expires_at) => {
            line.expires_at = Some(*expires_at);
            "issued-unseen"
        }
        Step::Abandoned => "abandoned",
        Step::Stranger(true) => "stranger",
        Step::Stranger(false) => "stranger-refused",
        Step::Event { place, begins } => {
            line.event = Some(*place);
            if *begins { "event" } else { "event-ends" }
        }
    };
    let written = serde_json::to_writer(&mut *out, &line);
    written.unwrap_or_else(|error| unreachable!("our own data has text for keys: {error}"));
    out.push(b'\n');
}
