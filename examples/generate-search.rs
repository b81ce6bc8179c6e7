//! Writes a made-up search of crt.sh to stdout: `cargo run --release --example generate-search 1000000 > search.json`.
//!
//! Each issuance is there as precertificate and as certificate, as crt.sh has them; every other one renews the one before.
#![expect(clippy::disallowed_macros, reason = "an example may print")]

use std::io::{self, BufWriter, ErrorKind, Write as _};

use certpace::time::{Span, Timestamp};

/// 2026-10-01.
const START: Timestamp = Timestamp::from_unix_seconds(1_790_812_800);

fn main() -> io::Result<()> {
    let Some(issuances) = std::env::args().nth(1).and_then(|text| text.parse::<u64>().ok()) else {
        eprintln!("usage: generate-search ISSUANCES");
        return Err(ErrorKind::InvalidInput.into());
    };
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    match write(&mut out, issuances).and_then(|()| out.flush()) {
        // Whoever reads has enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn write(out: &mut impl io::Write, issuances: u64) -> io::Result<()> {
    out.write_all(b"[")?;
    for number in 0..issuances {
        let set = number / 2;
        let seconds = i64::try_from(number % 604_800).unwrap_or_default();
        let not_before = START.plus(Span::from_seconds(seconds)).plus(Span::from_days(60 * i64::from(number % 2 == 1)));
        let not_after = not_before.plus(Span::from_days(90)).minus(Span::from_seconds(1));
        let domain = format!("customer-{}.com", set / 3);
        let name = format!("site-{set}.{domain}");
        // An odd number times an odd number: different for each, and well mixed.
        let serial =
            (u128::from(number) << 64 | u128::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        for (kind, later) in [(0, 3_511), (1, 3_514)] {
            let comma = if number + kind == 0 { "" } else { "," };
            let logged = not_before.plus(Span::from_seconds(later));
            write!(
                out,
                "{comma}{{\"issuer_ca_id\":295814,\"issuer_name\":\"C=US, O=Let's Encrypt, CN=E{}\",\"common_name\":\"{name}\",\
                 \"name_value\":\"{name}\\nwww.{name}\",\"id\":{},\"entry_timestamp\":\"{}\",\"not_before\":\"{}\",\
                 \"not_after\":\"{}\",\"serial_number\":\"06{serial:032x}\",\"result_count\":3}}",
                7 + number % 2,
                2 * number + kind,
                bare(logged),
                bare(not_before),
                bare(not_after),
            )?;
        }
    }
    out.write_all(b"]\n")
}

/// As PostgreSQL writes times: without an offset.
fn bare(time: Timestamp) -> String {
    time.to_string().trim_end_matches('Z').to_owned()
}
