//! An issuance: one certificate, and what is known of when it was issued, for which names, by whom.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use crate::name::NameSet;
use crate::time::{Span, Timestamp};

/// The most bytes of a serial number (RFC 5280, 4.1.2.2).
const SERIAL_BYTES_MAX: usize = 20;

/// The serial number of a certificate: a whole number without leading zeros, shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serial {
    bytes: [u8; SERIAL_BYTES_MAX],
    len: u8,
}

/// How sure the time of an issue is, least sure first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// Computed: one hour after `notBefore`.
    Backdated,
    /// Somebody wrote it down.
    Told,
    /// A log's entry of about that time bears it out.
    Logged,
    /// The latest of the logs' timestamps in the certificate itself.
    Sct,
}

/// How well the names of a certificate are known, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamesKnown {
    /// It has these, and may have more: a search shows those that were searched for.
    AtLeast,
    /// Somebody says that these are all.
    Told,
    /// The certificate itself says so.
    Exact,
}

/// One certificate that was issued.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuance {
    /// Its names.
    pub names: NameSet,
    /// Whether these are all.
    pub names_known: NamesKnown,
    /// When it was issued, not before this time if that is not sure: what the CA counts was spent then.
    pub issued_at: Timestamp,
    /// How sure that is.
    pub certainty: Certainty,
    /// The start of its validity. The CA remembers a name set from here on ([`Self::is_renewal_of`]).
    pub not_before: Timestamp,
    /// The last second of its validity, where it is known.
    pub not_after: Option<Timestamp>,
    /// Its serial number.
    pub serial: Serial,
    /// Who issued it: the organisation, with `(STAGING)` or its like before it where the common name begins so; without, the common name.
    pub issuer: Arc<str>,
    /// The key identifier of the issuer, where the certificate itself is at hand.
    pub authority_key: Option<Arc<[u8]>>,
    /// Whether somebody has the certificate in use, as far as can be told: it lies in a directory of certificates, and no newer one of its
    /// lineage took its place. What only a search or a table tells of is not held.
    pub held: bool,
    /// Where the time of its issue comes from: a place in [`super::Imported::sources`].
    pub source: u32,
}

impl Serial {
    /// The number of these bytes, most significant first; `None` where it has more than 20 without leading zeros.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let significant = &bytes[zeros..];
        let mut serial = Self { bytes: [0; SERIAL_BYTES_MAX], len: u8::try_from(significant.len()).ok()? };
        serial.bytes.get_mut(..significant.len())?.copy_from_slice(significant);
        Some(serial)
    }

    /// Reads hexadecimal digits, in upper or lower case, with or without colons between bytes and `0x` before them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let mut digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| Some(u8::try_from(c.to_digit(16)?).unwrap_or(0)))
            .collect::<Option<_>>()?;
        if digits.is_empty() {
            return None;
        }
        if digits.len() % 2 == 1 {
            digits.insert(0, 0);
        }
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        Self::new(&bytes)
    }

    /// Its bytes without leading zeros; none for 0.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The contents of its DER integer: with a zero in front where the first byte would make it negative.
    fn der(&self) -> Vec<u8> {
        let bytes = self.as_bytes();
        let mut der = Vec::with_capacity(bytes.len() + 1);
        if bytes.first().is_none_or(|first| *first >= 0x80) {
            der.push(0);
        }
        der.extend_from_slice(bytes);
        der
    }
}

impl PartialOrd for Serial {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// In the order of the numbers.
impl Ord for Serial {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.len, &self.bytes).cmp(&(other.len, &other.bytes))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(2 * SERIAL_BYTES_MAX);
        for byte in self.as_bytes() {
            write!(text, "{byte:02x}")?;
        }
        f.pad(if text.is_empty() { "00" } else { &text })
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// The parts of a certificate's id as ARI has it (RFC 9773, 4.1): the issuer's key identifier and the serial number.
#[must_use]
pub fn parse_ari_id(text: &str) -> Option<(Vec<u8>, Serial)> {
    let (key, serial) = text.split_once('.')?;
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok().filter(|bytes| !bytes.is_empty());
    Some((decode(key)?, Serial::new(&decode(serial)?)?))
}

impl Issuance {
    /// The certificate's id as ARI has it (RFC 9773, 4.1), where the certificate itself is at hand.
    #[must_use]
    pub fn ari_id(&self) -> Option<String> {
        let key = self.authority_key.as_deref()?;
        Some(format!("{}.{}", BASE64URL_NOPAD.encode(key), BASE64URL_NOPAD.encode(&self.serial.der())))
    }

    /// What tells it from every other certificate: its ARI id, else its serial number.
    #[must_use]
    pub fn id(&self) -> String {
        self.ari_id().unwrap_or_else(|| self.serial.to_string())
    }

    /// Whether it surely was a same-set renewal of `earlier`, so that it took no token of a registered domain.
    ///
    /// It was if both have the same names, all of them known, and `earlier` had been issued when this one was *ordered*, and not longer
    /// than `memory` ago. The CA counts the memory from `notBefore` (Boulder's `AddCertificate`); it looks when the order comes in, which
    /// nobody tells: at most `order_life` before the issue, so `earlier` is sought before that. Whatever is not sure is no renewal.
    #[must_use]
    pub fn is_renewal_of(&self, earlier: &Self, memory: Span, order_life: Span) -> bool {
        let sure = self.names_known.is_all() && earlier.names_known.is_all();
        let issued_before = earlier.issued_at <= self.issued_at.minus(order_life);
        let remembered = earlier.not_before > self.issued_at.minus(memory);
        sure && issued_before && remembered && self.names == earlier.names
    }

    /// Takes in what another source tells of the same certificate. In whatever order sources come, the same comes out, but for `source`
    /// where two of them are equally sure.
    pub(super) fn merge(&mut self, other: Self) {
        // A set is forgotten sooner, and a certificate expires sooner: the stricter of what was told.
        self.not_before = self.not_before.min(other.not_before);
        self.not_after = self.not_after.into_iter().chain(other.not_after).min();
        if other.names_known > self.names_known {
            (self.names, self.names_known) = (other.names, other.names_known);
        } else if other.names_known == self.names_known && other.names != self.names {
            self.names = self.names.union(&other.names);
        }
        if (other.certainty, other.issued_at) > (self.certainty, self.issued_at) {
            (self.certainty, self.issued_at, self.source) = (other.certainty, other.issued_at, other.source);
        }
        if other.authority_key > self.authority_key {
            self.authority_key = other.authority_key;
        }
        self.held |= other.held;
    }
}

impl NamesKnown {
    /// Whether the names are all that the certificate has.
    #[must_use]
    pub const fn is_all(self) -> bool {
        !matches!(self, Self::AtLeast)
    }
}

/// For each of `issuances`, which are sorted as [`super::Imported`] has them: whether it surely was a same-set renewal of an earlier one
/// ([`Issuance::is_renewal_of`]).
#[must_use]
pub fn renewals(issuances: &[Issuance], memory: Span, order_life: Span) -> Vec<bool> {
    let mut by_set: Vec<usize> = (0..issuances.len()).collect();
    // Stable: those of one set stay in the order of their issue.
    by_set.sort_by(|a, b| issuances[*a].names.identifiers().cmp(issuances[*b].names.identifiers()));
    let mut renewal = vec![false; issuances.len()];
    for same in by_set.chunk_by(|a, b| issuances[*a].names == issuances[*b].names) {
        for (index, later) in same.iter().enumerate() {
            let is_renewal =
                |earlier: &usize| issuances[*later].is_renewal_of(&issuances[*earlier], memory, order_life);
            renewal[*later] = same[..index].iter().rev().any(is_renewal);
        }
    }
    renewal
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Span = Span::from_days(1);

    fn issuance(day: i64, known: NamesKnown) -> Issuance {
        let issued_at = Timestamp::from_unix_seconds(1_800_000_000).plus(Span::from_days(day));
        Issuance {
            names: NameSet::parse(["example.com"]).unwrap(),
            names_known: known,
            issued_at,
            certainty: Certainty::Sct,
            not_before: issued_at.minus(Span::from_hours(1)),
            not_after: None,
            serial: Serial::new(&[1]).unwrap(),
            issuer: "CA".into(),
            authority_key: None,
            held: false,
            source: 0,
        }
    }

    fn check_renewals(days: &[i64], expected: &[bool]) {
        let issuances: Vec<_> = days.iter().map(|day| issuance(*day, NamesKnown::Exact)).collect();
        assert_eq!(renewals(&issuances, Span::from_days(120), Span::from_days(7)), expected, "{days:?}");
    }

    #[test]
    fn only_what_surely_is_a_renewal_is_one() {
        check_renewals(&[0, 60, 179], &[false, true, true]);
        // The memory runs from `notBefore`, an hour earlier.
        check_renewals(&[0, 120], &[false, false]);
        // It may have been ordered before the other was issued.
        check_renewals(&[0, 6, 7], &[false, false, true]);
    }

    #[test]
    fn names_that_may_be_more_make_no_renewal() {
        let (first, second) = (issuance(0, NamesKnown::Exact), issuance(60, NamesKnown::AtLeast));
        assert!(!second.is_renewal_of(&first, Span::from_days(120), DAY));
    }

    fn check_serial(text: &str, shown: Option<&str>) {
        assert_eq!(Serial::parse(text).map(|serial| serial.to_string()).as_deref(), shown, "{text}");
    }

    #[test]
    fn serials_are_numbers() {
        check_serial("0004D2", Some("04d2"));
        check_serial("04:d2", Some("04d2"));
        check_serial("0x4d2", Some("04d2"));
        check_serial("0", Some("00"));
        check_serial("", None);
        check_serial("xyz", None);
        check_serial(&"f".repeat(40), Some(&"f".repeat(40)));
        check_serial(&"f".repeat(41), None);
        assert!(Serial::parse("ff") < Serial::parse("100"));
    }

    #[test]
    fn an_ari_id_is_that_of_the_rfc() {
        // RFC 9773, 4.1: the serial's first byte is 0x87, so that its DER has a zero in front.
        let text = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
        let (key, serial) = parse_ari_id(text).unwrap();
        assert_eq!(serial.to_string(), "87654321");
        let held = Issuance { serial, authority_key: Some(key.into()), ..issuance(0, NamesKnown::Exact) };
        assert_eq!(held.ari_id().as_deref(), Some(text));
    }
}
