//! Plans that go on while they are performed: `--replan` and `--follow`, against Pebble.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::servers::process::{Process, free_ports, wait_until};
use crate::world::World;

impl World {
    /// With an account, an inventory and a plan of it.
    fn planned(names: &[&str]) -> Self {
        let world = Self::plain();
        world.write_names(names);
        let ran = world.run(&["plan", "names.csv", "--names-per-cert", "1", "-o", "plan.jsonl"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        world
    }

    /// `certpace issue` of the plan, with `more`.
    fn performing(&self, more: &[&str]) -> Command {
        self.performing_at(&self.listen(), more)
    }

    /// The same, where it answers there.
    fn performing_at(&self, listen: &str, more: &[&str]) -> Command {
        self.issue_command(&[&["--http-listen", listen, "--precheck", "off"], more].concat())
    }

    fn write_names(&self, names: &[&str]) {
        let aside = self.path("names.aside");
        fs::write(&aside, format!("hostname\n{}\n", names.join("\n"))).unwrap();
        fs::rename(aside, self.path("names.csv")).unwrap();
    }

    /// The names of the certificates in the store, with how often each was issued.
    fn kept(&self) -> Vec<(String, usize)> {
        let Ok(folders) = fs::read_dir(self.path("store/certificates")) else { return Vec::new() };
        let mut found = Vec::new();
        for folder in folders.map(|folder| folder.unwrap().path()) {
            let Ok(issued) = fs::read_dir(folder.join("archive")) else { continue };
            let name = folder.file_name().unwrap().to_str().unwrap().rsplit_once('-').unwrap().0.to_owned();
            found.push((
                name,
                issued.filter(|of| !of.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.')).count(),
            ));
        }
        found.sort();
        found
    }

    /// The number and the first name of each order in the plan.
    fn orders_of(&self, plan: &str) -> Vec<(u64, String)> {
        let text = fs::read_to_string(self.path(plan)).unwrap();
        let orders = text.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
        orders.map(|order| (order["order"].as_u64().unwrap(), order["names"][0].as_str().unwrap().to_owned())).collect()
    }
}

fn once(names: &[&str]) -> Vec<(String, usize)> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

/// What is issued is not ordered again, whether the new plan is performed or the old one once more.
#[test]
fn a_plan_is_made_again_without_what_is_issued() {
    let world = World::planned(&["a.example.com", "b.example.com"]);
    let first = world.performing(&["--only", "a.example.com"]).output().unwrap();
    assert!(first.status.success(), "{first:?}");
    assert_eq!(world.kept(), once(&["a.example.com"]));
    world.write_names(&["a.example.com", "c.example.com"]);
    let stale = world.performing(&["--inventory", "names.csv"]).output().unwrap();
    let said = String::from_utf8(stale.stderr).unwrap();
    assert_eq!(stale.status.code(), Some(6), "{said}");
    assert!(said.contains("b.example.com is gone") && said.contains("no order for c.example.com"), "{said}");

    let again = world.performing(&["--inventory", "names.csv", "--replan"]).output().unwrap();
    assert!(again.status.success(), "{again:?}");
    assert_eq!(world.kept(), once(&["a.example.com", "c.example.com"]));
    let orders = [(1, "a.example.com".to_owned()), (3, "c.example.com".to_owned())];
    assert_eq!(world.orders_of("plan.jsonl"), orders);
    let nothing = world.performing(&["--inventory", "names.csv", "--replan"]).output().unwrap();
    assert!(nothing.status.success(), "{nothing:?}");
    assert_eq!(world.orders_of("plan.jsonl"), orders);
    assert_eq!(world.kept(), once(&["a.example.com", "c.example.com"]));
    // The plan before the last one is the same to the ledger.
    fs::rename(world.path("plan.jsonl.1"), world.path("plan.jsonl")).unwrap();
    let before = world.performing(&["--only", "a.example.com"]).output().unwrap();
    let report: Value = serde_json::from_slice(&before.stdout).unwrap();
    assert_eq!((&report["issued"], &report["issued_elsewhere"]), (&0.into(), &1.into()), "{report}");
    assert_eq!(world.kept(), once(&["a.example.com", "c.example.com"]));
}

#[test]
fn an_inventory_is_followed() {
    let world = World::planned(&["a.example.com"]);
    let command = world.performing(&["--inventory", "names.csv", "--follow", "--every", "1s"]);
    let mut issue = Process::start(command, world.folder.path(), "issue");
    wait_until("the first certificate", || world.kept() == once(&["a.example.com"]));
    world.write_names(&["a.example.com", "b.example.com"]);
    wait_until("that of a new name", || world.kept() == once(&["a.example.com", "b.example.com"]));
    // One that can't be planned changes nothing, and neither does one that goes away.
    world.write_names(&["_.example.com"]);
    wait_until("a warning", || issue.said().contains("the plan has not"));
    world.write_names(&["a.example.com", "c.example.com"]);
    let all = once(&["a.example.com", "b.example.com", "c.example.com"]);
    wait_until("that of the next", || world.kept() == all);
    wait_until("word that it is", || issue.said().matches("planned again").count() >= 2);
    assert!(issue.terminate().success(), "{}", issue.said());
    let report: Value = serde_json::from_str(&issue.out()).unwrap();
    assert_eq!((&report["issued"], &report["ended"]), (&3.into(), &"interrupted".into()), "{report}");
    assert_eq!(world.kept(), all);
}

/// A name that fails and is gone from the inventory is not waited for any more.
#[test]
fn a_name_that_goes_away_is_not_ordered_any_more() {
    let world = World::planned(&["a.example.com", "b.example.com"]);
    // Where the CA looks nobody answers: the orders of both fail.
    let [elsewhere] = free_ports();
    let command = world
        .performing_at(&format!("127.0.0.1:{elsewhere}"), &["--inventory", "names.csv", "--follow", "--every", "1s"]);
    let mut issue = Process::start(command, world.folder.path(), "issue");
    wait_until("failures", || {
        issue.said().matches("order 1, ").count() + issue.said().matches("order 2, ").count() >= 2
    });
    world.write_names(&["a.example.com"]);
    wait_until("a new plan", || issue.said().contains("planned again: 1 orders"));
    issue.terminate();
    let report: Value = serde_json::from_str(&issue.out()).unwrap();
    assert_eq!((&report["withdrawn"], &report["open_count"]), (&1.into(), &1.into()), "{report}");
}
