//! Whatever comes in, nothing panics; and the order of files shows in nothing.

use std::sync::LazyLock;

use certpace::import::{Imported, Issuance};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::{LETS_ENCRYPT, Wanted, import, wanted};

/// Files of every kind which tell of the same few certificates, more or less surely.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut files = Vec::new();
    for (serial, day) in [(1, 0), (2, 0), (3, 60)] {
        let order = wanted(serial, &["example.com", "www.example.com"], day);
        let made = LETS_ENCRYPT.issue(&order);
        let bare = LETS_ENCRYPT.issue(&Wanted { scts: Vec::new(), precertificate: true, ..order.clone() });
        files.push(made.der.clone());
        files.push(format!("{}{}", made.pem, LETS_ENCRYPT.pem).into_bytes());
        let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
        files.push(json!([{"tbs_sha256": "00", "cert_der": base64(&bare.der)}]).to_string().into_bytes());
        files.push(
            json!({"kind": "Secret", "type": "kubernetes.io/tls", "data": {"tls.crt": base64(made.pem.as_bytes())}})
                .to_string()
                .into_bytes(),
        );
        files.push(
            json!({"le": {"Account": {}, "Certificates": [{"certificate": base64(made.pem.as_bytes())}]}})
                .to_string()
                .into_bytes(),
        );
        for (name, logged) in [("example.com", 1), ("www.example.com", 5), ("other.example.org", 900)] {
            let before = order.issued_at.minus(certpace::time::Span::from_hours(1));
            let logged = order.issued_at.plus(certpace::time::Span::from_seconds(logged));
            files.push(json!([{"issuer_name": "O=Let's Encrypt", "name_value": name, "entry_timestamp": logged, "not_before": before,
                "not_after": "2027-06-01T00:00:00", "serial_number": format!("{serial:02x}")}]).to_string().into_bytes());
            files.push(format!("hostname,issued_at,serial,expires_at\n{name},{logged},{serial},2027-06-01\n{name},{before},{serial},\n").into_bytes());
        }
    }
    files
});

/// All that doesn't say which file it comes from.
fn facts(imported: &Imported) -> Vec<Issuance> {
    imported.issuances.iter().map(|issuance| Issuance { source: 0, ..issuance.clone() }).collect()
}

fn read(files: &[&Vec<u8>]) -> Imported {
    let files: Vec<_> = files.iter().map(|bytes| ("file", bytes.as_slice())).collect();
    import(&files)
}

proptest! {
    #[test]
    fn the_order_of_files_shows_in_nothing(chosen in prop::sample::subsequence((0..FILES.len()).collect::<Vec<_>>(), 0..12), seed in any::<Index>()) {
        let files: Vec<_> = chosen.iter().map(|place| &FILES[*place]).collect();
        let mut others = files.clone();
        let turned = seed.index(others.len() + 1);
        others.rotate_left(turned);
        others.reverse();
        let (one, other) = (read(&files), read(&others));
        prop_assert!(one.broken.is_empty());
        prop_assert_eq!(facts(&one), facts(&other));
        prop_assert_eq!(one.counts, other.counts);
        // Twice the same tells nothing new.
        let twice = read(&[&files[..], &files[..]].concat());
        prop_assert_eq!(facts(&one), facts(&twice));
    }

    #[test]
    fn any_bytes_are_read_or_told(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let imported = read(&[&bytes]);
        prop_assert!(imported.issuances.is_empty());
    }

    #[test]
    fn broken_files_are_told(place in 0..FILES.len(), changes in prop::collection::vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..8)) {
        let mut bytes = FILES[place].clone();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len().max(1));
            match how {
                _ if bytes.is_empty() => bytes.push(byte),
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
        }
        let imported = read(&[&bytes]);
        let told: Vec<_> = imported.broken.iter().map(ToString::to_string).collect();
        prop_assert!(told.iter().all(|line| line.starts_with("file")));
    }
}
