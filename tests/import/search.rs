//! Searches of the Certificate Transparency logs.

use certpace::import::{Certainty, Import, Imported, Kind, NamesKnown, Options, SearchNames, renewals};
use certpace::time::Span;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{LETS_ENCRYPT, Wanted, broken, import, issue, options, told, wanted};

/// An entry as crt.sh writes them.
fn entry(serial: &str, names: &str, not_before: &str, logged: Option<&str>) -> Value {
    let mut entry = json!({
        "issuer_ca_id": 295_814, "issuer_name": "C=US, O=Let's Encrypt, CN=E8", "common_name": names.lines().next(),
        "name_value": names, "id": 1, "entry_timestamp": logged, "not_before": not_before, "not_after": "2027-02-28T22:59:59",
        "serial_number": serial, "result_count": 2});
    if logged.is_none() {
        entry.as_object_mut().unwrap().remove("entry_timestamp");
    }
    entry
}

fn search(entries: &[Value]) -> Vec<u8> {
    serde_json::to_vec(entries).unwrap()
}

const BEFORE: &str = "2026-11-30T23:00:00";

#[test]
fn the_later_of_the_backdated_hour_and_a_log_of_the_cas_own_is_the_time() {
    let check = |logged: Option<&str>, expected: &str| {
        let imported = import(&[("crt.json", &search(&[entry("01", "example.com", BEFORE, logged)]))]);
        assert_eq!(told(&imported), [format!("01 example.com: {expected}")], "{logged:?}");
    };
    check(None, "Backdated 2026-12-01T00:00:00Z");
    check(Some("2026-11-30T23:58:31.456"), "Logged 2026-12-01T00:00:00Z");
    check(Some("2026-12-01T00:00:02.5"), "Logged 2026-12-01T00:00:02.500Z");
    // Somebody has found it, or a log's clock is wrong.
    check(Some("2026-12-03T00:00:00"), "Backdated 2026-12-01T00:00:00Z");
    check(Some("2026-11-01T00:00:00"), "Backdated 2026-12-01T00:00:00Z");
}

#[test]
fn precertificate_and_certificate_are_one_whatever_tells_of_them() {
    let names = "example.com\nwww.example.com";
    let duplicates = [
        entry("0001", names, BEFORE, Some("2026-11-30T23:58:31")),
        entry("01", names, BEFORE, Some("2026-11-30T23:58:35")),
        entry("01", "www.example.com", BEFORE, None),
    ];
    let order = wanted(1, &["example.com", "www.example.com"], 0);
    let precertificate = LETS_ENCRYPT.issue(&Wanted { scts: Vec::new(), precertificate: true, ..order.clone() });
    let spotted =
        |der: &[u8]| json!([{"id": "1", "tbs_sha256": "00", "dns_names": order.names, "cert_der": BASE64.encode(der)}]);
    let older = json!([{"id": "1", "tbs_sha256": "00", "cert": {"type": "precert", "data": BASE64.encode(&precertificate.der)}}]);
    let made = LETS_ENCRYPT.issue(&order);
    let imported = import(&[
        ("crt.json", &search(&duplicates)),
        ("spotter.json", spotted(&precertificate.der).to_string().as_bytes()),
        ("older.json", older.to_string().as_bytes()),
        ("cert.pem", made.pem.as_bytes()),
    ]);
    assert_eq!(told(&imported), ["01 example.com www.example.com: Sct 2026-12-01T00:00:00.500Z held"]);
    assert_eq!((imported.counts.entries, imported.counts.duplicates, imported.counts.precertificates), (6, 5, 2));
    assert_eq!(imported.issuances[0].names_known, NamesKnown::Exact);
    assert_eq!(broken(&imported), [""; 0]);
}

#[test]
fn several_searches_tell_of_one_certificates_names_together() {
    let imported = import(&[
        ("com.json", &search(&[entry("01", "a.example.com", BEFORE, None)])),
        ("org.json", &search(&[entry("01", "a.example.org\n*.example.org", BEFORE, None)])),
    ]);
    let expected = ["01 *.example.org a.example.com a.example.org: Backdated 2026-12-01T00:00:00Z"];
    assert_eq!(told(&imported), expected);
    assert_eq!(imported.issuances[0].names_known, NamesKnown::AtLeast);
}

#[test]
fn renewals_are_sure_only_where_all_names_are() {
    let sixty = "2027-01-29T23:00:00";
    let file = search(&[entry("01", "a.example.com", BEFORE, None), entry("02", "a.example.com", sixty, None)]);
    for (search_names, expected) in [(SearchNames::SomeOfEach, false), (SearchNames::AllOfEach, true)] {
        let options = Options { search_names, ..options() };
        let mut import = Import::new(&options);
        import.reader("crt.json", file.as_slice());
        let found = renewals(&import.finish().issuances, Span::from_days(120), Span::from_days(7));
        assert_eq!(found, [false, expected]);
    }
}

#[test]
fn names_of_all_kinds_are_read() {
    let names = "*.example.com\nExample.COM\nbücher.example.com\na.b.example.com\nwebmaster@example.com\nexample.com";
    let imported = import(&[("crt.json", &search(&[entry("01", names, BEFORE, None)]))]);
    let expected =
        "01 *.example.com a.b.example.com example.com xn--bcher-kva.example.com: Backdated 2026-12-01T00:00:00Z";
    assert_eq!(told(&imported), [expected]);
}

#[test]
fn what_is_broken_is_told_and_stops_nothing() {
    let good = entry("01", "example.com", BEFORE, None);
    let without = |key: &str| {
        let mut entry = entry("02", "x.example.com", BEFORE, None);
        entry.as_object_mut().unwrap().remove(key);
        entry.to_string()
    };
    let with = |key: &str, value: Value| {
        let mut entry = entry("02", "x.example.com", BEFORE, None);
        entry[key] = value;
        entry.to_string()
    };
    let mut bytes = Vec::new();
    let entries = [
        without("serial_number"),
        without("issuer_name"),
        without("not_before"),
        with("not_before", json!("soon")),
        with("serial_number", json!(5)),
        with("name_value", json!("_x.example.com")),
        with("name_value", json!("")).replace("\"common_name\":\"x.example.com\"", "\"common_name\":null"),
        with("issuer_name", json!("C=US, O=Other, CN=X")),
        with("name_value", json!("\u{1}")).replace("\\u0001", "\u{1}"),
        "{\"serial_number\":}".to_owned(),
        "null".to_owned(),
        r#"{"tbs_sha256":"00","dns_names":["x.example.com"]}"#.to_owned(),
        r#"{"tbs_sha256":"00","cert_der":"MII"}"#.to_owned(),
        r#"{"tbs_sha256":"00","cert_der":"MIIA"}"#.to_owned(),
        good.to_string(),
    ];
    bytes.extend_from_slice(b"[");
    bytes.extend_from_slice(entries.join(",\n").as_bytes());
    bytes.extend_from_slice(b",\n{\"name_value\":\"\xff\"},{\"serial_number\":\"03");
    let imported = import(&[("crt.json", &bytes)]);
    assert_eq!(told(&imported), ["01 example.com: Backdated 2026-12-01T00:00:00Z"]);
    assert_eq!(imported.counts.other_issuers, 1);
    let starts = [
        "crt.json:1: entry 1: has no `serial_number`",
        "crt.json:2: entry 2: has no `issuer_name`",
        "crt.json:3: entry 3: has no `not_before`",
        "crt.json:4: entry 4: not_before: `soon` is no date",
        "crt.json:5: entry 5: is no JSON of the expected shape: invalid type: integer `5`",
        "crt.json:6: entry 6: has the name `_x.example.com`, which holds an underscore",
        "crt.json:7: entry 7: names no host",
        "crt.json:9: entry 9: is no JSON of the expected shape: control character",
        "crt.json:10: entry 10: is no JSON of the expected shape: expected value",
        "crt.json:11: entry 11: is no JSON of the expected shape: invalid type: null",
        "crt.json:12: entry 12: is of Cert Spotter and has neither",
        "crt.json:13: entry 13: is no base64",
        "crt.json:14: entry 14: is no certificate: it ends too early, or is torn",
        "crt.json:16: entry 16: is no JSON of the expected shape: invalid unicode",
        "crt.json:16: entry 17: is no JSON of the expected shape: EOF",
    ];
    let broken = broken(&imported);
    for (index, start) in starts.iter().enumerate() {
        assert!(broken.get(index).is_some_and(|line| line.starts_with(start)), "{start}\n{broken:#?}");
    }
    assert_eq!(broken.len(), starts.len());
}

#[test]
fn lines_and_arrays_one_below_the_other_are_read() {
    let one = |serial: &str| entry(serial, "example.com", BEFORE, None).to_string();
    let text = format!("{}\n{}\n[{}][{}]", one("01"), one("02"), one("03"), one("04"));
    assert_eq!(import(&[("crt.json", text.as_bytes())]).issuances.len(), 4);
}

#[test]
fn a_search_that_found_more_than_it_shows_is_marked() {
    let check = |rows: u64, expected: bool| {
        let mut entry = entry("01", "example.com", BEFORE, None);
        entry["result_count"] = rows.into();
        let imported = import(&[("crt.json", &search(&[entry]))]);
        assert_eq!(imported.sources[0].truncated, expected, "{rows}");
    };
    check(9_999, false);
    check(10_000, true);
}

#[test]
fn what_is_searched_for_is_not_held_even_beside_secrets() {
    let pem = BASE64.encode(issue(2, &["example.com"], 0).pem.as_bytes());
    let secret = json!({"kind": "Secret", "type": "kubernetes.io/tls", "data": {"tls.crt": pem}});
    let text = format!("{secret}\n{}", entry("01", "example.com", BEFORE, None));
    let held: Vec<_> = import(&[("-", text.as_bytes())]).issuances.iter().map(|issuance| issuance.held).collect();
    assert_eq!(held, [false, true]);
}

#[test]
fn an_empty_search_has_found_nothing() {
    assert_eq!(import(&[("crt.json", b"[]\n")]).broken, []);
}

#[test]
fn of_two_times_the_surer_and_then_the_later_is_taken() {
    let made = issue(1, &["example.com"], 0);
    let search = search(&[entry("01", "example.com", BEFORE, Some("2026-12-01T00:00:07"))]);
    let later = b"hostname,issued_at,serial\nexample.com,2026-12-01T00:00:09Z,01\n";
    let latest = b"hostname,issued_at,serial\nexample.com,2026-12-01T00:01:00Z,01\n";
    let check = |files: &[(&str, &[u8])], certainty: Certainty, at: &str| {
        let Imported { issuances, .. } = import(files);
        assert_eq!(issuances.len(), 1);
        assert_eq!((issuances[0].certainty, issuances[0].issued_at.to_string().as_str()), (certainty, at));
    };
    check(&[("a", later), ("b", latest)], Certainty::Told, "2026-12-01T00:01:00Z");
    check(&[("a", latest), ("b", later), ("c", &search)], Certainty::Logged, "2026-12-01T00:00:07Z");
    check(&[("c", &search), ("d", &made.der), ("a", later)], Certainty::Sct, "2026-12-01T00:00:00.500Z");
}

#[test]
fn tables_know_whose_certificates_they_tell_of() {
    let table = "hostname,issued_at,serial,issuer\na.example.com,2026-12-01T00:00:00Z,01,\nb.example.com,2026-12-01T00:00:00Z,02,\"C=US, O=Other, CN=X\"\nc.example.com,2026-12-01T00:00:00Z,03,Let's Encrypt\na2.example.com,2026-12-01T00:00:00Z,01,\n";
    let imported = import(&[("table.csv", table.as_bytes())]);
    let at = "Told 2026-12-01T00:00:00Z";
    assert_eq!(told(&imported), [format!("01 a.example.com a2.example.com: {at}"), format!("03 c.example.com: {at}")]);
    assert_eq!((imported.counts.other_issuers, imported.sources[0].kind), (1, Kind::Table));
}
