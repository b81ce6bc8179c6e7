//! What passes and what is answered, to the byte.

use crate::proxy::Enforced;

#[test]
fn clients_see_a_ca_by_the_name_that_they_came_by() {
    let enforced = Enforced::start(&[], &["--plain", "--hostname", "acme.test"]);
    assert!(enforced.directory.starts_with("http://acme.test:"), "{}", enforced.directory);
    let answer = enforced.ask("GET", "/dir", "Host: acme.test:4711\r\n", "");
    assert_eq!(answer.json()["newOrder"], "http://acme.test:4711/order-plz");
    let nonce = enforced.ask("HEAD", "/nonce-plz", "Host: x\r\n", "");
    assert_eq!(nonce.status, 200);
    assert!(nonce.header("replay-nonce").is_some());
    assert_eq!(enforced.get("/nowhere").status, 404);
}

#[test]
fn too_many_requests_are_answered_as_the_load_balancer_does() {
    let enforced = Enforced::start(&[], &["--plain"]);
    let answers: Vec<_> = (0..200).map(|_| enforced.get("/dir")).collect();
    let busy = answers.iter().find(|answer| answer.status != 200).expect("40 a second are allowed");
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
    assert_eq!(busy.header("content-type"), Some("application/problem+json"));
    assert_eq!(busy.header("replay-nonce"), None);
    assert_eq!(
        (&busy.json()["type"], &busy.json()["detail"]),
        (&"urn:ietf:params:acme:error:rateLimited".into(), &"Service busy; retry later.".into(),)
    );
    assert_eq!(enforced.get("/nonce-plz").status, 204, "another endpoint");
}

#[test]
fn it_says_how_it_stands() {
    let enforced = Enforced::start(&[], &["--plain", "--speed", "10"]);
    enforced.get("/dir");
    assert_eq!(enforced.get("/-/health").json()["status"], "ok");
    let page = enforced.get("/-/buckets").json();
    assert_eq!((&page["speed"], &page["counts"]["requests"]), (&10.into(), &1.into()));
    assert_eq!(page["requests"][0]["path"], "/directory");
    let log = enforced.get("/-/log");
    assert_eq!(log.body.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(log.body.lines().next().unwrap()).unwrap();
    assert_eq!((&line["path"], &line["done"], &line["status"]), (&"/dir".into(), &"forwarded".into(), &200.into()));
    assert_eq!(enforced.get("/-/else").status, 404);
    assert_eq!(enforced.ask("POST", "/-/unpause?account=x", "Host: x\r\n", "").json()["unpaused"], 0);
}

#[test]
fn a_ca_that_is_gone_is_told_and_comes_back() {
    let mut enforced = Enforced::start(&[], &["--plain"]);
    enforced.pebble.server.terminate();
    let answer = enforced.get("/dir");
    assert_eq!((answer.status, answer.header("content-type")), (502, Some("application/problem+json")));
    assert!(answer.json()["detail"].as_str().unwrap().contains("can't be asked"), "{}", answer.body);
    assert_eq!(enforced.get("/-/health").status, 200);
}

#[test]
fn a_request_that_is_too_long_is_refused() {
    let enforced = Enforced::start(&[], &["--plain"]);
    // Longer by a byte, so that nothing is left unread when the answer comes.
    let answer = enforced.ask("POST", "/order-plz", "Host: x\r\n", &"x".repeat((1 << 20) + 1));
    assert_eq!(answer.status, 413);
    assert_eq!(enforced.ask("POST", "/order-plz", "Host: x\r\n", "no JWS").status, 415, "Pebble's own");
}
