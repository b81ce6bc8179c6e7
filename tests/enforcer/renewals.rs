//! Renewals that the CA suggests (ARI): which are exempt, and which certificate may be replaced.

use certpace::enforce::Window;
use certpace::limits::{LimitName, Limits};
use certpace::time::Span;
use rcgen::{CertificateParams, Issuer, KeyIdMethod, KeyPair, SerialNumber};

use super::world::{Order, START, World, policy, tight};

/// A certificate for `names` and its id.
fn certificate(names: &[&str], serial: u8) -> (String, String) {
    const ISSUER: [u8; 4] = [1, 2, 3, 4];
    let mut issuer = CertificateParams::new(Vec::new()).unwrap();
    issuer.key_identifier_method = KeyIdMethod::PreSpecified(ISSUER.to_vec());
    let issuer = Issuer::new(issuer, KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    (certificate.pem(), format!("{}.{}", encode(&ISSUER), encode(&[serial])))
}

/// One order token, which is gone: only what is exempt passes.
fn spent(limits: Limits) -> World {
    let mut world = World::new(limits);
    world.order("1", &["z.example.com"]).unwrap();
    world.order("1", &["y.example.com"]).unwrap_err();
    world
}

fn one_order() -> Limits {
    tight(&[(LimitName::NewOrdersPerAccount, 1, "1000h")])
}

/// A window from `start` to `end` hours from now.
fn window(start: i64, end: i64) -> Option<Window> {
    Some((START.plus(Span::from_hours(start)), START.plus(Span::from_hours(end))))
}

fn renew(world: &mut World, id: &str, names: &[&str], window: Option<Window>) -> Result<Order, u16> {
    world.order_with("1", names, (Some(id), window), 201).map_err(|answer| answer.status)
}

#[test]
fn a_renewal_is_exempt_inside_its_window_alone() {
    let (pem, id) = certificate(&["a.example.com"], 7);
    for (at, passes) in
        [(window(-1, 1), true), (window(0, 1), true), (window(-1, 0), false), (window(1, 2), false), (None, false)]
    {
        let mut world = spent(one_order());
        world.download("1", &pem);
        assert_eq!(renew(&mut world, &id, &["a.example.com"], at).is_ok(), passes, "{at:?}");
        assert_eq!(world.enforcer.journal().counts().orders_ari, u64::from(passes));
    }
}

#[test]
fn only_the_accounts_own_certificate_with_a_name_in_common_exempts() {
    let (pem, id) = certificate(&["a.example.com"], 7);
    let mut world = spent(one_order());
    world.download("2", &pem);
    assert_eq!(renew(&mut world, &id, &["a.example.com"], window(-1, 1)).unwrap_err(), 429, "another account's");
    let mut world = spent(one_order());
    world.download("1", &pem);
    assert_eq!(renew(&mut world, &id, &["b.example.com"], window(-1, 1)).unwrap_err(), 429, "no name in common");
    assert!(renew(&mut world, &id, &["a.example.com", "b.example.com"], window(-1, 1)).is_ok());
    let mut world = spent(one_order());
    assert!(renew(&mut world, "never.seen", &["a.example.com"], window(-1, 1)).is_ok(), "the CA has its window");
}

#[test]
fn a_certificate_is_replaced_once_unless_nothing_came_of_it() {
    let (pem, id) = certificate(&["a.example.com"], 7);
    let mut world = spent(one_order());
    world.download("1", &pem);
    world.order_with("1", &["a.example.com"], (Some(&id), window(-1, 1)), 400).unwrap();
    let order = renew(&mut world, &id, &["a.example.com"], window(-1, 1)).unwrap();
    let answer = world.order_with("1", &["a.example.com"], (Some(&id), window(-1, 1)), 201).unwrap_err();
    assert_eq!((answer.status, answer.kind), (409, "alreadyReplaced"));
    assert!(answer.detail.contains("serial \"07\""), "{}", answer.detail);
    world.authorization(&order, 0, "invalid");
    let order = renew(&mut world, &id, &["a.example.com"], window(-1, 1)).unwrap();
    world.finalize(&order);
    assert_eq!(renew(&mut world, &id, &["a.example.com"], window(-1, 1)).unwrap_err(), 409);
    let verdict = world.enforcer.journal().counts();
    assert_eq!(verdict.refused, 1, "of the first order alone: a 409 is no limit");
}

#[test]
fn a_renewal_takes_its_set_token_all_the_same() {
    let mut world = World::new(tight(&[(LimitName::CertificatesPerFqdnSet, 1, "1000h")]));
    let order = renew(&mut world, "a.b", &["a.example.com"], window(-1, 1)).unwrap();
    world.finalize(&order);
    assert!(world.order("1", &["a.example.com"]).is_err());
    assert!(renew(&mut world, "c.d", &["a.example.com"], window(-1, 1)).is_ok());
}

#[test]
fn a_ca_without_renewal_information_reads_no_replaces() {
    let mut limits = policy("letsencrypt-2021");
    let one = certpace::limits::Limit::sliding_window(1, Span::from_hours(1_000)).unwrap();
    limits.policy.set_limit(LimitName::NewOrdersPerAccount, Some(one));
    let mut world = spent(limits);
    assert_eq!(renew(&mut world, "a.b", &["a.example.com"], window(-1, 1)).unwrap_err(), 429);
}
