//! Which certificates are held, and that an inventory of them can be planned.

use std::path::Path;
use std::process::Command;

use certpace::import::{Held, Imported};
use certpace::limits::Policy;
use certpace::time::{Span, Timestamp};

use super::{ISSUED, LETS_ENCRYPT, Wanted, import, issue, wanted, write};
use crate::ca::{Ca, Made};

fn at(day: i64) -> Timestamp {
    ISSUED.plus(Span::from_days(day))
}

fn held(made: &[Made], day: i64) -> Held {
    let files: Vec<_> = made.iter().map(|made| ("cert.pem", made.pem.as_bytes())).collect();
    let Imported { issuances, broken, .. } = import(&files);
    assert_eq!(broken, []);
    Held::at(at(day), &issuances, &Policy::built_in("letsencrypt").unwrap())
}

fn check(made: &[Made], day: i64, expected: &[(&str, &str)]) -> Held {
    let held = held(made, day);
    let one = |certificate: &certpace::import::HeldCertificate| {
        let names: Vec<_> = certificate.names.identifiers().iter().map(ToString::to_string).collect();
        (names.join(" "), certificate.profile.clone().unwrap_or_default())
    };
    let found: Vec<_> = held.certificates.iter().map(one).collect();
    let found: Vec<_> = found.iter().map(|(names, profile)| (names.as_str(), profile.as_str())).collect();
    assert_eq!(found, expected);
    held
}

#[test]
fn the_newest_of_a_set_is_held_and_expired_ones_are_not() {
    let made = [issue(1, &["a.example.com"], 0), issue(2, &["a.example.com"], 60), issue(3, &["b.example.com"], -60)];
    let found = check(&made, 70, &[("a.example.com", "classic")]);
    assert_eq!((found.renewed, found.expired, found.loose.len()), (1, 1, 0));
    assert_eq!(found.certificates[0].issued_at, at(60).plus(Span::from_nanos(500_000_000)));
    // The last second of the first one's validity, and the next.
    check(&made[..1], 89, &[("a.example.com", "classic")]);
    check(&made[..1], 90, &[]);
}

#[test]
fn of_two_that_share_a_name_the_newer_is_held_and_no_name_is_lost() {
    let made = [
        issue(1, &["a.example.com", "b.example.com"], 0),
        issue(2, &["b.example.com", "c.example.com"], 1),
        issue(3, &["d.example.com"], 2),
    ];
    let found = check(&made, 10, &[("b.example.com c.example.com", "classic"), ("d.example.com", "classic")]);
    let loose: Vec<_> = found.loose.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!((loose, found.overlaps.len()), (vec!["a.example.com".to_owned()], 1));
    // Names that newer ones have between them are not lost: nothing is to be told of it.
    let all = ["a.example.com", "b.example.com"];
    let found = check(
        &[issue(1, &all, 0), issue(2, &all[..1], 1), issue(3, &all[1..], 1)],
        10,
        &[("a.example.com", "classic"), ("b.example.com", "classic")],
    );
    assert_eq!((found.renewed, found.overlaps.len()), (1, 0));
}

#[test]
fn profiles_are_told_where_they_can_be_but_one() {
    let lasting = |days, names: &[&'static str]| LETS_ENCRYPT.issue(&Wanted { days, ..wanted(1, names, 0) });
    check(&[lasting(90, &["a.example.com"])], 1, &[("a.example.com", "classic")]);
    check(&[lasting(45, &["a.example.com"])], 1, &[("a.example.com", "tlsserver")]);
    check(&[lasting(30, &["a.example.com"])], 1, &[("a.example.com", "")]);
    check(&[lasting(30, &["8.8.8.8"])], 1, &[("8.8.8.8", "shortlived")]);
}

#[test]
fn a_certificate_that_no_profile_takes_leaves_its_names() {
    let many: Vec<&'static str> = (0..101).map(|n| &*Box::leak(format!("n{n}.example.com").into_boxed_str())).collect();
    let found = check(&[issue(1, &many, 0)], 1, &[]);
    assert_eq!((found.loose.len(), found.overlaps[0].name.clone()), (101, None));
}

/// `certpace` in `folder`, on day 10: its exit code, what it answers, and what it says on stderr.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let now = at(10).to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
    let output = command.current_dir(folder).args(arguments).args(["--now", &now]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Everything at once: whatever comes out, a plan takes it.
#[test]
fn an_inventory_of_certificates_can_be_planned() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let many: Vec<&'static str> = (0..101).map(|n| &*Box::leak(format!("n{n}.example.com").into_boxed_str())).collect();
    let address = LETS_ENCRYPT.issue(&Wanted { days: 20, ..wanted(9, &["8.8.8.8", "2606:4700::1"], 1) });
    let overlapping = LETS_ENCRYPT.issue(&Wanted { days: 20, ..wanted(10, &["8.8.8.8", "8.8.4.4"], 0) });
    let made = [
        issue(1, &["a.example.com", "b.example.com"], 0),
        issue(2, &["b.example.com", "c.example.com"], 1),
        issue(3, &["*.example.org", "example.org"], -85),
        issue(4, &["*.example.org", "example.org"], -40),
        issue(5, &["xn--bcher-kva.example.com"], -100),
        issue(6, &["xn--bcher-kva.example.com"], -70),
        issue(7, &many, 0),
        address,
        overlapping,
    ];
    for (number, made) in made.iter().enumerate() {
        write(root, &format!("certs/{number}.pem"), &made.pem);
    }
    let (code, summary, warnings) = run(root, &["inventory", "from-certs", "certs", "-o", "held.csv"]);
    assert_eq!(code, Some(0), "{warnings}");
    assert!(summary.contains("7 hostnames on 4 certificates held, 103 on none"), "{summary}");
    assert!(warnings.contains("warning: left out: 2 expired certificates"), "{warnings}");
    let (code, plan, warnings) = run(root, &["plan", "held.csv", "--format", "json"]);
    assert_eq!((code, warnings.as_str()), (Some(0), ""), "{plan}");
    // To stdout it is the same, and a plan reads it from there.
    let (_, csv, _) = run(root, &["inventory", "from-certs", "certs"]);
    assert_eq!(std::fs::read_to_string(root.join("held.csv")).unwrap(), csv);
    let (_, json, _) = run(root, &["inventory", "from-certs", "certs", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), csv.lines().count() - 1);
    assert_eq!(json["held"]["certificates"], 4);
}

/// Makes the certificates of `tests/cmd/files/certs` anew: `cargo test --test import -- --ignored`.
#[test]
#[ignore = "writes into the repository"]
fn make_the_certificates_of_the_command_line_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/files/certs");
    let certbot = "good/letsencrypt/archive/example.com";
    for (number, day) in [(1, -70), (2, -10)] {
        let pem = issue(number, &["example.com", "www.example.com"], day).pem;
        write(&root, &format!("{certbot}/cert{number}.pem"), &pem);
        write(&root, &format!("{certbot}/chain{number}.pem"), &LETS_ENCRYPT.pem);
        write(&root, &format!("{certbot}/fullchain{number}.pem"), format!("{pem}{}", LETS_ENCRYPT.pem));
    }
    let caddy = "good/caddy/certificates/acme-v02.api.letsencrypt.org-directory/shop.example.org/shop.example.org";
    write(&root, &format!("{caddy}.crt"), issue(3, &["shop.example.org"], -5).pem);
    write(&root, &format!("{caddy}.json"), "{\"sans\":[\"shop.example.org\"]}\n");
    write(&root, "good/nginx/wide.pem", issue(4, &["shop.example.org", "blog.example.org"], -20).pem);
    write(&root, "good/nginx/expired.pem", issue(5, &["old.example.net"], -100).pem);
    write(&root, "good/nginx/other.pem", Ca::new("Other CA", "X1").issue(&wanted(6, &["example.edu"], 0)).pem);
    write(&root, "bad/good.pem", issue(7, &["www.example.net"], -5).pem);
    write(&root, "bad/torn.pem", "-----BEGIN CERTIFICATE-----\nMIIB*\n-----END CERTIFICATE-----\n");
    write(&root, "bad/open.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    write(&root, "none/notes.txt", "There is nothing here.\n");
    write(&root, "other/other.pem", Ca::new("Other CA", "X1").issue(&wanted(8, &["example.edu"], -5)).pem);
}
