//! http-01, by a listener and by files.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use certpace::issuer::challenge::{Challenges, Http01, Kind, Precheck, Settings};
use certpace::name::Identifier;
use serde_json::json;

use super::servers::process::free_ports;
use super::world::{World, exchange, proof, said, well};

fn request(address: SocketAddr, method: &str, path: &str) -> String {
    exchange(address, &format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\n\r\n"))
}

fn without_looking(http01: Http01) -> Settings {
    Settings { http01: Some(http01), precheck: Precheck::Off, ..Settings::default() }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[tokio::test(flavor = "multi_thread")]
async fn known_tokens_are_answered_on_ipv4_and_ipv6() {
    let addresses = ["127.0.0.1:0", "[::1]:0", "[::]:0"].map(|address| address.parse().unwrap());
    let challenges = Challenges::start(without_looking(Http01::Listen(addresses.to_vec()))).await.unwrap();
    let proofs = [proof("a.example.com", Kind::Http01, "tokenA"), proof("b.example.com", Kind::Http01, "tokenB")];
    well(challenges.set(&proofs).await);
    let [v4, v6, both] = challenges.http_addresses().try_into().unwrap();
    let path = "/.well-known/acme-challenge/tokenB";
    for address in [v4, v6, SocketAddr::from(([127, 0, 0, 1], both.port()))] {
        let answer = request(address, "GET", path);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: application/octet-stream\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ntokenB.thumbprint"), "{answer}");
    }
    let head = request(v4, "HEAD", path);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("content-length: 17\r\n"), "{head}");
    for unknown in ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/token", "/tokenB"] {
        assert!(request(v4, "GET", unknown).starts_with("HTTP/1.1 404"), "{unknown}");
    }
    assert!(request(v4, "POST", path).starts_with("HTTP/1.1 405"));
    let long = "x".repeat(20_000);
    assert!(request(v4, "GET", &format!("/{long}")).starts_with("HTTP/1.1 4"), "too long");
    well(challenges.clear(&proofs[1..]).await);
    assert!(request(v4, "GET", path).starts_with("HTTP/1.1 404"));
    assert!(request(v4, "GET", "/.well-known/acme-challenge/tokenA").starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv4_and_ipv6_may_have_one_port_each() {
    let [port] = free_ports();
    let addresses = ["0.0.0.0", "[::]"].map(|host| format!("{host}:{port}").parse().unwrap());
    let challenges = Challenges::start(without_looking(Http01::Listen(addresses.to_vec()))).await.unwrap();
    for host in [SocketAddr::from(([127, 0, 0, 1], port)), format!("[::1]:{port}").parse().unwrap()] {
        assert!(request(host, "GET", "/").starts_with("HTTP/1.1 404"));
    }
    drop(challenges);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told() {
    let first = Challenges::start(without_looking(Http01::Listen(vec![loopback(0)]))).await.unwrap();
    let [address] = first.http_addresses().try_into().unwrap();
    let second = Challenges::start(without_looking(Http01::Listen(vec![address]))).await;
    let error = second.unwrap_err();
    assert!(error.hint().contains("who listens there already"), "{}", error.hint());
    let told = said(Err::<(), _>(error)).unwrap();
    assert!(told.starts_with(&format!("can't listen at {address} for http-01: Address already in use")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_for_web_servers_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    for (http01, below) in [
        (Http01::Webroot(folder.path().join("web")), "web/.well-known/acme-challenge"),
        (Http01::Folder(folder.path().join("shared")), "shared"),
    ] {
        let challenges = Challenges::start(without_looking(http01)).await.unwrap();
        let good = proof("example.com", Kind::Http01, "Token-_9");
        let results = challenges.set(&[good.clone(), proof("evil.example.com", Kind::Http01, "../../passwd")]).await;
        let told: Vec<_> = results.into_iter().map(said).collect();
        let refused = "evil.example.com: the CA's token \"../../passwd\" has other characters than base64url's";
        assert_eq!(told, [None, Some(refused.to_owned())]);
        let path = folder.path().join(below).join("Token-_9");
        assert_eq!(fs::read_to_string(&path).unwrap(), "Token-_9.thumbprint");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left aside");
        well(challenges.clear(std::slice::from_ref(&good)).await);
        assert!(!path.exists());
        well(challenges.clear(&[good]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_a_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let challenges = Challenges::start(without_looking(Http01::Folder(path.clone()))).await.unwrap();
    let results = challenges.set(&[proof("example.com", Kind::Http01, "token")]).await;
    let told = results.into_iter().find_map(said).unwrap();
    assert!(told.starts_with(&format!("example.com: can't set {}/token: ", path.display())), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_precheck_sees_what_the_ca_would() {
    let world = World::start();
    let [port] = free_ports();
    let listen = Some(Http01::Listen(vec![loopback(port)]));
    let settings = Settings { http01: listen, http_port: port, ..world.settings() };
    let challenges = Challenges::start(settings).await.unwrap();
    let good = proof("www.example.com", Kind::Http01, "token");
    well(challenges.set(std::slice::from_ref(&good)).await);
    well(vec![challenges.precheck(&good).await]);
    well(vec![challenges.precheck(&proof("127.0.0.1", Kind::Http01, "token")).await]);

    let url = |name: &str, token: &str| format!("http://{name}:{port}/.well-known/acme-challenge/{token}");
    let absent = said(challenges.precheck(&proof("www.example.com", Kind::Http01, "absent")).await).unwrap();
    let wanted = "answers 404 \"\"; wanted is 200 \"absent.thumbprint\"";
    assert_eq!(absent, format!("www.example.com: {} {wanted}", url("www.example.com", "absent")));

    // IPv6 first, as the CA: nobody listens there, and IPv4 serves after all.
    world.tell("/add-aaaa", &json!({ "host": "www.example.com", "addresses": ["::1"] }));
    well(vec![challenges.precheck(&good).await]);

    world.tell("/set-servfail", &json!({ "host": "broken.example.com" }));
    let broken = said(challenges.precheck(&proof("broken.example.com", Kind::Http01, "token")).await).unwrap();
    let place = url("broken.example.com", "token");
    let told =
        format!("broken.example.com: {place} can't be reached: broken.example.com can't be looked up at DNS server");
    assert!(broken.starts_with(&told), "{broken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_where_the_ca_follows() {
    let world = World::start();
    let [port, tls_port, elsewhere] = free_ports();
    let folder = world.folder.path().join("web");
    fs::create_dir(&folder).unwrap();
    let server = world.redirecting([port, tls_port, elsewhere], &folder);
    let settings = Settings { http01: Some(Http01::Webroot(folder)), http_port: port, tls_port, ..world.settings() };
    let challenges = Challenges::start(settings).await.unwrap();
    let good = proof("old.example.com", Kind::Http01, "token");
    well(challenges.set(std::slice::from_ref(&good)).await);
    well(vec![challenges.precheck(&good).await]);
    well(vec![challenges.precheck(&proof("safe.example.com", Kind::Http01, "token")).await]);
    let loops = said(challenges.precheck(&proof("loop.example.com", Kind::Http01, "token")).await).unwrap();
    assert!(loops.ends_with("is reached by more than 10 redirects"), "{loops}");
    let away = said(challenges.precheck(&proof("away.example.com", Kind::Http01, "token")).await).unwrap();
    let told = format!(
        "redirects to http://www.example.com:{elsewhere}/, where the CA does not follow: to ports 80 and 443 only"
    );
    assert!(away.ends_with(&told), "{away}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_and_is_set_up_is_chosen() {
    let challenges = Challenges::start(without_looking(Http01::Listen(vec![loopback(0)]))).await.unwrap();
    let offered = [Kind::Dns01, Kind::Http01, Kind::TlsAlpn01];
    let name = Identifier::parse("example.com").unwrap();
    let choose = |wildcard, asked, offered: &[Kind]| challenges.choose(&name, wildcard, asked, offered);
    assert_eq!(choose(false, None, &offered).unwrap(), Kind::Http01);
    assert_eq!(choose(false, Some(Kind::Http01), &offered).unwrap(), Kind::Http01);
    let told = said(choose(true, None, &[Kind::Dns01])).unwrap();
    let wildcard =
        "*.example.com can't be validated: a wildcard takes dns-01; the CA offers dns-01, and http-01 is set up";
    assert_eq!(told, wildcard);
    assert!(said(choose(false, Some(Kind::Dns01), &offered)).unwrap().contains("dns-01 is asked for it"));
    assert!(choose(false, None, &[Kind::TlsAlpn01]).is_err());
    let address = Identifier::parse("93.184.216.34").unwrap();
    assert_eq!(challenges.choose(&address, false, None, &offered).unwrap(), Kind::Http01);
    let other = challenges.set(&[proof("example.com", Kind::Dns01, "token")]).await;
    assert_eq!(other.into_iter().find_map(said).unwrap(), "example.com: dns-01 is not set up");
}
