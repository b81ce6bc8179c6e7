//! Processes that are killed while they order, and stores that can't be written: nothing is lost, and nothing comes twice.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::answers::Broken;
use crate::servers::process::{Process, wait, wait_until};
use crate::world::{Ran, World, read};

const ORDERS: usize = 30;

fn inventory(count: usize) -> String {
    (0..count).fold("hostname\n".to_owned(), |mut text, index| {
        writeln!(text, "www.example{index:02}.com").unwrap();
        text
    })
}

/// Every set of names has one certificate, which is valid and has its key, and the CA has issued no other.
#[track_caller]
fn all_is_there(world: &World, count: usize) {
    let certificates = world.certificates();
    assert_eq!((certificates.len(), world.issued()), (count, count));
    assert!(certificates.iter().all(|of| of["kept"] == 1), "{certificates:?}");
    assert_eq!(world.open_orders(), Vec::<String>::new());
    for index in 0..count {
        let left = world.left("CertificatesPerDomain", &format!("example{index:02}.com"));
        assert!(left.is_some_and(|left| left < 50), "example{index:02}.com: {left:?}");
    }
}

#[test]
fn killed_at_random_moments() {
    let world = World::plain();
    world.plan(&inventory(ORDERS), &[]);
    let mut kills = Vec::new();
    let listen = world.listen();
    // Orders that were lost are tried again after a minute of the ledger's time.
    let arguments = ["--http-listen", &listen, "--speed", "20", "--concurrency", "4"];
    let moment = || getrandom::u64().unwrap() % 1_500;
    let ended = (0..60).find_map(|_| {
        let mut process = Process::start(world.issue_command(&arguments), world.folder.path(), "killed");
        let millis = 150 + moment();
        match process.code_within(Duration::from_millis(millis)) {
            Some(code) => Some((code, process.said())),
            None => {
                process.kill();
                kills.push(millis);
                None
            }
        }
    });
    assert!(ended.as_ref().is_some_and(|(code, _)| *code == 0), "{kills:?}: {ended:?}");
    assert!(kills.len() >= 2, "it was too quick to be killed: {kills:?}");
    assert!(world.ordered() <= ORDERS + kills.len(), "{} orders, {kills:?}", world.ordered());
    all_is_there(&world, ORDERS);
}

/// One order at a time is in the hands of nobody but the CA, however many are under way.
#[test]
fn killed_while_new_orders_are_on_their_way() {
    let broken = Broken::start();
    let world = &broken.world;
    world.plan(&inventory(10), &[]);
    broken.rule(json!([["/order-plz", "slow", 10]]));
    let listen = world.listen();
    let mut process = Process::start(world.issue_command(&["--http-listen", &listen]), world.folder.path(), "killed");
    wait_until("no order is made", || world.ordered() > 0);
    wait(Duration::from_millis(300));
    process.kill();
    broken.rule(json!([]));
    world.issue(&["--speed", "100"]).issued(10);
    assert!(world.ordered() <= 11, "{} orders", world.ordered());
    all_is_there(world, 10);
}

/// The next start that has a command runs it after the certificates that were in the store by then, also that which was cut off.
#[test]
fn killed_before_the_deploy_command_has_run() {
    let world = World::plain();
    world.plan(&inventory(2), &[]);
    let slow = world.script("slow", "touch begun; until [ -e go ]; do sleep 0.1; done");
    let command = world.issue_command(&["--http-listen", &world.listen(), "--deploy", &slow]);
    let mut process = Process::start(command, world.folder.path(), "killed");
    // All orders are settled, and the first command runs.
    let files = || fs::read_dir(world.path("store/orders/1")).into_iter().flatten().flatten();
    let left = || files().map(|file| file.file_name()).filter(|name| name != ".lock").collect::<Vec<_>>();
    let waiting = || left().iter().filter(|name| name.to_str().unwrap().ends_with(".deploy")).count();
    wait_until("two are to be deployed", || world.path("begun").exists() && (left().len(), waiting()) == (2, 2));
    process.kill();
    fs::write(world.path("go"), "").unwrap();

    world.issue(&[]).issued(0);
    assert_eq!(waiting(), 2, "there was no command");
    // A third waits of a certificate that was removed since.
    fs::write(
        world.path("store/orders/1/0123456789abcdef0123.deploy"),
        "{\"certpace_deploy\":1,\"names\":[\"gone.example.com\"]}",
    )
    .unwrap();
    let deploy = world.script("deploy", "echo \"$CERTPACE_NAMES\" >> deployed; test -f \"$CERTPACE_LIVE/privkey.pem\"");
    let listen = world.listen();
    let renew = ["renew", "--http-listen", &listen, "--deploy", &deploy];
    for first in [true, false] {
        let ran = world.wait_for(world.ordering(&renew)).issued(0);
        assert!(!ran.said.contains("ended with"), "{ran:?}");
        assert_eq!(ran.said.contains("gone.example.com was removed"), first, "{ran:?}");
    }
    let deployed = read(&world.path("deployed"));
    let mut deployed: Vec<_> = deployed.lines().collect();
    deployed.sort_unstable();
    assert_eq!(deployed, ["www.example00.com", "www.example01.com"]);
    all_is_there(&world, 2);
}

/// What the CA has issued and the disk did not take is fetched by the next start: it is not ordered again.
#[track_caller]
fn finished_by_the_next(world: &World, first: &Ran, why: &str) {
    assert_eq!(first.code, Some(1), "{first:?}");
    assert!(first.said.contains("store/certificates") && first.said.contains(why), "{}", first.said);
    assert!(world.issued() > 0, "{first:?}");
    let next = world.issue(&[]);
    assert_eq!(next.ended(), (Some(0), Some(2)), "{next:?}");
    assert_eq!(world.ordered(), 2);
    all_is_there(world, 2);
}

/// A file is where the folder of certificates should be: that is seen before anything is ordered.
#[test]
fn a_store_that_is_no_folder() {
    let world = World::plain();
    world.plan(&inventory(2), &[]);
    let certificates = world.path("store/certificates");
    fs::write(&certificates, "").unwrap();
    let ran = world.issue(&[]);
    assert!(ran.code == Some(1) && ran.said.contains("store/certificates"), "{ran:?}");
    assert_eq!(world.ordered(), 0);
    fs::remove_file(&certificates).unwrap();
    world.issue(&[]).issued(2);
}

/// Where a test may mount something for itself, as in `tests/gate/full_disk.rs`.
#[test]
fn disks_that_are_full_or_read_only() {
    let unshare = ["unshare", "--mount", "--map-root-user"];
    let mounts = Command::new(unshare[0]).args(&unshare[1..]).args(["mount", "-t", "tmpfs", "none", "/mnt"]).status();
    if !mounts.is_ok_and(|status| status.success()) {
        return;
    }
    // No file can be made where there is no more than the folder's own inode.
    for (option, why) in [("nr_inodes=1", "No space left on device"), ("ro", "Read-only file system")] {
        let world = World::plain();
        world.plan(&inventory(2), &[]);
        fs::create_dir(world.path("store/certificates")).unwrap();
        let issue = world.issue_command(&["--http-listen", &world.listen()]);
        let mut command = Command::new(unshare[0]);
        command.args(&unshare[1..]).args([
            "sh",
            "-c",
            "mount -t tmpfs -o \"$0\" none store/certificates && exec \"$@\"",
            option,
        ]);
        command.arg(issue.get_program()).args(issue.get_args()).current_dir(world.folder.path());
        command.envs(issue.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = world.wait_for(command);
        finished_by_the_next(&world, &ran, why);
    }
}
