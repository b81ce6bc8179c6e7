//! The README's five commands, with Pebble's ports as they are here.

use std::fs;
use std::process::Command;

use crate::world::World;

#[test]
fn from_an_inventory_to_certificates_in_five_commands() {
    let world = World::bare(&serde_json::json!({}), &[]);
    let readme = fs::read_to_string("README.md").unwrap();
    let block = readme[readme.find("# five.sh").unwrap()..].split("```").next().unwrap();
    let (http_port, directory) = (world.pebble.http_port.to_string(), &world.pebble.directory);
    let here = block.replace("5002", &http_port).replace("https://localhost:14000/dir", directory);
    fs::copy(&world.pebble.root, world.path("pebble.minica.pem")).unwrap();
    fs::write(world.path("five.sh"), here).unwrap();
    fs::write(world.path("names.csv"), "hostname\nwww.example.com\nwww.example.net\nwww.example.org\n").unwrap();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_certpace")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-e", "five.sh"]).current_dir(world.folder.path()).env("PATH", path);
    command.env("XDG_STATE_HOME", world.path("state")).env_remove("CERTPACE_LEDGER").env_remove("CERTPACE_STORE");
    let ran = world.wait_for(command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.said.contains("3 orders are due") && ran.said.contains("3 certificates issued"), "{}", ran.said);
    // The status has a row for each.
    let status = &ran.said[ran.said.find("3 certificates issued").unwrap()..];
    assert!(["com", "net", "org"].iter().all(|of| status.contains(&format!("www.example.{of}"))), "{}", ran.said);
    assert_eq!(world.issued(), 3);
    std::os::unix::fs::symlink(world.path("state/certpace/store"), world.path("store")).unwrap();
    assert_eq!(world.certificates().len(), 3);
}
