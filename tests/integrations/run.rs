//! What `gate run` does around any command: signals, exit codes, output, leases, waiting, shadow mode.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::servers::process::{Process, wait, wait_until};
use crate::world::{Ended, Gated, end};

/// A script under the gate.
fn script(gated: &Gated, options: &[&str], script: &str) -> Ended {
    end(&mut gated.gate_run_script("a.example.com", options, script))
}

/// A script that runs under the gate and has begun.
fn running(gated: &Gated, options: &[&str], script: &str) -> Process {
    let script = format!("touch began; {script}");
    let process = gated.start(gated.gate_run_script("a.example.com", options, &script), "run");
    wait_until("the script does not begin", || gated.path("began").exists());
    process
}

/// A policy whose registered domains have one token each, and get it back within `seconds`.
fn one_in(seconds: u32) -> Gated {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/data/letsencrypt.toml")).unwrap();
    let mut policy: toml::Table = text.parse().unwrap();
    let of = policy["limits"]["CertificatesPerDomain"].as_table_mut().unwrap();
    of.extend([("burst".to_owned(), 1.into()), ("count".to_owned(), 1.into())]);
    of.insert("period".to_owned(), format!("{seconds}s").into());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    fs::write(&path, policy.to_string()).unwrap();
    let mut gated = Gated::new(&["--policy", path.to_str().unwrap()]);
    // It is read at each command.
    gated.keep(folder);
    gated
}

#[test]
fn exit_codes_are_handed_on_and_say_what_came_of_it() {
    let check = |options: &[&str], text: &str, code: i32, state: &str| {
        let gated = Gated::new(&[]);
        let ended = script(&gated, options, text);
        assert_eq!((ended.code, gated.states().last().unwrap().as_str()), (Some(code), state), "{text}: {ended:?}");
    };
    check(&[], "exit 0", 0, "issued");
    check(&[], "exit 5", 5, "unknown");
    check(&["--if-it-fails", "failed"], "exit 5", 5, "failed");
    check(&["--certificate", "c"], "exit 5", 5, "failed");
    check(&["--certificate", "c"], "touch c; exit 5", 5, "issued");
    check(&["--certificate", "c"], "exit 0", 0, "failed");
    check(&["--certificate", "began"], "rm -f began", 0, "failed");
    check(&[], "kill -9 $$", 137, "unknown");
    check(&["--certificate", "c"], "kill -9 $$", 137, "unknown");
    check(&[], r#"test "$(certpace 2>/dev/null; echo ${#CERTPACE_PERMIT})" = 20"#, 0, "issued");
}

#[test]
fn an_order_that_ended_well_without_a_certificate_takes_an_order_token_only() {
    let gated = Gated::new(&[]);
    assert_eq!(script(&gated, &["--certificate", "c"], "true").code, Some(0));
    let limits = ["NewOrdersPerAccount", "CertificatesPerDomain", "CertificatesPerFQDNSet"];
    assert_eq!(limits.map(|limit| gated.left(limit)), [Some(299), None, None]);
    assert_eq!(script(&gated, &["--certificate", "c"], "true").code, Some(0), "no name waits");
}

#[test]
fn a_command_that_is_not_there_gives_its_permit_back() {
    let gated = Gated::new(&[]);
    let ended = end(&mut gated.gate_run("a.example.com", &[], &Command::new("no-such-client")));
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("can't run no-such-client: No such file or directory"), "{ended:?}");
    assert_eq!((gated.states(), gated.left("CertificatesPerDomain")), (vec!["failed".to_owned()], None));
}

#[test]
fn output_is_handed_on_byte_for_byte() {
    let gated = Gated::new(&[]);
    let text = r"printf 'a\0\377\r'; head -c 300000 /dev/zero | tr '\0' x; printf 'err\376' >&2; printf end";
    let output = gated.gate_run_script("a.example.com", &["-q"], text).output().unwrap();
    let expected = [&b"a\0\xff\r"[..], &[b'x'; 300_000], b"end"].concat();
    assert!(output.stdout == expected, "{} bytes", output.stdout.len());
    assert_eq!(output.stderr, b"err\xfe");
}

#[test]
fn what_goes_to_one_place_stays_in_order() {
    let gated = Gated::new(&[]);
    let certpace = gated.gate_run_script(
        "a.example.com",
        &["-q"],
        "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done",
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$@" 2>&1"#, "sh"]).arg(certpace.get_program()).args(certpace.get_args());
    shell.envs(certpace.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let expected: String = (1..10).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(end(&mut shell).out, expected);
}

#[test]
fn what_a_command_leaves_running_keeps_its_output_but_not_the_permit() {
    let gated = Gated::new(&[]);
    let mut certpace = running(&gated, &[], "(sleep 3; echo late) & echo soon");
    wait_until("the ledger is not told", || gated.states() == ["issued"]);
    assert!(certpace.runs() && certpace.out() == "soon\n", "{}", certpace.said());
    assert_eq!(certpace.succeeds_within(Duration::from_secs(30)), Some(true));
    assert_eq!(certpace.out(), "soon\nlate\n");
}

#[test]
fn an_interrupt_is_handed_on_and_nobody_knows_what_came_of_it() {
    for options in [&[][..], &["--certificate", "c"], &["--wait"]] {
        let gated = Gated::new(&[]);
        let mut certpace = running(&gated, options, "trap 'echo told; exit 7' TERM; while :; do sleep 0.1; done");
        assert_eq!(certpace.terminate().code(), Some(7), "{options:?}");
        assert!(certpace.out().contains("told"), "{}", certpace.said());
        assert_eq!(gated.states(), ["unknown"]);
    }
}

#[test]
fn a_permit_is_kept_while_its_command_runs() {
    let gated = Gated::new(&[]);
    let mut certpace = running(&gated, &["--lease", "2s"], "sleep 5");
    wait(Duration::from_secs(3));
    assert_eq!(gated.states(), ["sent"]);
    assert_eq!(script(&gated, &[], "true").code, Some(8), "another holder has it in hand");
    assert_eq!(certpace.succeeds_within(Duration::from_secs(30)), Some(true));
    assert_eq!(gated.states(), ["issued"]);
}

#[test]
fn those_who_wait_all_get_their_turn() {
    let gated = one_in(3);
    assert_eq!(script(&gated, &[], "true").code, Some(0));
    let start = |name: &str| {
        let command = gated.gate_run_script(&format!("{name}.example.com"), &["--wait"], "date +%s.%N >> times");
        gated.start(command, name)
    };
    let mut waiting = ["b", "c"].map(start);
    for certpace in &mut waiting {
        assert_eq!(certpace.succeeds_within(Duration::from_secs(60)), Some(true), "{}", certpace.said());
    }
    let times = fs::read_to_string(gated.path("times")).unwrap();
    let times: Vec<f64> = times.lines().map(|line| line.parse().unwrap()).collect();
    assert!(times.len() == 2 && times[1] - times[0] >= 2.9, "{times:?}");
}

#[test]
fn a_refusal_that_is_printed_is_learned_and_who_goes_on_after_it_is_ended() {
    let said = "too many certificates (50) already issued for \\\"example.com\\\" in the last 168h0m0s, retry after \
                2100-01-01 00:00:00 UTC: see x";
    for (then, code) in [("exit 4", 4), ("while :; do sleep 0.1; done", 3)] {
        let gated = Gated::new(&[]);
        let ended = script(&gated, &[], &format!("echo \"{said}\" >&2; {then}"));
        assert_eq!((ended.code, gated.states()), (Some(code), vec!["failed".to_owned()]), "{ended:?}");
        let next = end(&mut gated.gate_run_script("b.example.com", &[], "true"));
        assert_eq!(next.code, Some(3));
        assert!(next.out.contains("not before 2100-01-01T00:00:01Z"), "{next:?}");
    }
    // Words about the past end nobody.
    let gated = Gated::new(&[]);
    let past = said.replace("2100", "2001");
    assert_eq!(script(&gated, &[], &format!("echo \"{past}\"; sleep 3; exit 0")).code, Some(0));
    assert_eq!(gated.states(), ["issued"]);
}

#[test]
fn shadow_mode_lets_pass_and_tells_how_well_it_agrees() {
    let gated = one_in(86_400);
    for (name, text) in [
        ("a", "exit 0"),
        // The gate would have said later, and the CA takes it.
        ("b", "exit 0"),
        (
            "c",
            "echo 'too many certificates (1) already issued for \"example.com\" in the last 24h0m0s, retry after 2100-01-01 00:00:00 UTC: see x'; exit 1",
        ),
    ] {
        let ended = end(&mut gated.gate_run_script(&format!("{name}.example.com"), &["--shadow"], text));
        assert_eq!(ended.code, Some(i32::from(name == "c")), "{ended:?}");
        // What it would have said, and nothing else: the output is the command's.
        assert_eq!(ended.err.contains("in earnest it would have been: later: not before "), name != "a", "{ended:?}");
        assert_eq!(ended.out.is_empty(), name != "c", "{ended:?}");
    }
    let agreement = gated.json(["ledger", "agreement"], &[]);
    let counts = ["allowed_taken", "denied_taken", "denied_refused", "allowed_refused", "open"];
    assert_eq!(counts.map(|count| agreement[count].as_u64().unwrap()), [1, 1, 1, 0, 0], "{agreement}");
    assert_eq!(
        (gated.states(), gated.left("CertificatesPerDomain")),
        (Vec::new(), None),
        "in earnest nothing was spent"
    );
}
