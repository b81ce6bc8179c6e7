//! Certificates that nobody has asked a CA for.

use certpace::issuer::store::{Issued, OpenOrder, Stage};
use certpace::name::NameSet;
use certpace::time::Timestamp;
use rcgen::{CertificateParams, KeyPair};

/// The name sets that children order certificates for.
pub(super) const SETS: [&[&str]; 4] = [
    &["a.example.com"],
    &["*.b.example.com", "b.example.com"],
    &["2606:4700::1111"],
    &["c.example.com", "d.example.com"],
];

pub(super) fn names(set: &[&str]) -> NameSet {
    NameSet::parse(set.iter().copied()).unwrap()
}

/// A chain for `names` with that key.
pub(super) fn chain(names: &NameSet, key_pem: &str) -> String {
    let names: Vec<_> = names.identifiers().iter().map(ToString::to_string).collect();
    let key = KeyPair::from_pem(key_pem).unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 11, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 30);
    let leaf = params.self_signed(&key).unwrap().pem();
    // Longer than a certificate alone, so that the chain is what first does not fit.
    format!("{leaf}{leaf}")
}

pub(super) fn order(permit: &str, names: &NameSet) -> OpenOrder {
    OpenOrder {
        permit: permit.to_owned(),
        account: "https://ca.example/acct/1".to_owned(),
        account_name: "default".to_owned(),
        names: names.clone(),
        profile: None,
        tenant: None,
        challenge: None,
        replaces: None,
        plan: None,
        url: None,
        sent_at: None,
        stage: Stage::Sending,
    }
}

pub(super) fn issued<'a>(order: &'a OpenOrder, key_pem: &'a str, fullchain_pem: &'a str) -> Issued<'a> {
    Issued {
        names: &order.names,
        account: &order.account,
        account_name: &order.account_name,
        directory: "https://ca.example/directory",
        profile: None,
        tenant: None,
        challenge: None,
        key_pem,
        fullchain_pem,
        permit: &order.permit,
        plan: None,
        replaces: None,
        issued_at: Timestamp::from_unix_seconds(1_800_000_000),
    }
}
