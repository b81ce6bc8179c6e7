//! Instants and spans of time, as integers of nanoseconds.
//!
//! Boulder computes its limits in nanoseconds, so certpace does too; calendar time appears only where text is read or written.
//! It is called `Timestamp` because it names a point of civil time (UTC), not the monotonic clock's `Instant`.

use std::fmt;

use chrono::{DateTime, Datelike as _, NaiveDate, Timelike as _, Utc};

/// Nanoseconds in a second.
pub const NS_PER_S: i64 = 1_000_000_000;
/// Nanoseconds in a microsecond.
pub const NS_PER_US: i64 = 1_000;
/// The shortest and longest year a [`Timestamp`] is read from: beyond it the arithmetic of a bucket could overflow.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2199;

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

/// A length of time in nanoseconds; may be negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span(i64);

/// Why a text is no point in time or no length of time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TimeError {
    /// The text is no date.
    #[error(
        "`{0}` is no date: write RFC 3339 such as 2026-12-01T08:00:00Z, or 2026-12-01 for its first instant in UTC"
    )]
    Date(String),
    /// The date lies outside the years that are computed with.
    #[error("`{0}` lies outside the years 1970 to 2199")]
    Year(String),
    /// The text is no length of time.
    #[error("`{0}` is no length of time: write a number and a unit, such as 0s, 10m, 3h, 30d, 1h30m")]
    Span(String),
}

impl Timestamp {
    /// The instant `nanos` nanoseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_unix_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The instant `seconds` seconds after 1970-01-01T00:00:00Z; saturates.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NS_PER_S))
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix_nanos(self) -> i64 {
        self.0
    }

    /// The instant `micros` microseconds after 1970-01-01T00:00:00Z; saturates.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros.saturating_mul(NS_PER_US))
    }

    /// Whole microseconds since 1970-01-01T00:00:00Z, rounded down.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0.div_euclid(NS_PER_US)
    }

    /// The first whole second that is not before it: for people who wait for it.
    #[must_use]
    pub const fn whole_second(self) -> Self {
        let past = self.0.rem_euclid(NS_PER_S);
        if past == 0 { self } else { Self(self.0.saturating_add(NS_PER_S - past)) }
    }

    /// This instant and `span` more; saturates at the ends of the range.
    #[must_use]
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// This instant less `span`; saturates at the ends of the range.
    #[must_use]
    pub const fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The time that has passed since `earlier`; negative if that is later; saturates.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339 (any offset), `YYYY-MM-DDTHH:MM:SS` or with a space (UTC), or `YYYY-MM-DD` (its first instant, UTC).
    ///
    /// # Errors
    /// [`TimeError`] where the text is none of these or lies outside the years 1970 to 2199.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let bad = || TimeError::Date(text.to_owned());
        let utc = if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            at.with_timezone(&Utc)
        } else if let Ok(day) = text.parse::<NaiveDate>() {
            day.and_time(chrono::NaiveTime::MIN).and_utc()
        } else {
            // `and_utc` of "2026-12-01 08:00:00" and "2026-12-01T08:00:00": what databases export.
            let text = text.replacen(' ', "T", 1);
            text.parse::<chrono::NaiveDateTime>().map_err(|_not_a_date| bad())?.and_utc()
        };
        if !YEARS.contains(&utc.year()) {
            return Err(TimeError::Year(text.to_owned()));
        }
        utc.timestamp_nanos_opt().map(Self).ok_or_else(bad)
    }

    /// The calendar day in UTC, as `2026-12-01`.
    #[must_use]
    pub fn day(self) -> String {
        DateTime::from_timestamp_nanos(self.0).format("%Y-%m-%d").to_string()
    }

    /// To the minute in UTC, as `2026-12-01 08:00`.
    #[must_use]
    pub fn minute(self) -> String {
        DateTime::from_timestamp_nanos(self.0).format("%Y-%m-%d %H:%M").to_string()
    }

    /// To the second in UTC, as `2026-12-01 08:00:00`; rounds down.
    #[must_use]
    pub fn second(self) -> String {
        DateTime::from_timestamp_nanos(self.0).format("%Y-%m-%d %H:%M:%S").to_string()
    }
}

impl Timestamp {
    /// Shows it in RFC 3339, with as many groups of three decimals as it needs. A decision writes four, a plan millions, of which chrono's
    /// own writing would be a good part.
    fn with_text<T>(self, show: impl FnOnce(&str) -> T) -> T {
        let at = DateTime::from_timestamp_nanos(self.0);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        // The years are 1677 to 2262.
        put_digits(&mut text[..4], at.year().unsigned_abs());
        let nanos = at.nanosecond();
        let parts = [(5, at.month()), (8, at.day()), (11, at.hour()), (14, at.minute()), (17, at.second())];
        parts.into_iter().for_each(|(place, number)| put_digits(&mut text[place..place + 2], number));
        put_digits(&mut text[20..29], nanos);
        let end = match nanos {
            0 => 19,
            _ if nanos.is_multiple_of(1_000_000) => 23,
            _ if nanos.is_multiple_of(1_000) => 26,
            _ => 29,
        };
        text[end] = b'Z';
        show(str::from_utf8(&text[..=end]).unwrap_or_default())
    }
}

/// Fills `room` with the last decimal digits of a number.
fn put_digits(room: &mut [u8], mut number: u32) {
    for digit in room.iter_mut().rev() {
        *digit = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
}

/// RFC 3339 in UTC, ending in `Z`, with no more digits of fraction than needed: 0, 3, 6 or 9.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A span of `seconds` seconds; saturates.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NS_PER_S))
    }

    /// A span of `hours` hours; saturates.
    #[must_use]
    pub const fn from_hours(hours: i64) -> Self {
        Self::from_seconds(hours.saturating_mul(3_600))
    }

    /// A span of `days` days of 24 hours; saturates.
    #[must_use]
    pub const fn from_days(days: i64) -> Self {
        Self::from_hours(days.saturating_mul(24))
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// This span and `other`; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This span less `other`; saturates.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Seconds, as a number with a fraction: for output only.
    #[must_use]
    pub fn seconds_f64(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for output only")]
        let nanos = self.0 as f64;
        nanos / 1e9
    }

    /// The shortest text that [`Self::parse`] reads back: `10m`, `1h`, `90s`.
    #[must_use]
    pub fn compact(self) -> String {
        let units = [("d", 86_400 * NS_PER_S), ("h", 3_600 * NS_PER_S), ("m", 60 * NS_PER_S), ("s", NS_PER_S)];
        match units.iter().find(|(_, unit)| self.0 != 0 && self.0 % unit == 0) {
            Some((name, unit)) => format!("{}{name}", self.0 / unit),
            None if self.0 == 0 => "0s".to_owned(),
            None => format!("{}ns", self.0),
        }
    }

    /// Reads a sum of numbers with units `ns, us, ms, s, m, h, d, w`, such as `10m`, `1h30m` or `1.5h`; `0` needs no unit.
    ///
    /// # Errors
    /// [`TimeError::Span`] where the text is none, or longer than 200 years.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let bad = || TimeError::Span(text.to_owned());
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let (mut rest, mut total) = (text, 0_i128);
        while !rest.is_empty() || total == 0 && rest.len() == text.len() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            total += decimal(number, unit_ns(unit.trim()).ok_or_else(bad)?).ok_or_else(bad)?;
            rest = tail;
        }
        if total > i128::from(Self::from_days(200 * 366).0) {
            return Err(bad());
        }
        i64::try_from(total).map(Self).map_err(|_too_long| bad())
    }
}

fn unit_ns(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => i128::from(NS_PER_S),
        "m" | "min" => 60 * i128::from(NS_PER_S),
        "h" => 3_600 * i128::from(NS_PER_S),
        "d" => 86_400 * i128::from(NS_PER_S),
        "w" => 7 * 86_400 * i128::from(NS_PER_S),
        _ => return None,
    })
}

/// `number`, a decimal such as `1.5`, times `unit`; rounds down. `None` where it is no number or has too many digits.
fn decimal(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 12 || fraction.len() > 12 || number.ends_with('.') || fraction.contains('.') {
        return None;
    }
    let mut total = whole.parse::<i128>().ok()? * unit;
    if !fraction.is_empty() {
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        total += fraction.parse::<i128>().ok()? * unit / scale;
    }
    Some(total)
}

/// For people: the two largest units that matter, as `7 d 2 h`, `3 h 21 min`, `36 s`, `250 ms`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let ns = self.0.unsigned_abs();
        let s = ns / 1_000_000_000;
        let (d, h, min) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
        let pair = |f: &mut fmt::Formatter<'_>, a: u64, unit: &str, b: u64, smaller: &str| {
            if b == 0 { write!(f, "{sign}{a} {unit}") } else { write!(f, "{sign}{a} {unit} {b} {smaller}") }
        };
        if d > 0 {
            pair(f, d, "d", h, "h")
        } else if h > 0 {
            pair(f, h, "h", min, "min")
        } else if min > 0 {
            pair(f, min, "min", s % 60, "s")
        } else if s > 0 && !ns.is_multiple_of(1_000_000_000) {
            write!(f, "{sign}{}.{:03} s", s, ns / 1_000_000 % 1_000)
        } else if s > 0 || ns == 0 {
            write!(f, "{sign}{s} s")
        } else if ns >= 1_000_000 {
            write!(f, "{sign}{} ms", ns / 1_000_000)
        } else {
            write!(f, "{sign}{ns} ns")
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse(text)
    }
}

impl std::str::FromStr for Span {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use chrono::SecondsFormat;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn instants_are_written_as_chrono_writes_them(nanos: i64, unit in prop_oneof![Just(1), Just(1_000), Just(1_000_000), Just(NS_PER_S)]) {
            let at = Timestamp(nanos / unit * unit);
            let text = DateTime::from_timestamp_nanos(at.0).to_rfc3339_opts(SecondsFormat::AutoSi, true);
            prop_assert_eq!(at.to_string(), text);
        }
    }

    fn check_span(text: &str, shown: &str) {
        assert_eq!(Span::parse(text).unwrap().to_string(), shown);
    }

    #[test]
    fn spans_are_read_and_shown() {
        check_span("0", "0 s");
        check_span("10m", "10 min");
        check_span("1h30m", "1 h 30 min");
        check_span("1.5h", "1 h 30 min");
        check_span("604800s", "7 d");
        check_span("201.6m", "3 h 21 min");
        check_span("1500ms", "1.500 s");
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "10", "m", "-5m", "1..5h", "1.h", ".5h", "5y", "99999999999999d", "1h5", "٣m"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_read_in_every_usual_form() {
        let at = Timestamp::from_unix_seconds(1_796_083_200);
        for text in ["2026-12-01", "2026-12-01T08:00:00+08:00", "2026-12-01 00:00:00", "2026-12-01T00:00:00.000Z"] {
            assert_eq!(Timestamp::parse(text), Ok(at), "{text}");
        }
        assert_eq!(at.to_string(), "2026-12-01T00:00:00Z");
        assert_eq!(at.plus(Span::from_nanos(1)).to_string(), "2026-12-01T00:00:00.000000001Z");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["", "soon", "2026-13-01", "2026-02-30", "1960-01-01", "2300-01-01", "2026-12-01T25:00:00Z"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }
}
