//! Names as nearly all are, found and checked eight bytes at a time; what is not plain to see is [`super::hostname`]'s to say.

use super::hostname::LABELS_MAX;

/// One bit for each byte of a name, the first in the lowest bit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Bytes {
    dots: u64,
    hyphens: u64,
    /// What is no letter, digit, hyphen or dot.
    others: u64,
}

/// How long the name is that `bytes` start with, where it is canonical as it stands, no address, and the CA would take it whatever
/// its suffix. `None` where that takes a closer look: some such names have hyphens in places 3 and 4, or more than 64 bytes.
#[inline]
pub(crate) fn ordinary(bytes: &[u8]) -> Option<usize> {
    let base = bytes.strip_prefix(b"*.").unwrap_or(bytes);
    let mut seen = Bytes::default();
    for (index, chunk) in base.chunks(8).take(8).enumerate() {
        let mut eight = [0; 8];
        match chunk.first_chunk() {
            Some(whole) => eight = *whole,
            None => eight[..chunk.len()].copy_from_slice(chunk),
        }
        let Bytes { dots, hyphens, others } = classify(u64::from_le_bytes(eight));
        seen.dots |= dots << (8 * index);
        seen.hyphens |= hyphens << (8 * index);
        seen.others |= others << (8 * index);
        if others != 0 {
            break;
        }
    }
    // Without another byte the input ends here, or the name has more than 64 bytes.
    let len = (seen.others.trailing_zeros() as usize).min(base.len());
    if len == 0 || len == 64 && base.len() > 64 {
        return None;
    }
    let within = u64::MAX >> (64 - len);
    let (dots, hyphens) = (seen.dots & within, seen.hyphens & within);
    let (starts, ends) = (dots << 1 | 1, dots >> 1 | 1 << (len - 1));
    let misplaced = (starts | ends) & (dots | hyphens) | hyphens & hyphens >> 1 & starts << 2;
    let labels = dots.count_ones() as usize + 1;
    // No suffix ends in a digit, but addresses do.
    let regular = misplaced == 0 && (2..=LABELS_MAX).contains(&labels) && !base[len - 1].is_ascii_digit();
    regular.then_some(bytes.len() - base.len() + len)
}

/// Classifies eight bytes, the first in the lowest bits.
#[inline]
const fn classify(word: u64) -> Bytes {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The high bit of each byte says whether its other seven are `$byte` or more: no sum is carried into the next byte.
    macro_rules! at_least {
        ($byte:expr) => {
            ((word & !HIGH) + (0x80 - $byte as u64) * ONES)
        };
    }
    let hyphens = at_least!(b'-') & !at_least!(b'.');
    let dots = at_least!(b'.') & !at_least!(b'/');
    let digits = at_least!(b'0') & !at_least!(b'9' + 1);
    let letters = at_least!(b'a') & !at_least!(b'z' + 1);
    let others = !(hyphens | dots | digits | letters) | word;
    Bytes { dots: high_bits(dots), hyphens: high_bits(hyphens), others: high_bits(others) }
}

/// The high bit of each byte, as eight bits.
#[inline]
const fn high_bits(word: u64) -> u64 {
    // The product moves bit 8 i to bit 56 + i, and no two sums of its bits meet.
    ((word >> 7) & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::hostname::{Hostname, NameError};

    fn check(bytes: &str, len: Option<usize>) {
        assert_eq!(ordinary(bytes.as_bytes()), len, "{bytes}");
    }

    #[test]
    fn a_name_ends_before_what_is_in_no_name() {
        check("www.example.com", Some(15));
        check("www.example.com,acme,www.example.org\n", Some(15));
        check("*.a-1.example.com\nx", Some(17));
        check("example.com\0", Some(11));
        check(&format!("{}.com,", "a".repeat(59)), Some(63));
        check(&format!("{}.com", "a".repeat(60)), Some(64));
    }

    #[test]
    fn what_is_not_plain_to_see_takes_a_closer_look() {
        for bytes in
            ["", ",", "com", "a..com", ".a.com", "a.com.", "-a.com", "a-.com", "a.-.com", "xn--a.com", "ab--c.com"]
        {
            check(bytes, None);
        }
        for bytes in ["10.0.0.1", "*.*.com", "*.com", "1.2.3.4.5.6.7.8.9.a.com", &format!("{}.org", "a.".repeat(31))] {
            check(bytes, None);
        }
    }

    #[test]
    fn bytes_are_what_they_are() {
        for byte in 0..=255_u8 {
            let bit = |is: bool| u64::from(is) << 3;
            let eight = [b'a', b'0', b'z', byte, b'9', b'a', b'a', b'a'];
            let Bytes { dots, hyphens, others } = classify(u64::from_le_bytes(eight));
            let known = byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            assert_eq!(others, bit(!known), "{byte}");
            if known {
                assert_eq!((dots, hyphens), (bit(byte == b'.'), bit(byte == b'-')), "{byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_to_see_is_true(name in "(\\*\\.)?([ab0-]{0,9}|[a-z0-9-]{20,40})(\\.([ab0-]{1,4}|[a-z]{18})){0,11}[,\n:_A]?.{0,9}") {
            if let Some(len) = ordinary(name.as_bytes()) {
                prop_assert_eq!(Hostname::parse(&name[..len]).map(|_| ()), Ok::<_, NameError>(()));
                prop_assert!(crate::name::address::of(&name.as_bytes()[..len]).is_none());
                prop_assert!(!name[len..].starts_with(|c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-')));
            }
        }
    }
}
