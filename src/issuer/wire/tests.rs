//! A CA that answers as it is told, one answer for each request, and what becomes of each.

use std::sync::{Arc, Mutex};

use data_encoding::BASE64URL_NOPAD;
use instant_acme::{Identifier, NewOrder};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{AcmeError, Seen, Session, Wire};
use crate::issuer::key::{AccountKey, KeyKind};
use crate::limits::Policy;
use crate::time::Span;
use crate::tls::Trust;

const ORDER: &str = r#"{"status":"pending","authorizations":[],"finalize":"http://x/finalize"}"#;
const HTML: &str = "<html>\n<h1>Sorry</h1>";

/// What it does with a request.
enum Reply {
    /// Answers: the status line, headers, the body.
    Answer(&'static str, &'static str, &'static str),
    /// Reads it, and hangs up.
    Cut,
    /// Hangs up in the middle of the answer.
    Half,
}

/// A CA on loopback; `asked` has what it was sent, but for its directory.
struct Ca {
    directory: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Ca {
    /// Answers with `replies` after its directory, and then hangs up.
    async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let directory = json!({
            "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/order"), "renewalInfo": format!("{base}/ari"),
        });
        let asked = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let notes = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut replies = replies.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                // A connection for each request: nothing depends on which is used.
                let Some((line, body)) = read(&mut stream).await else { continue };
                if line.starts_with("GET /directory") {
                    answer(&mut stream, "200 OK", "", &directory.to_string()).await;
                    continue;
                }
                notes.lock().unwrap().push((line, body));
                match replies.next() {
                    Some(Reply::Answer(status, headers, body)) => answer(&mut stream, status, headers, body).await,
                    Some(Reply::Half) => {
                        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 99\r\n\r\n{").await.unwrap();
                    }
                    Some(Reply::Cut) | None => {}
                }
            }
        });
        Self { directory: format!("{base}/directory"), asked }
    }

    async fn wire(&self) -> Wire {
        let policy = Policy::built_in("letsencrypt").unwrap();
        Wire::open(&self.directory, &Trust::Anyone, &policy, 1).await.unwrap()
    }
}

async fn read(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4096];
        let count = stream.read(&mut more).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&more[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.to_lowercase().split("content-length: ").nth(1).and_then(|of| of.lines().next()?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some((head.lines().next()?.to_owned(), serde_json::from_str(body).unwrap_or_default()));
        }
    }
}

async fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    let _gone = stream.write_all(text.as_bytes()).await;
}

async fn session(wire: &Wire, kind: KeyKind) -> Session {
    let key = Arc::new(AccountKey::generate(kind).unwrap());
    wire.session("http://x/account/1", &key).await.unwrap()
}

/// The error of a new order that is answered so, and what was seen.
async fn new_order(reply: Reply) -> (Option<AcmeError>, Seen) {
    let ca = Ca::start(vec![Reply::Answer("200 OK", "replay-nonce: n1\r\n", ""), reply]).await;
    let session = session(&ca.wire().await, KeyKind::P256).await;
    let names = [Identifier::Dns("a.example.com".to_owned())];
    let result = session.account().new_order(&NewOrder::new(&names)).await;
    assert_eq!(session.requests(), 2, "one for a nonce");
    (result.err().map(|error| session.error(error)), session.seen())
}

async fn lost(reply: Reply, what: &str) -> Seen {
    let (error, seen) = new_order(reply).await;
    let Some(AcmeError::Lost { what: told }) = error else { panic!("{error:?}") };
    assert!(told.contains(what), "{told}");
    assert!(seen.may_have_reached);
    seen
}

#[tokio::test]
async fn an_order_whose_end_nobody_knows_is_lost() {
    lost(Reply::Cut, "connection").await;
    lost(Reply::Half, "").await;
    lost(Reply::Answer("502 Bad Gateway", "content-type: text/html\r\n", HTML), "502 Bad Gateway (text/html): <html>")
        .await;
    lost(Reply::Answer("500 Internal Server Error", "", ""), "without a body").await;
    lost(Reply::Answer("201 Created", "", ORDER), "the new order has no URL").await;
    let seen = lost(Reply::Answer("201 Created", "location: http://x/order/1\r\n", ""), "without a body").await;
    assert_eq!((seen.status, seen.location.as_deref()), (Some(201), Some("http://x/order/1")));
    lost(Reply::Answer("201 Created", "location: http://x/order/1\r\n", "[1]"), "(no content type): [1]").await;
}

#[tokio::test]
async fn an_answer_without_a_nonce_is_an_answer() {
    let (error, seen) = new_order(Reply::Answer("201 Created", "location: http://x/order/1\r\n", ORDER)).await;
    assert_eq!((error, seen.location.as_deref()), (None, Some("http://x/order/1")));
}

#[tokio::test]
async fn a_busy_ca_has_made_nothing_and_is_left_alone() {
    let ca = Ca::start(vec![
        Reply::Answer("200 OK", "replay-nonce: n1\r\n", ""),
        Reply::Answer("503 Service Unavailable", "retry-after: 3600\r\ncontent-type: text/html\r\n", HTML),
        Reply::Answer("200 OK", "replay-nonce: n2\r\n", ""),
    ])
    .await;
    let wire = ca.wire().await;
    let first = session(&wire, KeyKind::P256).await;
    let names = [Identifier::Dns("a.example.com".to_owned())];
    let error = first.account().new_order(&NewOrder::new(&names)).await.err().unwrap();
    let hour = Span::from_hours(1);
    let error = first.error(error);
    let AcmeError::Unavailable { what, retry_after } = &error else { panic!("{error:?}") };
    assert!(what.ends_with("503 Service Unavailable (text/html): <html> <h1>Sorry</h1>"), "{what}");
    assert_eq!((*retry_after, first.seen().retry_after), (Some(hour), Some(hour)));

    let second = session(&wire, KeyKind::P256).await;
    let error = second.account().new_order(&NewOrder::new(&names)).await.err().unwrap();
    let error = second.error(error);
    let AcmeError::Unavailable { retry_after: Some(left), .. } = error else { panic!("{error:?}") };
    assert!(left <= hour && left > Span::from_seconds(3_500));
    assert_eq!(second.seen(), Seen::default(), "this order has no answer of its own");
    let orders = ca.asked.lock().unwrap().iter().filter(|(line, _)| line.starts_with("POST /order")).count();
    assert_eq!(orders, 1);
}

#[tokio::test]
async fn a_limit_is_one_without_a_document_too() {
    let (error, _) = new_order(Reply::Answer("429 Too Many Requests", "retry-after: 7\r\n", "")).await;
    let detail = "the answer is 429 Too Many Requests without a body".to_owned();
    assert_eq!(error, Some(AcmeError::RateLimited { detail, retry_after: Some(Span::from_seconds(7)) }));
}

#[tokio::test]
async fn nobody_there_means_that_nothing_was_sent() {
    let ca = Ca::start(vec![Reply::Answer("200 OK", "replay-nonce: n1\r\n", "")]).await;
    let wire = ca.wire().await;
    let mut raw = wire.directory().raw.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    raw["newOrder"] = json!(format!("http://{}/order", listener.local_addr().unwrap()));
    drop(listener);
    let uri = raw["newOrder"].as_str().unwrap().parse().unwrap();
    let notes = super::Notes::default();
    let error = wire.send(hyper::Method::POST, uri, "{}".into(), &notes).await.unwrap_err();
    assert!(
        matches!(&error, AcmeError::Unavailable { what, .. } if what.ends_with("nobody listens there")),
        "{error:?}"
    );
    assert!(!notes.seen.lock().unwrap().0.may_have_reached);
}

#[tokio::test]
async fn nonces_that_are_left_over_are_used_and_bad_ones_replaced() {
    let bad = r#"{"type":"urn:ietf:params:acme:error:badNonce","detail":"old"}"#;
    let made = "location: http://x/order/1\r\nreplay-nonce: n3\r\n";
    let ca = Ca::start(vec![
        Reply::Answer("200 OK", "replay-nonce: n1\r\n", ""),
        Reply::Answer("400 Bad Request", "replay-nonce: n2\r\n", bad),
        Reply::Answer("201 Created", made, ORDER),
        Reply::Answer("201 Created", made, ORDER),
    ])
    .await;
    let wire = ca.wire().await;
    let names = [Identifier::Dns("a.example.com".to_owned())];
    for _ in 0..2 {
        let session = session(&wire, KeyKind::P256).await;
        session.account().new_order(&NewOrder::new(&names)).await.unwrap();
    }
    let asked = ca.asked.lock().unwrap();
    let nonces: Vec<_> = asked.iter().map(|(_, body)| header(body)["nonce"].clone()).collect();
    assert_eq!(nonces, [Value::Null, json!("n1"), json!("n2"), json!("n3")]);
}

/// What is protected in a signed message.
fn header(body: &Value) -> Value {
    let header = body["protected"].as_str().unwrap_or_default();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(header.as_bytes()).unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn a_key_that_the_library_does_not_know_signs_its_messages() {
    let made = "location: http://x/order/1\r\n";
    let replies = vec![Reply::Answer("200 OK", "replay-nonce: n1\r\n", ""), Reply::Answer("201 Created", made, ORDER)];
    let ca = Ca::start(replies).await;
    let key = Arc::new(AccountKey::generate(KeyKind::P384).unwrap());
    let session = ca.wire().await.session("http://x/account/1", &key).await.unwrap();
    let names = [Identifier::Dns("a.example.com".to_owned())];
    session.account().new_order(&NewOrder::new(&names)).await.unwrap();

    let (_, body) = ca.asked.lock().unwrap()[1].clone();
    let of = |name: &str| body[name].as_str().unwrap().to_owned();
    let expected = json!({ "alg": "ES384", "kid": "http://x/account/1", "nonce": "n1",
        "url": ca.directory.replace("directory", "order") });
    assert_eq!(header(&body), expected);
    let point = ["x", "y"].map(|name| BASE64URL_NOPAD.decode(key.jwk()[name].as_str().unwrap().as_bytes()).unwrap());
    let public = [&[4], &point[0][..], &point[1]].concat();
    let message = format!("{}.{}", of("protected"), of("payload"));
    let signature = BASE64URL_NOPAD.decode(of("signature").as_bytes()).unwrap();
    let verified = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public).verify(message.as_bytes(), &signature);
    assert!(verified.is_ok());
    assert_eq!(session.key_authorization("token"), format!("token.{}", key.thumbprint()));
}

#[tokio::test]
async fn renewal_information_is_read_or_told() {
    let window =
        r#"{"suggestedWindow":{"start":"2027-01-02T00:00:00Z","end":"2027-01-03T00:00:00Z"},"explanationURL":"x"}"#;
    let ca = Ca::start(vec![
        Reply::Answer("200 OK", "retry-after: 21600\r\n", window),
        Reply::Answer("200 OK", "", r#"{"suggestedWindow":{}}"#),
        Reply::Answer(
            "200 OK",
            "",
            r#"{"suggestedWindow":{"start":"2027-01-02T00:00:00Z","end":"2027-01-01T00:00:00Z"}}"#,
        ),
        Reply::Answer("404 Not Found", "", r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"no such"}"#),
        Reply::Answer("500 Internal Server Error", "retry-after: 60\r\n", HTML),
        Reply::Cut,
    ])
    .await;
    let wire = ca.wire().await;
    let answer = wire.renewal_info("a.b").await.unwrap();
    assert_eq!((answer.retry_after, answer.explanation.as_deref()), (Some(Span::from_hours(6)), Some("x")));
    assert_eq!(answer.window.end.since(answer.window.start), Span::from_days(1));
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(wire.renewal_info("a.b").await.unwrap_err());
    }
    for told in &told[..2] {
        assert!(
            matches!(told, AcmeError::Problem { detail, .. } if detail.contains("makes no sense: the answer is 200 OK")),
            "{told:?}"
        );
    }
    assert!(matches!(&told[2], AcmeError::Problem { status: 404, .. }), "{told:?}");
    assert!(matches!(&told[3], AcmeError::Unavailable { retry_after: Some(_), .. }), "{told:?}");
    assert!(matches!(&told[4], AcmeError::Unavailable { .. }), "{told:?}");
    assert!(matches!(wire.renewal_info("../x").await, Err(AcmeError::Local { .. })));
    assert_eq!(ca.asked.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn what_is_no_directory_is_told() {
    let open = |url: String| async move {
        let policy = Policy::built_in("letsencrypt").unwrap();
        Wire::open(&url, &Trust::Anyone, &policy, 1).await.unwrap_err()
    };
    assert!(matches!(open("localhost".to_owned()).await, AcmeError::Local { .. }));
    let ca = Ca::start(vec![Reply::Answer("200 OK", "content-type: text/html\r\n", HTML)]).await;
    let error = open(ca.directory.replace("directory", "elsewhere")).await;
    assert!(error.to_string().contains("no JSON") && error.to_string().contains("<h1>Sorry"), "{error}");
}
