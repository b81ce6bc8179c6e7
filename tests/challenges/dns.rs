//! dns-01 by commands, against a DNS server that is told what to answer.

use std::fs;
use std::time::Duration;

use certpace::issuer::challenge::{Challenges, DnsHooks, Kind, Precheck, Proof, Settings};
use serde_json::json;

use super::servers::process::{free_ports, wait_until};
use super::world::{World, proof, said, well};

/// How a script talks to the server: it keeps values beside others, and clears all at once.
const SET: &str = r#"curl -sf -d "{\"host\":\"$CERTPACE_RECORD.\",\"value\":\"$CERTPACE_VALUE\"}" $DNS/set-txt"#;
const CLEAR: &str = r#"curl -sf -d "{\"host\":\"$CERTPACE_RECORD.\"}" $DNS/clear-txt"#;
const SET_ALL: &str = r#"while read -r record value; do
  curl -sf -d "{\"host\":\"$record.\",\"value\":\"$value\"}" $DNS/set-txt || exit 1
done"#;

fn hooks(set: &str, clear: &str) -> DnsHooks {
    let (set, clear) = (set.to_owned(), clear.to_owned());
    DnsHooks { set, clear, batch: false, timeout: Duration::from_secs(20), parallel: 4 }
}

/// Commands that reach the server at `$DNS`.
fn to(world: &World, hooks: DnsHooks) -> Settings {
    let with = |command: &str| format!("DNS=http://{}\n{command}", world.dns.management);
    let hooks = DnsHooks { set: with(&hooks.set), clear: with(&hooks.clear), ..hooks };
    Settings { dns01: Some(hooks), ..world.settings() }
}

/// Commands alone: nothing is looked up.
async fn alone(hooks: DnsHooks) -> Challenges {
    Challenges::start(Settings { dns01: Some(hooks), precheck: Precheck::Off, ..Settings::default() }).await.unwrap()
}

fn pair() -> [Proof; 2] {
    [proof("example.com", Kind::Dns01, "base"), proof("*.example.com", Kind::Dns01, "wild")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_its_wildcard_have_one_record_with_two_values() {
    let world = World::start();
    for hooks in [hooks(SET, CLEAR), DnsHooks { batch: true, ..hooks(SET_ALL, "cat > /dev/null") }] {
        let challenges = Challenges::start(to(&world, hooks)).await.unwrap();
        let proofs = pair();
        well(challenges.set(&proofs).await);
        for proof in &proofs {
            well(vec![challenges.precheck(proof).await]);
        }
        let other = said(challenges.precheck(&proof("example.com", Kind::Dns01, "other")).await).unwrap();
        let server = world.dns.address;
        let told = format!("example.com: _acme-challenge.example.com has other TXT values at DNS server {server}: \"");
        assert!(other.starts_with(&told), "{other}");
        well(challenges.clear(&proofs).await);
        world.tell("/clear-txt", &json!({ "host": "_acme-challenge.example.com." }));
        let gone = said(challenges.precheck(&proofs[0]).await).unwrap();
        let told =
            format!("example.com: _acme-challenge.example.com is no TXT record at DNS server {server}; wanted is");
        assert!(gone.starts_with(&told), "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_precheck_waits_for_a_record_that_comes_late() {
    let world = World::start();
    let late = format!("(sleep 1; {SET}) >/dev/null 2>&1 &");
    let settings = Settings { propagation: Duration::from_secs(20), ..to(&world, hooks(&late, CLEAR)) };
    let challenges = Challenges::start(settings).await.unwrap();
    let late = proof("late.example.com", Kind::Dns01, "token");
    well(challenges.set(std::slice::from_ref(&late)).await);
    well(vec![challenges.precheck(&late).await]);
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_followed() {
    let world = World::start();
    let challenges = Challenges::start(to(&world, hooks(SET, CLEAR))).await.unwrap();
    let at = proof("alias.example.com", Kind::Dns01, "token");
    world.tell(
        "/set-cname",
        &json!({ "host": "_acme-challenge.alias.example.com", "target": "alias.acme.example.net" }),
    );
    world.tell("/set-txt", &json!({ "host": "alias.acme.example.net.", "value": at.txt_value() }));
    well(vec![challenges.precheck(&at).await]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_told_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("told");
    let set = format!("env | grep ^CERTPACE | sort > {0}; cat >> {0}", path.display());
    let challenges = alone(hooks(&set, "true")).await;
    let [_, wildcard] = pair();
    well(challenges.set(std::slice::from_ref(&wildcard)).await);
    let told = format!(
        "CERTPACE_ACTION=set\nCERTPACE_DOMAIN=example.com\nCERTPACE_IDENTIFIER=*.example.com\nCERTPACE_RECORD=_acme-challenge.example.com\n\
         CERTPACE_TOKEN=wild\nCERTPACE_VALUE={}\n",
        wildcard.txt_value()
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), told);

    let batched = alone(DnsHooks { batch: true, ..hooks(&set, "true") }).await;
    well(batched.set(&pair()).await);
    let [base, wild] = pair().map(|proof| proof.txt_value());
    let record = "_acme-challenge.example.com";
    let told = format!("CERTPACE_ACTION=set\n{record} {base}\n{record} {wild}\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_spoils_no_other_name() {
    let script = "test $CERTPACE_DOMAIN != bad.example.com || { echo first >&2; echo no such zone >&2; exit 3; }";
    let challenges = alone(hooks(script, "exit 1")).await;
    let proofs = ["a.example.com", "bad.example.com", "b.example.com"].map(|name| proof(name, Kind::Dns01, "token"));
    let told: Vec<_> = challenges.set(&proofs).await.into_iter().map(said).collect();
    let failed =
        "bad.example.com: the command to set its TXT record failed: it ended with exit status: 3:\nfirst\nno such zone";
    assert_eq!(told, [None, Some(failed.to_owned()), None]);

    let batched = alone(DnsHooks { batch: true, ..hooks("exit 2", "true") }).await;
    let told: Vec<_> = batched.set(&proofs).await.into_iter().filter_map(said).collect();
    assert_eq!(told.len(), 3);
    let failed = "a.example.com and 2 more: the command to set its TXT record failed: it ended with exit status: 2 and said nothing on stderr";
    assert_eq!(told[0], failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let process = folder.path().join("process");
    let script = format!("sleep 600 & echo $! > {}; wait", process.display());
    let challenges = alone(DnsHooks { timeout: Duration::from_millis(500), ..hooks(&script, "true") }).await;
    let told = challenges.set(&[proof("example.com", Kind::Dns01, "token")]).await.into_iter().find_map(said);
    assert_eq!(told.unwrap(), "example.com: the command to set its TXT record failed: it was killed after 500ms");
    let stat = format!("/proc/{}/stat", fs::read_to_string(process).unwrap().trim());
    wait_until("the command's child is still there", || {
        fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_complaint_is_cut_to_its_last_lines() {
    let challenges = alone(hooks("seq 1 5000 >&2; exit 1", "true")).await;
    let told = challenges.set(&[proof("example.com", Kind::Dns01, "token")]).await.into_iter().find_map(said).unwrap();
    let lines: Vec<_> = told.lines().skip(1).collect();
    assert_eq!(lines.last(), Some(&"5000"));
    // 400 of them, but the first, of which only a part may be there.
    assert_eq!(lines.first(), Some(&"4602"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_commands_run_at_a_time_and_one_a_record() {
    let folder = tempfile::tempdir().unwrap();
    // Each counts those that run beside it, of all and of its record.
    let script = format!(
        "cd {}; mkdir -p all \"of.$CERTPACE_RECORD\"; : > all/$$; : > \"of.$CERTPACE_RECORD/$$\"; sleep 0.2
ls all | wc -l >> most; ls \"of.$CERTPACE_RECORD\" | wc -l >> most-of-one; rm all/$$ \"of.$CERTPACE_RECORD/$$\"",
        folder.path().display()
    );
    let challenges = alone(DnsHooks { parallel: 3, ..hooks(&script, "true") }).await;
    let names =
        ["a.example.com", "*.a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com"];
    well(challenges.set(&names.map(|name| proof(name, Kind::Dns01, "token"))).await);
    let most = |file| {
        let text: String = fs::read_to_string(folder.path().join(file)).unwrap();
        text.lines().map(|line| line.trim().parse::<usize>().unwrap()).max().unwrap()
    };
    assert!((2..=3).contains(&most("most")), "{}", most("most"));
    assert_eq!(most("most-of-one"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_forbid_the_ca_are_told_before_it_is_asked() {
    let world = World::start();
    let settings = Settings { ca_identities: vec!["ca.example".to_owned()], ..to(&world, hooks(SET, CLEAR)) };
    let challenges = Challenges::start(settings).await.unwrap();
    let caa = |host: &str, tag: &str, value: &str| {
        world.tell("/add-caa", &json!({ "host": host, "policies": [{ "tag": tag, "value": value }] }));
    };
    caa("example.org.", "issue", "other.example");
    caa("may.example.org.", "issue", "ca.example");
    for name in ["may.example.org", "www.may.example.org", "example.net"] {
        let at = proof(name, Kind::Dns01, "token");
        well(challenges.set(std::slice::from_ref(&at)).await);
        well(vec![challenges.precheck(&at).await]);
    }
    let told = said(challenges.precheck(&proof("www.example.org", Kind::Dns01, "token")).await).unwrap();
    let forbidden = "www.example.org: the CAA records of example.org (issue \"other.example\") don't let ca.example issue: none names it";
    assert_eq!(told, forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_looked_up_is_an_error_that_names_the_way_out() {
    let [port] = free_ports();
    let nobody = Some(([127, 0, 0, 1], port).into());
    let settings = Settings { dns_server: nobody, propagation: Duration::from_secs(1), ..Settings::default() };
    let challenges = Challenges::start(settings).await.unwrap();
    let error = challenges.precheck(&proof("example.com", Kind::Dns01, "token")).await.unwrap_err();
    assert!(error.hint().contains("--precheck off"), "{}", error.hint());
    let told = said(Err::<(), _>(error)).unwrap();
    let place = format!("TXT of _acme-challenge.example.com at DNS server 127.0.0.1:{port}");
    assert!(told.starts_with(&format!("example.com: {place} can't be looked up: ")), "{told}");
}
