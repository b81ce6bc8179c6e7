//! Hostnames: their one canonical text, and why a text is none.

use std::fmt::{self, Write as _};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::{address, scan};

/// The longest name in bytes, dots and `*.` counted (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// The longest label in bytes.
const LABEL_BYTES_MAX: usize = 63;
/// The most labels that Boulder takes (`policy/pa.go`, `maxLabels`); `*` is not counted.
pub(super) const LABELS_MAX: usize = 10;

/// A DNS name as it stands in an order: lower-case A-labels, no trailing dot, `*.` as the first label only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hostname(Box<str>);

/// Why the CA would not take a name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant means")]
pub enum NameError {
    #[error("there is no name")]
    Empty,
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("holds a NUL byte")]
    Nul,
    #[error("has {0} bytes; a name has at most 253")]
    TooLong(usize),
    #[error("has two dots in a row, or starts with a dot")]
    EmptyLabel,
    #[error("has a label of {0} bytes; a label has at most 63")]
    LabelTooLong(usize),
    #[error("has a label that starts or ends with a hyphen")]
    Hyphen,
    #[error("is a single label; the CA wants a name below a public suffix, such as www.example.com")]
    OneLabel,
    #[error("has {0} labels; the CA takes at most 10")]
    TooManyLabels(usize),
    #[error("holds an underscore, which the CA refuses in a hostname")]
    Underscore,
    #[error("holds `{0}`: write the hostname alone, without scheme, port or path")]
    Url(char),
    #[error("holds {0:?}; a hostname has letters, digits, hyphens and dots")]
    Character(char),
    #[error("has a `*` that is not its whole first label")]
    Wildcard,
    #[error("has upper-case letters or a trailing dot")]
    NotCanonical,
    #[error("has a label with hyphens in places 3 and 4 that is no A-label (`xn--`)")]
    ReservedHyphens,
    #[error("has the A-label `{0}`, which is no valid punycode in normalization form C")]
    Punycode(String),
    #[error("can't be written as A-labels (IDNA, UTS 46)")]
    Idna,
    #[error("is or ends in no suffix of the Public Suffix List's ICANN section, so no public CA may issue for it")]
    UnknownSuffix,
    #[error("is a public suffix itself")]
    Suffix,
    #[error("is a wildcard for a whole public suffix")]
    WildcardSuffix,
    #[error("lies in {block} ({name}), a special-purpose block for which no public CA issues")]
    SpecialPurpose { block: String, name: &'static str },
}

/// Where the canonical text of a name stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canonical {
    /// The first `usize` bytes of the input are canonical (there may have been a trailing dot).
    Input(usize),
    /// The scratch buffer holds it: case or Unicode was converted.
    Scratch,
}

impl Canonical {
    /// The canonical text, given the two buffers that [`canonical`] was given.
    #[must_use]
    pub fn text<'a>(self, input: &'a [u8], scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Input(len) => input.get(..len).unwrap_or(input),
            Self::Scratch => scratch,
        }
    }
}

impl Hostname {
    /// Takes a name that is canonical already; [`canonical`] makes it so.
    ///
    /// # Errors
    /// [`NameError`] where it is not, or the CA would not take it whatever its suffix.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Finds the canonical text of a name or address as people write it, and checks it. `scratch` is used only if something changes.
///
/// # Errors
/// [`NameError`] where the CA would not take the name, whatever its suffix.
pub fn canonical(input: &[u8], scratch: &mut Vec<u8>) -> Result<Canonical, NameError> {
    if scan::ordinary(input) == Some(input.len()) {
        return Ok(Canonical::Input(input.len()));
    }
    let trimmed = input.strip_suffix(b".").filter(|rest| !rest.is_empty()).unwrap_or(input);
    if let Some(found) = address::of(trimmed) {
        scratch.clear();
        scratch.extend_from_slice(found.to_string().as_bytes());
        return Ok(if scratch == input { Canonical::Input(input.len()) } else { Canonical::Scratch });
    }
    match check(trimmed) {
        Ok(()) => return Ok(Canonical::Input(trimmed.len())),
        Err(NameError::NotCanonical) => {}
        Err(error) => return Err(error),
    }
    scratch.clear();
    if trimmed.is_ascii() {
        scratch.extend(trimmed.iter().map(u8::to_ascii_lowercase));
    } else {
        std::str::from_utf8(trimmed).map_err(|_not_utf8| NameError::NotUtf8)?;
        // An ideographic full stop and its like separate labels too; UTS 46 maps them to dots.
        let ascii = Uts46::new()
            .to_ascii(trimmed, AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore)
            .map_err(|_invalid| NameError::Idna)?;
        scratch.extend_from_slice(ascii.strip_suffix('.').unwrap_or(&ascii).as_bytes());
    }
    check(scratch)?;
    Ok(Canonical::Scratch)
}

const LETTER: u8 = 0;
const HYPHEN: u8 = 1;
const DOT: u8 = 2;
const OTHER: u8 = 3;

/// What each byte may be in a canonical name.
const CLASS: [u8; 256] = {
    let mut class = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        // A u8 counter would overflow at the end of the loop.
        #[expect(clippy::cast_possible_truncation, reason = "byte is below 256")]
        let b = byte as u8;
        class[byte] = match b {
            b'a'..=b'z' | b'0'..=b'9' => LETTER,
            b'-' => HYPHEN,
            b'.' => DOT,
            _ => OTHER,
        };
        byte += 1;
    }
    class
};

/// Whether `name` is canonical and the CA would take it, whatever its suffix.
fn check(name: &[u8]) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        // A long Unicode name may be short enough, and a long one with a bad byte is first of all bad: both are seen below.
        if name.is_ascii() {
            return Err(NameError::TooLong(name.len()));
        }
        return Err(NameError::NotCanonical);
    }
    let base = name.strip_prefix(b"*.").unwrap_or(name);
    let (mut labels, mut start, mut special) = (1_usize, 0_usize, false);
    for (index, &byte) in base.iter().enumerate() {
        match CLASS[usize::from(byte)] {
            LETTER => {}
            HYPHEN => special |= index == start || index - start == 3 && base[index - 1] == b'-',
            DOT => {
                end_of_label(&base[start..index])?;
                labels += 1;
                start = index + 1;
            }
            _ => return Err(bad_byte(name)),
        }
    }
    end_of_label(&base[start..])?;
    if special {
        check_hyphens(base)?;
    }
    match labels {
        1 => Err(NameError::OneLabel),
        2..=LABELS_MAX => Ok(()),
        _ => Err(NameError::TooManyLabels(labels)),
    }
}

fn end_of_label(label: &[u8]) -> Result<(), NameError> {
    match label.last() {
        None => Err(NameError::EmptyLabel),
        Some(b'-') => Err(NameError::Hyphen),
        Some(_) if label.len() > LABEL_BYTES_MAX => Err(NameError::LabelTooLong(label.len())),
        Some(_) => Ok(()),
    }
}

/// Why a byte that no canonical name holds is there: [`NameError::NotCanonical`] where converting may help.
fn bad_byte(name: &[u8]) -> NameError {
    let Ok(text) = std::str::from_utf8(name) else { return NameError::NotUtf8 };
    let wildcard_label = text.starts_with("*.");
    let bad = text
        .chars()
        .skip(usize::from(wildcard_label))
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.') || !c.is_ascii()));
    match bad {
        Some('\0') => NameError::Nul,
        Some('_') => NameError::Underscore,
        Some('*') => NameError::Wildcard,
        Some(c @ ('/' | ':' | '@' | '?')) => NameError::Url(c),
        Some(c) => NameError::Character(c),
        None => NameError::NotCanonical,
    }
}

/// The labels of a name in which a hyphen stands first, or third and fourth.
fn check_hyphens(base: &[u8]) -> Result<(), NameError> {
    for label in base.split(|&byte| byte == b'.') {
        if label.first() == Some(&b'-') {
            return Err(NameError::Hyphen);
        }
        if label.get(2..4) != Some(b"--") {
            continue;
        }
        let Some(encoded) = label.strip_prefix(b"xn--") else { return Err(NameError::ReservedHyphens) };
        let encoded = std::str::from_utf8(encoded).map_err(|_not_utf8| NameError::NotUtf8)?;
        let decoded = idna::punycode::decode_to_string(encoded);
        // Boulder asks for normalization form C and no more: an emoji is fine.
        let nfc = icu_normalizer::ComposingNormalizerBorrowed::new_nfc();
        if !decoded.is_some_and(|text| !text.is_empty() && nfc.is_normalized(&text)) {
            let mut whole = String::from("xn--");
            let _infallible = whole.write_str(encoded);
            return Err(NameError::Punycode(whole));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_canonical(input: &str, expected: &str) {
        let mut scratch = Vec::new();
        let found = canonical(input.as_bytes(), &mut scratch).unwrap();
        assert_eq!(std::str::from_utf8(found.text(input.as_bytes(), &scratch)).unwrap(), expected, "{input}");
    }

    fn check_error(input: &[u8], expected: NameError) {
        assert_eq!(canonical(input, &mut Vec::new()), Err(expected), "{}", String::from_utf8_lossy(input));
    }

    #[test]
    fn what_people_write_becomes_canonical() {
        check_canonical("www.example.com", "www.example.com");
        check_canonical("WWW.Example.COM.", "www.example.com");
        check_canonical("*.Example.com", "*.example.com");
        check_canonical("Bücher.example", "xn--bcher-kva.example");
        check_canonical("*.bücher.example", "*.xn--bcher-kva.example");
        check_canonical("例え。テスト", "xn--r8jz45g.xn--zckzah");
        check_canonical("xn--ls8h.la", "xn--ls8h.la");
        check_canonical("8.8.4.4", "8.8.4.4");
        check_canonical("2606:4700:0:0::1", "2606:4700::1");
    }

    #[test]
    fn what_the_ca_refuses_is_refused() {
        check_error(b"", NameError::Empty);
        check_error(b".", NameError::EmptyLabel);
        check_error(b"com", NameError::OneLabel);
        check_error(b"a..b.com", NameError::EmptyLabel);
        check_error(b"a.b.com..", NameError::EmptyLabel);
        check_error(b"-a.example.com", NameError::Hyphen);
        check_error(b"a-.example.com", NameError::Hyphen);
        check_error(b"a_b.example.com", NameError::Underscore);
        check_error(b"a.*.example.com", NameError::Wildcard);
        check_error(b"*.*.example.com", NameError::Wildcard);
        check_error(b"a*.example.com", NameError::Wildcard);
        check_error(b"https://example.com", NameError::Url(':'));
        check_error(b"a b.example.com", NameError::Character(' '));
        check_error(b"a\0.example.com", NameError::Nul);
        check_error(b"a\xff.example.com", NameError::NotUtf8);
        check_error(b"ab--c.example.com", NameError::ReservedHyphens);
        check_error(b"xn--99999999.example.com", NameError::Punycode("xn--99999999".into()));
        check_error(b"xn--a\xcc\x88.example.com", NameError::Idna);
        check_error(b"1.2.3.4.5.6.7.8.9.example.com", NameError::TooManyLabels(11));
        check_error(format!("{}.com", "a".repeat(64)).as_bytes(), NameError::LabelTooLong(64));
        check_error(format!("{}com", "a.".repeat(150)).as_bytes(), NameError::TooLong(303));
    }
}
