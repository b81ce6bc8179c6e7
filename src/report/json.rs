//! JSON: how numbers of our own kinds are written, and the whole answer as text.

use serde::{Serialize, Serializer};

use crate::time::{NS_PER_S, Span};

/// `answer` as JSON for people and programs: indented, in the order of its fields, ending in a line feed.
///
/// # Panics
/// Where `answer` has keys that are no text: a bug.
#[must_use]
pub fn pretty(answer: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(answer);
    let mut text = text.unwrap_or_else(|error| unreachable!("our own answers have text for keys: {error}"));
    text.push('\n');
    text
}

/// Writes a span as seconds: a whole number where it is one, else a decimal fraction. For `#[serde(serialize_with)]`.
///
/// # Errors
/// The serializer's.
pub fn seconds<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
    if span.nanos() % NS_PER_S == 0 {
        serializer.serialize_i64(span.nanos() / NS_PER_S)
    } else {
        serializer.serialize_f64(span.seconds_f64())
    }
}

/// The same where there may be none: `null`.
///
/// # Errors
/// The serializer's.
pub fn seconds_or_null<S: Serializer>(span: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => seconds(span, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nanos: i64, json: &str) {
        let mut text = Vec::new();
        seconds(&Span::from_nanos(nanos), &mut serde_json::Serializer::new(&mut text)).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), json);
    }

    #[test]
    fn spans_are_seconds() {
        check(36_000_000_000, "36");
        check(21_600_000_000, "21.6");
        check(33_333, "0.000033333");
    }
}
