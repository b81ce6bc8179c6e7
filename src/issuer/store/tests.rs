//! What a store keeps, finds and refuses.

use std::fs;

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::time::Timestamp;

/// A certificate for `names` with its key, valid from that day of November 2026.
struct Made {
    names: NameSet,
    key: String,
    chain: String,
}

fn made(names: &[&str], day: u8) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 11, day);
    params.not_after = rcgen::date_time_ymd(2027, 1, 30);
    let leaf = params.self_signed(&key).unwrap().pem();
    let chain = format!("{leaf}{leaf}");
    Made { names: NameSet::parse(names.iter().copied()).unwrap(), key: key.serialize_pem(), chain }
}

impl Made {
    fn issued(&self) -> Issued<'_> {
        Issued {
            names: &self.names,
            account: "https://ca.example/acct/1",
            account_name: "default",
            directory: "https://ca.example/directory",
            profile: None,
            tenant: None,
            challenge: Some("http-01"),
            key_pem: &self.key,
            fullchain_pem: &self.chain,
            permit: "p1",
            plan: None,
            replaces: None,
            issued_at: Timestamp::parse("2026-11-23").unwrap(),
        }
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn order(permit: &str) -> OpenOrder {
    OpenOrder {
        permit: permit.to_owned(),
        account: "https://ca.example/acct/1".to_owned(),
        account_name: "default".to_owned(),
        names: NameSet::parse(["example.com"]).unwrap(),
        profile: Some("tlsserver".to_owned()),
        tenant: None,
        challenge: None,
        replaces: None,
        plan: Some(PlanOrder { plan: "ab".to_owned(), order: 7 }),
        url: None,
        sent_at: None,
        stage: Stage::Sending,
    }
}

#[test]
fn a_store_is_made_once_and_is_no_other_folder() {
    let (folder, store) = store();
    assert_eq!(Store::open(store.root()).unwrap().id(), store.id());
    assert_eq!(store.id().len(), 16);
    let other = folder.path().join("other");
    assert!(Store::find(&other).unwrap().is_none() && !other.exists());
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter.txt"), "").unwrap();
    let error = Store::open(&other).unwrap_err().to_string();
    assert!(error.ends_with("it has no store.json, and there is letter.txt in it"), "{error}");
    let error = Store::open(&folder.path().join("no/parent")).unwrap_err().to_string();
    assert!(error.contains("no/parent: No such file"), "{error}");
    fs::write(store.root().join("store.json"), r#"{"certpace_store":2,"uuid":7}"#).unwrap();
    let error = Store::open(store.root()).unwrap_err().to_string();
    assert!(error.ends_with("store.json is of version 2; this certpace reads version 1"), "{error}");
}

#[test]
fn a_certificate_is_found_by_its_names() {
    let (_folder, store) = store();
    let one = made(&["*.example.com", "example.com"], 1);
    assert_eq!(store.lineage(&one.names).unwrap(), None);
    let saved = store.save(&one.issued()).unwrap();
    assert!(saved.folder.ends_with("certificates/_.example.com-d80f9cd9"), "{saved:?}");
    assert_eq!(store.lineage(&one.names).unwrap(), Some(saved.clone()));
    assert_eq!(fs::read_to_string(saved.live().join("privkey.pem")).unwrap(), one.key);
    let file = |name: &str| fs::read_to_string(saved.live().join(name)).unwrap();
    assert_eq!(file("cert.pem") + &file("chain.pem"), file("fullchain.pem"));
    assert_eq!(store.lineage(&NameSet::parse(["example.com"]).unwrap()).unwrap(), None);
    let address = made(&["2606:4700::1111"], 1);
    store.save(&address.issued()).unwrap();
    let found: Vec<_> = store.lineages().unwrap().into_iter().map(|lineage| lineage.unwrap().names).collect();
    assert_eq!(found, [address.names, one.names]);
}

#[test]
fn the_longest_name_has_a_folder() {
    let (_folder, store) = store();
    let label = "a".repeat(63);
    let long = made(&[&format!("{label}.{label}.{label}.{}.example.com", "b".repeat(49))], 1);
    let saved = store.save(&long.issued()).unwrap();
    assert_eq!(store.lineage(&long.names).unwrap(), Some(saved));
}

#[test]
fn the_newest_is_live_and_saving_again_changes_nothing() {
    let (_folder, store) = store();
    let [first, second, late] = [2, 3, 1].map(|day| made(&["example.com"], day));
    for (of, live, versions) in [(&first, 1, 1), (&first, 1, 1), (&second, 2, 2), (&first, 2, 2), (&late, 2, 3)] {
        let saved = store.save(&of.issued()).unwrap();
        assert_eq!(saved.version, live);
        assert_eq!(fs::read_dir(saved.folder.join("archive")).unwrap().count(), versions);
    }
    let live = store.lineage(&first.names).unwrap().unwrap().live();
    assert_eq!(fs::read_to_string(live.join("privkey.pem")).unwrap(), second.key);
}

#[test]
fn what_does_not_belong_together_is_not_kept() {
    let (_folder, store) = store();
    let (one, other) = (made(&["example.com"], 1), made(&["www.example.com"], 1));
    let refused = |issued: &Issued<'_>| store.save(issued).unwrap_err();
    assert!(matches!(refused(&Issued { names: &other.names, ..one.issued() }), StoreError::OtherNames { .. }));
    assert!(matches!(refused(&Issued { key_pem: &other.key, ..one.issued() }), StoreError::OtherKey { .. }));
    assert!(matches!(refused(&Issued { key_pem: "", ..one.issued() }), StoreError::Key { .. }));
    assert!(matches!(refused(&Issued { fullchain_pem: "<html>", ..one.issued() }), StoreError::NoCertificate { .. }));
    assert_eq!(store.lineages().unwrap().len(), 0);
    assert_eq!(fs::read_dir(store.certificates()).unwrap().count(), 0);
}

#[test]
fn notes_hold_until_there_is_another_certificate() {
    let (_folder, store) = store();
    let one = made(&["example.com"], 1);
    assert!(matches!(store.note(&one.names, &Notes::default()), Err(StoreError::None { .. })));
    store.save(&one.issued()).unwrap();
    let at = Timestamp::parse("2026-12-01").unwrap();
    let notes = Notes {
        renew_at: Some(at),
        window: Some(crate::agent::Window { start: at, end: at }),
        failures: 3,
        last_error: Some(LastError { at, text: "no".to_owned() }),
        ..Notes::default()
    };
    store.note(&one.names, &notes).unwrap();
    assert_eq!(store.lineage(&one.names).unwrap().unwrap().notes, notes);
    assert_eq!(store.save(&one.issued()).unwrap().notes, notes);
    assert_eq!(store.save(&made(&["example.com"], 2).issued()).unwrap().notes, Notes::default());
}

#[test]
fn a_damaged_one_is_told_and_made_good_by_the_next() {
    let (_folder, store) = store();
    let whole = made(&["a.example.com"], 1);
    store.save(&whole.issued()).unwrap();
    let check = |break_it: &dyn Fn(&Path), message: &str| {
        let saved = store.save(&made(&["example.com"], 1).issued()).unwrap();
        break_it(&saved.folder);
        let found = store.lineages().unwrap();
        assert!(found[0].is_ok(), "{found:?}");
        let error = found[1].as_ref().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        let good = made(&["example.com"], 1);
        assert_eq!(store.save(&good.issued()).unwrap().version, saved.version + 1);
        assert_eq!(fs::read_to_string(saved.live().join("privkey.pem")).unwrap(), good.key);
    };
    check(&|folder| fs::write(folder.join("live/certificate.json"), "{").unwrap(), "certificate.json is damaged: EOF");
    check(&|folder| fs::remove_file(folder.join("live/certificate.json")).unwrap(), "is damaged: it is missing");
    check(&|folder| fs::write(folder.join("notes.json"), "{}").unwrap(), "it has no `certpace_notes`");
    let elsewhere = |folder: &Path| {
        fs::remove_file(folder.join("live")).unwrap();
        std::os::unix::fs::symlink("/elsewhere", folder.join("live")).unwrap();
    };
    check(&elsewhere, "live is damaged: it links to something else");
}

#[test]
fn slots_are_had_by_one_at_a_time() {
    let (_folder, store) = store();
    let (one, two) = (store.slot().unwrap(), store.slot().unwrap());
    assert!(one.holder().ends_with(&format!(":{}:1", store.id())), "{}", one.holder());
    assert!(two.holder().ends_with(":2"), "{}", two.holder());
    two.write(&order("p1")).unwrap();
    assert_eq!(store.orphans().unwrap().len(), 0);
    drop(two);
    let orphans = store.orphans().unwrap();
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].open_orders().unwrap(), [order("p1")]);
    assert!(store.slot().unwrap().holder().ends_with(":3"));
    drop(one);
    assert!(store.slot().unwrap().holder().ends_with(":1"));
    assert_eq!(store.open_orders().unwrap(), [order("p1")]);
}

#[test]
fn an_order_and_its_key_are_kept_until_the_end() {
    let (_folder, store) = store();
    let slot = store.slot().unwrap();
    assert!(matches!(slot.write_key("p1", "key"), Err(StoreError::NoOrder(_))));
    slot.write(&order("p1")).unwrap();
    let sent = OpenOrder { url: Some("https://ca.example/order/1".to_owned()), ..order("p1") };
    slot.write(&sent).unwrap();
    assert_eq!((slot.open_orders().unwrap(), slot.key("p1").unwrap()), (vec![sent], None));
    slot.write_key("p1", "key").unwrap();
    slot.write_key("p1", "key").unwrap();
    assert!(matches!(slot.write_key("p1", "other"), Err(StoreError::KeyExists { .. })));
    assert_eq!(slot.key("p1").unwrap().as_deref(), Some("key"));
    for _ in 0..2 {
        slot.end("p1").unwrap();
        assert_eq!((slot.open_orders().unwrap(), slot.key("p1").unwrap()), (vec![], None));
    }
    assert!(matches!(slot.write(&order("../p1")), Err(StoreError::Permit(_))));
}

#[test]
fn an_order_is_split_at_each_ca_by_itself() {
    let (_folder, store) = store();
    let names = |text: &str| NameSet::parse(text.split(' ')).unwrap();
    let split = |account: &str, of: &str, rest: &str, alone: &str| Split {
        names: names(of),
        rest: names(rest),
        alone: names(alone),
        account: account.to_owned(),
        profile: None,
        tenant: None,
        challenge: None,
        plan: Some(PlanOrder { plan: "ab".to_owned(), order: 7 }),
    };
    store.write_split(&split("one", "a.com b.com c.com", "a.com b.com", "c.com")).unwrap();
    store.write_split(&split("two", "a.com b.com", "a.com", "b.com")).unwrap();
    let found = store.parts(Some("ab")).unwrap();
    let expected = [("one", "a.com b.com"), ("one", "c.com"), ("two", "a.com"), ("two", "b.com")];
    let is_found =
        |(account, part)| found.iter().any(|(names_of, of)| of.account == account && *names_of == names(part));
    assert!(found.len() == 4 && expected.into_iter().all(is_found), "{found:?}");
    // Also where it is the same names that go the same ways.
    store.write_split(&split("three", "a.com b.com", "a.com", "b.com")).unwrap();
    assert_eq!(store.parts(Some("ab")).unwrap().len(), 6);
    assert_eq!(store.parts(None).unwrap(), []);
}

#[test]
fn what_is_still_to_be_deployed_is_found_by_the_next() {
    let (_folder, store) = store();
    let slot = store.slot().unwrap();
    let names = NameSet::parse(["example.com"]).unwrap();
    slot.write_undeployed("p1", &names).unwrap();
    assert_eq!(slot.open_orders().unwrap(), []);
    drop(slot);
    let [orphan] = &store.orphans().unwrap()[..] else { panic!("one") };
    assert_eq!(orphan.undeployed().unwrap(), [("p1".to_owned(), names)]);
    for _ in 0..2 {
        orphan.deployed("p1").unwrap();
        assert_eq!(orphan.undeployed().unwrap(), []);
    }
    assert!(orphan.is_empty().unwrap());
}

#[test]
fn what_the_killed_left_aside_is_removed() {
    let (_folder, store) = store();
    let slot = store.slot().unwrap();
    let folder = store.orders().join("1");
    slot.write(&order("p1")).unwrap();
    slot.write_key("p1", "key").unwrap();
    drop(slot);
    fs::write(folder.join(".new-x"), "half").unwrap();
    fs::write(folder.join("p0.key.pem"), "of an order that came to its end").unwrap();
    let saved = store.save(&made(&["example.com"], 1).issued()).unwrap();
    fs::create_dir(saved.folder.join("archive/.new-y")).unwrap();
    fs::write(saved.folder.join("archive/.new-y/privkey.pem"), "").unwrap();
    let slot = store.slot().unwrap();
    assert_eq!(slot.key("p1").unwrap().as_deref(), Some("key"));
    assert!(!folder.join(".new-x").exists() && !folder.join("p0.key.pem").exists());
    store.save(&made(&["example.com"], 1).issued()).unwrap();
    assert!(!saved.folder.join("archive/.new-y").exists());
}
