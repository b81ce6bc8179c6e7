//! IP addresses as identifiers: which have no certificate, and the block under which their certificates are counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that `text` is, in any notation; `None` for a name.
#[must_use]
pub fn of(text: &[u8]) -> Option<IpAddr> {
    // A name ends in a letter (no suffix of the list ends in a digit) and has no colon: most are told apart by their last byte.
    let maybe = text.last().is_some_and(u8::is_ascii_digit) || text.contains(&b':');
    if !maybe {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The block under which certificates for `address` are counted, as text: an IPv4 `/32` or an IPv6 `/64`.
#[must_use]
pub fn block(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{v4}/32"),
        IpAddr::V6(v6) => format!("{}/64", masked(v6, 64)),
    }
}

/// The first `bits` bits of `address`, the rest 0.
#[must_use]
pub fn masked(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & mask128(bits))
}

fn mask128(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

/// The special-purpose block that `address` lies in, with its name; `None` for an address that may have a certificate.
#[must_use]
pub fn special_purpose(address: IpAddr) -> Option<(String, &'static str)> {
    match address {
        IpAddr::V4(v4) => SPECIAL_V4.iter().find_map(|&([a, b, c, d], bits, name)| {
            let base = Ipv4Addr::new(a, b, c, d);
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (v4.to_bits() & mask == base.to_bits()).then(|| (format!("{base}/{bits}"), name))
        }),
        IpAddr::V6(v6) => SPECIAL_V6.iter().find_map(|&(groups, bits, name)| {
            let base = Ipv6Addr::from(groups);
            (masked(v6, bits) == base).then(|| (format!("{base}/{bits}"), name))
        }),
    }
}

/// IANA IPv4 Special-Purpose Address Registry (<https://www.iana.org/assignments/iana-ipv4-special-registry>, read 2026-08).
/// Multicast is not in it, and Boulder does not refuse it: no validation of it can succeed.
const SPECIAL_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this network, RFC 791"),
    ([10, 0, 0, 0], 8, "private use, RFC 1918"),
    ([100, 64, 0, 0], 10, "shared address space, RFC 6598"),
    ([127, 0, 0, 0], 8, "loopback, RFC 1122"),
    ([169, 254, 0, 0], 16, "link local, RFC 3927"),
    ([172, 16, 0, 0], 12, "private use, RFC 1918"),
    ([192, 0, 0, 0], 24, "IETF protocol assignments, RFC 6890"),
    ([192, 0, 2, 0], 24, "documentation, RFC 5737"),
    ([192, 31, 196, 0], 24, "AS112, RFC 7535"),
    ([192, 52, 193, 0], 24, "AMT, RFC 7450"),
    ([192, 88, 99, 0], 24, "deprecated 6to4 relay anycast, RFC 7526"),
    ([192, 168, 0, 0], 16, "private use, RFC 1918"),
    ([192, 175, 48, 0], 24, "AS112, RFC 7534"),
    ([198, 18, 0, 0], 15, "benchmarking, RFC 2544"),
    ([198, 51, 100, 0], 24, "documentation, RFC 5737"),
    ([203, 0, 113, 0], 24, "documentation, RFC 5737"),
    ([240, 0, 0, 0], 4, "reserved, RFC 1112"),
];

/// IANA IPv6 Special-Purpose Address Registry (<https://www.iana.org/assignments/iana-ipv6-special-registry>, read 2026-08).
const SPECIAL_V6: &[([u16; 8], u32, &str)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified, RFC 4291"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback, RFC 4291"),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "IPv4-mapped, RFC 4291"),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "IPv4-IPv6 translation, RFC 6052"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "IPv4-IPv6 translation, RFC 8215"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard only, RFC 6666"),
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "dummy prefix, RFC 9780"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "IETF protocol assignments, RFC 2928"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation, RFC 3849"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4, RFC 3056"),
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "AS112, RFC 7534"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation, RFC 9637"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing, RFC 9602"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local, RFC 4193"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link local, RFC 4291"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, special: bool) {
        assert_eq!(special_purpose(text.parse().unwrap()).is_some(), special, "{text}");
    }

    #[test]
    fn special_purpose_addresses_are_told_apart() {
        check("8.8.4.4", false);
        check("100.63.255.255", false);
        check("100.64.0.0", true);
        check("255.255.255.255", true);
        check("2606:4700::1", false);
        check("2001:1ff::1", true);
        check("2001:200::1", false);
        check("::ffff:8.8.8.8", true);
        check("fe80::1", true);
    }

    #[test]
    fn addresses_are_counted_by_block() {
        assert_eq!(block("8.8.4.4".parse().unwrap()), "8.8.4.4/32");
        assert_eq!(block("2606:4700:10:20:1:2:3:4".parse().unwrap()), "2606:4700:10:20::/64");
    }
}
