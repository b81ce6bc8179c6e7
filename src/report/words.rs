//! Numbers, spans and long sentences as people read them.

use crate::time::Span;

/// A number with a comma between thousands: `16,800`.
#[must_use]
pub fn grouped(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Foreign text for a terminal: control characters are replaced.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A span to the nanosecond: whole days as `7 d` from two on, else hours, minutes and seconds that are not 0, as `3 h 21 min 36 s`; a span
/// shorter than a second in the largest unit that is at least 1, as `33.333 µs`.
/// (`Span`'s own text keeps the two largest units.)
#[must_use]
pub fn exact(span: Span) -> String {
    let ns = span.nanos().unsigned_abs();
    let sign = if span.nanos() < 0 { "-" } else { "" };
    let seconds = ns / 1_000_000_000;
    let text = match ns {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", decimal(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{} ms", decimal(ns, 1_000_000)),
        _ if ns.is_multiple_of(86_400_000_000_000) && seconds > 86_400 => format!("{} d", grouped(seconds / 86_400)),
        _ => {
            let rest = ns % 60_000_000_000;
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            let parts = [
                (hours > 0).then(|| format!("{hours} h")),
                (minutes > 0).then(|| format!("{minutes} min")),
                (rest > 0).then(|| format!("{} s", decimal(rest, 1_000_000_000))),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    };
    format!("{sign}{text}")
}

/// `ns / unit` in full, for a unit that is a power of ten: `21.6`.
fn decimal(ns: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", ns / unit, ns % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A span in days with two decimals, rounded half up: `0.31 days`.
#[must_use]
pub fn days(span: Span) -> String {
    const HUNDREDTH_NS: i64 = 864_000_000_000;
    let hundredths = span.nanos().saturating_add(HUNDREDTH_NS / 2).div_euclid(HUNDREDTH_NS);
    format!("{}.{:02} days", hundredths / 100, hundredths % 100)
}

/// `text` in lines of at most `width` columns, broken at spaces; a word that is longer stands in a line of its own.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0_u64, 999, 1_000, 16_800, 1_000_000].map(grouped), ["0", "999", "1,000", "16,800", "1,000,000"]);
    }

    fn check(span: &str, text: &str) {
        assert_eq!(exact(Span::parse(span).unwrap()), text);
    }

    #[test]
    fn spans_are_told_to_the_nanosecond() {
        check("12096s", "3 h 21 min 36 s");
        check("120960s", "33 h 36 min");
        check("160h", "160 h");
        check("24h", "24 h");
        check("7d", "7 d");
        check("1152d", "1,152 d");
        check("21.6s", "21.6 s");
        check("1h1ns", "1 h 0.000000001 s");
        check("33333ns", "33.333 µs");
        check("2160ms", "2.16 s");
        check("0", "0 s");
    }

    #[test]
    fn days_are_rounded_to_hundredths() {
        assert_eq!(days(Span::from_hours(24)), "1.00 days");
        assert_eq!(days(Span::from_seconds(26_711)), "0.31 days");
        assert_eq!(days(Span::ZERO), "0.00 days");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrapped("", 3), [""; 0]);
    }
}
