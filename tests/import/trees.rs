//! Certificates as clients keep them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use certpace::import::{self, Certainty, Imported, Kind};
use data_encoding::BASE64;
use serde_json::json;

use super::{LETS_ENCRYPT, Wanted, broken, import as import_files, issue, options, told, wanted, write};
use crate::ca::Ca;

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----\n";

fn read(root: &Path) -> Imported {
    import::read(&[root.to_owned()], &options()).unwrap()
}

fn kinds(imported: &Imported) -> Vec<(Kind, u64)> {
    let mut kinds: Vec<_> = imported.sources.iter().map(|source| (source.kind, source.entries)).collect();
    kinds.sort();
    kinds
}

#[test]
fn certbot_keeps_old_ones_and_holds_the_one_that_live_points_at() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (number, day) in [(1, 0), (2, 60)] {
        let pem = issue(number, &["example.com", "www.example.com"], day).pem;
        write(root, &format!("archive/example.com/cert{number}.pem"), &pem);
        write(root, &format!("archive/example.com/chain{number}.pem"), &LETS_ENCRYPT.pem);
        write(root, &format!("archive/example.com/fullchain{number}.pem"), format!("{pem}{}", LETS_ENCRYPT.pem));
        write(root, &format!("archive/example.com/privkey{number}.pem"), KEY);
    }
    write(root, "live/README", "This directory contains your keys and certificates.\n");
    write(root, "renewal/example.com.conf", "version = 2.11.0\n");
    let expected = |held: [&str; 2]| {
        [
            format!("01 example.com www.example.com: Sct 2026-12-01T00:00:00.500Z{}", held[0]),
            format!("02 example.com www.example.com: Sct 2027-01-30T00:00:00.500Z{}", held[1]),
        ]
    };
    // Without `live`, the last one.
    assert_eq!(told(&read(&root.join("archive"))), expected(["", " held"]));
    fs::create_dir_all(root.join("live/example.com")).unwrap();
    for name in ["cert", "chain", "fullchain", "privkey"] {
        let target = format!("../../archive/example.com/{name}1.pem");
        symlink(target, root.join(format!("live/example.com/{name}.pem"))).unwrap();
    }
    // Somebody has gone back to the first one.
    let imported = read(root);
    assert_eq!(told(&imported), expected([" held", ""]));
    assert_eq!(told(&read(&root.join("archive"))), expected([" held", ""]));
    assert_eq!((imported.counts.entries, imported.counts.duplicates, imported.counts.authorities), (6, 4, 6));
    assert!(imported.sources.iter().all(|source| source.kind == Kind::Certbot), "{:?}", imported.sources);
    assert_eq!(broken(&imported), [""; 0]);
}

#[test]
fn every_client_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let pem = |serial, name| issue(serial, &[name], i64::from(serial)).pem;
    let chain = &LETS_ENCRYPT.pem;
    write(root, "lego/certificates/_.a.example.com.crt", format!("{}{chain}", pem(1, "*.a.example.com")));
    write(root, "lego/certificates/_.a.example.com.issuer.crt", chain);
    write(
        root,
        "lego/certificates/_.a.example.com.json",
        r#"{"domain":"*.a.example.com","certUrl":"https://example.com"}"#,
    );
    write(root, "lego/certificates/_.a.example.com.key", KEY);
    write(root, "acme.sh/b.example.com_ecc/b.example.com.cer", pem(2, "b.example.com"));
    write(root, "acme.sh/b.example.com_ecc/fullchain.cer", format!("{}{chain}", pem(2, "b.example.com")));
    write(root, "acme.sh/b.example.com_ecc/ca.cer", chain);
    write(root, "acme.sh/b.example.com_ecc/b.example.com.conf", "Le_Domain='b.example.com'\n");
    let caddy = "caddy/certificates/acme-v02.api.letsencrypt.org-directory/c.example.com/c.example.com";
    write(root, &format!("{caddy}.crt"), format!("{}{chain}", pem(3, "c.example.com")));
    write(root, &format!("{caddy}.json"), r#"{"sans":["c.example.com"],"issuer_data":{"url":"https://example.com"}}"#);
    write(root, &format!("{caddy}.key"), KEY);
    write(root, "nginx/bundle.pem", format!("{KEY}{}{chain}{}", pem(4, "d.example.com"), pem(5, "e.example.com")));
    write(root, "other/f.der", issue(6, &["f.example.com"], 6).der);
    // What stands nowhere in particular is no accident either: a link that leads back, and a file of no use.
    symlink("..", root.join("nginx/back")).unwrap();
    write(root, "nginx/nginx.conf", "server {}\n");
    let imported = read(root);
    let expected: Vec<_> = ["*.a", "b", "c", "d", "e", "f"]
        .iter()
        .zip(1..)
        .map(|(label, day)| format!("{day:02} {label}.example.com: Sct 2026-12-{:02}T00:00:00.500Z held", day + 1))
        .collect();
    assert_eq!(told(&imported), expected);
    assert_eq!(broken(&imported), [""; 0]);
    let with_entries: Vec<_> = kinds(&imported).into_iter().filter(|(_, entries)| *entries > 0).collect();
    let one_each =
        [(Kind::Pem, 2), (Kind::Der, 1), (Kind::Lego, 1), (Kind::AcmeSh, 1), (Kind::AcmeSh, 1), (Kind::Caddy, 1)];
    assert_eq!(with_entries, one_each);
}

#[test]
fn secrets_of_kubernetes_are_read_one_or_many() {
    let secret = |name: &str, kind: &str, pem: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name, "namespace": "web"},
            "data": {"tls.crt": BASE64.encode(pem.as_bytes()), "tls.key": BASE64.encode(KEY.as_bytes())}})
    };
    let tls = |name, serial| {
        secret(name, "kubernetes.io/tls", &format!("{}{}", issue(serial, &["a.example.com"], 0).pem, LETS_ENCRYPT.pem))
    };
    let mut torn = tls("torn", 9);
    torn["data"]["tls.crt"] = "LS0*".into();
    let mut empty = tls("empty", 9);
    empty["data"]["tls.crt"] = "".into();
    let items = [
        tls("one", 1),
        secret("opaque", "Opaque", "x"),
        torn,
        empty,
        secret("text", "kubernetes.io/tls", "x"),
        tls("two", 2),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}});
    let one = tls("three", 3);
    let imported = import_files(&[
        ("list.json", serde_json::to_string_pretty(&list).unwrap().as_bytes()),
        ("one.json", one.to_string().as_bytes()),
    ]);
    let serials: Vec<_> = imported.issuances.iter().map(|issuance| issuance.serial.to_string()).collect();
    assert_eq!(serials, ["01", "02", "03"]);
    assert_eq!(kinds(&imported), [(Kind::Kubernetes, 1), (Kind::Kubernetes, 2)]);
    assert!(imported.issuances.iter().all(|issuance| issuance.held));
    let expected = [
        "list.json: web/torn: is no base64",
        "list.json: web/empty: holds no certificate: `tls.crt` is empty or missing",
        "list.json: web/text: holds no certificate: `certificate` is empty or missing",
    ];
    assert_eq!(broken(&imported), expected);
}

#[test]
fn all_versions_of_traefik_are_read() {
    let chain =
        |serial, name| BASE64.encode(format!("{}{}", issue(serial, &[name], 0).pem, LETS_ENCRYPT.pem).as_bytes());
    let third = json!({
        "letsencrypt": {"Account": {"Email": "a@example.com"}, "Certificates": [
            {"domain": {"main": "a.example.com"}, "certificate": chain(1, "a.example.com"), "key": "", "Store": "default"},
            {"domain": {"main": "b.example.com"}, "certificate": "", "key": "", "Store": "default"}]},
        "unused": {"Account": null, "Certificates": null}});
    let first = json!({"Account": {}, "Certificates": [
        {"Domain": {"Main": "c.example.com", "SANs": null}, "Certificate": chain(3, "c.example.com"), "Key": ""}],
        "HTTPChallenges": {}, "TLSChallenges": {}});
    let oldest = json!({"Email": "a@example.com", "Registration": {}, "PrivateKey": "", "DomainsCertificate": {"Certs": [
        {"Domains": {"Main": "d.example.com", "SANs": null},
         "Certificate": {"Domain": "d.example.com", "CertURL": "", "PrivateKey": "", "Certificate": chain(4, "d.example.com")}}]}});
    let imported = import_files(&[
        ("3.json", serde_json::to_string_pretty(&third).unwrap().as_bytes()),
        ("1.json", first.to_string().as_bytes()),
        ("0.json", oldest.to_string().as_bytes()),
    ]);
    let serials: Vec<_> = imported.issuances.iter().map(|issuance| issuance.serial.to_string()).collect();
    assert_eq!(serials, ["01", "03", "04"]);
    assert_eq!(kinds(&imported), [(Kind::Traefik1, 1), (Kind::Traefik1, 1), (Kind::Traefik, 1)]);
    let expected = ["3.json: letsencrypt certificate 2: holds no certificate: `certificate` is empty or missing"];
    assert_eq!(broken(&imported), expected);
}

fn check_time(wanted: &Wanted, certainty: Certainty, issued_at: &str) {
    let imported = import_files(&[("cert.der", &LETS_ENCRYPT.issue(wanted).der)]);
    let [issuance] = &imported.issuances[..] else { panic!("{imported:?}") };
    assert_eq!((issuance.certainty, issuance.issued_at.to_string().as_str()), (certainty, issued_at));
    assert_eq!(issuance.not_before.to_string(), "2026-11-30T23:00:00Z");
    assert_eq!(issuance.not_after.unwrap().to_string(), "2027-02-28T22:59:59Z");
}

#[test]
fn the_latest_sct_tells_when_it_was_issued() {
    let with = wanted(1, &["example.com"], 0);
    check_time(&with, Certainty::Sct, "2026-12-01T00:00:00.500Z");
    check_time(&Wanted { scts: Vec::new(), ..with }, Certainty::Backdated, "2026-12-01T00:00:00Z");
}

#[test]
fn names_of_all_kinds_are_the_set() {
    let all = ["example.com", "*.example.com", "xn--bcher-kva.example.com", "8.8.8.8", "2606:4700::1"];
    let imported = import_files(&[("cert.pem", issue(1, &all, 0).pem.as_bytes())]);
    let expected = "*.example.com example.com xn--bcher-kva.example.com 2606:4700::1 8.8.8.8";
    assert_eq!(super::names(&imported.issuances[0]), expected);
    assert!(imported.issuances[0].ari_id().unwrap().ends_with(".AQ"));
}

#[test]
fn other_cas_are_left_out_and_counted() {
    let order = wanted(1, &["example.com"], 0);
    let other = Ca::new("Other CA", "X1").issue(&order).pem;
    // Its names may be anything: they are none of ours.
    let internal = Ca::new("Internal", "X1").issue(&wanted(1, &["intranet"], 0)).pem;
    let staging = Ca::new("Let's Encrypt", "(STAGING) Baloney Bulgur YE2").issue(&order).pem;
    let files = [("a.pem", other.as_bytes()), ("b.pem", internal.as_bytes()), ("c.pem", staging.as_bytes())];
    let imported = import_files(&files);
    assert_eq!((imported.issuances.len(), imported.counts.other_issuers, broken(&imported).len()), (0, 3, 0));
}

#[test]
fn what_is_broken_is_told_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let good = issue(1, &["example.com"], 0);
    write(root, "a.pem", good.pem.replace("MII", "M*I"));
    write(root, "b.pem", format!("{}\n-----BEGIN CERTIFICATE-----\nMIIB\n", KEY));
    let truncated = &good.der[..good.der.len() / 2];
    write(root, "c.der", truncated);
    write(root, "d.pem", issue(2, &["under_score.example.com"], 0).pem);
    write(root, "e.pem", issue(3, &["example.invalid"], 0).pem);
    write(root, "f.pem", issue(4, &[], 0).pem);
    write(root, "g.der", [&good.der[..], b"\n"].concat());
    symlink("nowhere", root.join("h.pem")).unwrap();
    write(root, "z.pem", &good.pem);
    let imported = read(root);
    assert_eq!(told(&imported), ["01 example.com: Sct 2026-12-01T00:00:00.500Z held"]);
    let broken: Vec<_> =
        broken(&imported).iter().map(|line| line.replace(&format!("{}/", root.display()), "")).collect();
    let (io, others) = broken.split_last().unwrap();
    let expected = [
        "a.pem:1: is no base64",
        "b.pem:5: a PEM block is opened here and never closed",
        "c.der: is no certificate: it ends too early, or is torn",
        "d.pem:1: has the name `under_score.example.com`, which holds an underscore, which the CA refuses in a hostname",
        "e.pem:1: has the name `example.invalid`, which is or ends in no suffix of the Public Suffix List's ICANN section, so no public CA may issue for it",
        "f.pem:1: names no host: there is no subject alternative name that is a DNS name or an IP address",
        "g.der: has bytes after the certificate",
    ];
    assert_eq!(others, expected);
    assert!(io.starts_with("h.pem: can't be read: "), "{io}");
}

#[test]
fn what_is_named_has_to_be_something() {
    assert!(import::read(&["/nowhere".into()], &options()).is_err());
    assert!(import::read(&["-".into(), "-".into()], &options()).is_err());
    let files: [(&str, &[u8]); 5] = [
        ("a", b"hello"),
        ("b", b"\x1f\x8b\x08\x00"),
        ("c", b"\xff\xfeh\x00"),
        ("d", br#"{"hello": 1}"#),
        ("e", b"hostname\nexample.com\n"),
    ];
    let unknown = "is neither certificates (PEM, DER), nor Kubernetes secrets, an `acme.json`, a search of crt.sh or Cert Spotter, nor a CSV of issuances";
    let expected = [
        format!("a: {unknown}"),
        "b: is packed (gzip): unpack it first".to_owned(),
        "c: is UTF-16: save it as UTF-8".to_owned(),
        format!("d: {unknown}"),
        format!("e: {unknown}"),
    ];
    assert_eq!(broken(&import_files(&files)), expected);
}
