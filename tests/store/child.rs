//! A process of its own that orders and saves: this binary, called so that it runs one test which does that.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use certpace::issuer::request::{KeyType, key};
use certpace::issuer::store::{Notes, OpenOrder, Slot, Stage, Store, StoreError};

use super::made;

/// Where the process finds the store.
const STORE: &str = "CERTPACE_TEST_STORE";
/// How many orders it makes.
const ROUNDS: &str = "CERTPACE_TEST_ROUNDS";

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// Not a test of its own: the worker that tests start and kill.
#[test]
fn child() {
    let Ok(root) = std::env::var(STORE) else { return };
    let rounds = std::env::var(ROUNDS).unwrap().parse().unwrap();
    if let Err(error) = work(Path::new(&root), rounds) {
        say(&format!("failed: {error}"));
    }
}

fn work(root: &Path, rounds: u64) -> Result<(), StoreError> {
    let store = Store::open(root)?;
    let slot = store.slot()?;
    say(&format!("slot {}", slot.holder()));
    // What was begun is brought to its end first.
    for order in slot.open_orders()? {
        finish(&store, &slot, order)?;
    }
    for round in 0..rounds {
        let names = made::names(made::SETS[usize::try_from(round % 4).unwrap()]);
        let order = made::order(&format!("{}-{round}", std::process::id()), &names);
        slot.write(&order)?;
        say(&format!("ordered {}", order.permit));
        finish(&store, &slot, order)?;
    }
    Ok(())
}

/// From the order to its end, whatever was done of it.
fn finish(store: &Store, slot: &Slot, order: OpenOrder) -> Result<(), StoreError> {
    let key = match slot.key(&order.permit)? {
        Some(key) => key,
        None => {
            let key = key(KeyType::P256).unwrap();
            slot.write_key(&order.permit, &key)?;
            key
        }
    };
    say(&format!("keyed {}", order.permit));
    slot.write(&OpenOrder { stage: Stage::Finalizing, ..order.clone() })?;
    let chain = made::chain(&order.names, &key);
    let saved = store.save(&made::issued(&order, &key, &chain))?;
    say(&format!("saved {} {:04} {}", saved.folder.file_name().unwrap().display(), saved.version, order.permit));
    store.note(&order.names, &Notes { failures: saved.version, ..Notes::default() })?;
    say(&format!("ending {}", order.permit));
    slot.end(&order.permit)?;
    say(&format!("ended {}", order.permit));
    Ok(())
}

/// `binary`, which is this one, as a worker on the store in `root`, by way of `wrapper`.
pub(super) fn command(binary: &Path, root: &Path, rounds: u64, wrapper: &[&str]) -> Command {
    let mut words = wrapper.iter().map(std::ffi::OsStr::new).chain([binary.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", "child::child", "--nocapture", "--test-threads=1"]);
    command.env(STORE, root).env(ROUNDS, rounds.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}
