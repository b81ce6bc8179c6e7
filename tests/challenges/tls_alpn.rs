//! tls-alpn-01, looked at by the precheck.

use std::net::SocketAddr;

use certpace::issuer::challenge::{Challenges, Kind, Settings};

use super::servers::process::free_ports;
use super::world::{World, proof, said, well};

#[tokio::test(flavor = "multi_thread")]
async fn each_name_has_its_certificate() {
    let world = World::start();
    let [port] = free_ports();
    let listen = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let challenges =
        Challenges::start(Settings { tls_alpn01: listen, tls_port: port, ..world.settings() }).await.unwrap();
    let proofs = ["a.example.com", "b.example.com", "127.0.0.1"].map(|name| proof(name, Kind::TlsAlpn01, name));
    well(challenges.set(&proofs).await);
    for proof in &proofs {
        well(vec![challenges.precheck(proof).await]);
    }
    let look = async |name, token| said(challenges.precheck(&proof(name, Kind::TlsAlpn01, token)).await).unwrap();
    let place = |name| format!("{name}: {name} port {port}");
    assert_eq!(look("a.example.com", "other").await, format!("{} shows another proof", place("a.example.com")));
    let unknown = format!("{} does not speak acme-tls/1: ", place("c.example.com"));
    assert!(look("c.example.com", "token").await.starts_with(&unknown));

    // What was set later for the same name is not another's to clear.
    well(challenges.set(&[proof("a.example.com", Kind::TlsAlpn01, "later")]).await);
    well(challenges.clear(&proofs).await);
    well(vec![challenges.precheck(&proof("a.example.com", Kind::TlsAlpn01, "later")).await]);
    assert!(look("b.example.com", "b.example.com").await.contains("does not speak acme-tls/1"));
    drop(challenges);
}
