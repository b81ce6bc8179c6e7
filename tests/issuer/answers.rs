//! Answers of every wrong kind in the middle of an order: it ends with its certificate, and what may have been spent counts as spent.

use std::fs;
use std::process::Command;

use certpace::clock::{Clock as _, SystemClock};
use certpace::time::Span;
use serde_json::{Value, json};

use crate::servers::process::{Process, free_ports, tool};
use crate::world::{Ran, World, read};

/// Stands in front of Pebble, with its certificate, and breaks the answers that `rules.json` says: a path, what is done, how often.
const BREAKING: &str = r#"
import datetime, http.server, json, pathlib, requests, socket, ssl, sys, threading, time
port, upstream, folder = sys.argv[1:]
folder, lock, session = pathlib.Path(folder), threading.Lock(), requests.Session()

def rule(path):
    with lock:
        rules = json.loads((folder / 'rules.json').read_text())
        for rule in rules:
            if path.startswith(rule[0]) and rule[2] > 0:
                rule[2] -= 1
                (folder / 'rules.json').write_text(json.dumps(rules))
                return rule[1]

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def say(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ('content-length', 'date', 'connection', 'transfer-encoding'):
                self.send_header(name, value)
        self.send_header('Content-Length', len(body))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        rule_is = rule(self.path)
        if rule_is == 'busy':
            return self.say(503, {'Content-Type': 'text/html', 'Retry-After': '1'}, b'<html>busy</html>')
        if rule_is == 'limit':
            at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)
            detail = f'too many certificates (50) already issued for "limited.com" in the last 168h0m0s, retry after {at:%Y-%m-%d %H:%M:%S} UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-registered-domain'
            problem = {'type': 'urn:ietf:params:acme:error:rateLimited', 'detail': detail, 'status': 429}
            return self.say(429, {'Content-Type': 'application/problem+json', 'Retry-After': '5'}, json.dumps(problem).encode())
        headers = {name: self.headers[name] for name in ('Host', 'Content-Type', 'User-Agent') if name in self.headers}
        answer = session.request(self.command, upstream + self.path, data=body, headers=headers)
        headers, content = dict(answer.headers), answer.content
        if rule_is == 'cut':
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        if rule_is == 'slow':
            time.sleep(1)
        content = {'empty': b'', 'nonsense': b'{"nonsense":true}', 'html': b'<html>hello</html>'}.get(rule_is, content)
        if rule_is == 'no-replaces':
            content = json.dumps({k: v for k, v in json.loads(content).items() if k != 'replaces'}).encode()
        for name in {'no-location': ['Location'], 'no-nonce': ['Replay-Nonce']}.get(rule_is, []):
            headers.pop(name, None)
        self.say(answer.status_code, headers, content)

    do_POST = do_HEAD = do_GET

    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(('127.0.0.1', int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / 'pebble.pem', folder / 'pebble.key')
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()"#;

/// Pebble behind a proxy that breaks answers.
pub(crate) struct Broken {
    pub(crate) world: World,
    _proxy: Process,
}

impl Broken {
    pub(crate) fn start() -> Self {
        let mut world = World::bare(&json!({}), &[]);
        let [port] = free_ports();
        let mut proxy = Command::new(tool("certbot/bin/python"));
        proxy.env("REQUESTS_CA_BUNDLE", &world.pebble.root).args(["-c", BREAKING, &port.to_string()]);
        proxy.arg(world.pebble.directory.trim_end_matches("/dir")).arg(world.folder.path());
        let mut proxy = Process::start(proxy, world.folder.path(), "proxy");
        assert!(proxy.listens(&[port]), "{}", proxy.said());
        world.directory = format!("https://localhost:{port}/dir");
        let broken = Self { world, _proxy: proxy };
        broken.rule(json!([]));
        broken.world.account(&[]);
        broken
    }

    pub(crate) fn rule(&self, rules: Value) {
        fs::write(self.world.path("rules.json"), rules.to_string()).unwrap();
    }

    /// Takes a certificate for a name of its own while so many answers of a path are broken in one way. However it comes, it comes, and
    /// once; `lost`: orders of which nobody could know.
    #[track_caller]
    fn check(&self, path: &str, how: &str, times: u32, lost: usize) -> Ran {
        let world = &self.world;
        let domain = format!("{how}{}.com", path.replace(|of: char| !of.is_ascii_alphanumeric(), ""));
        let domain = domain.to_lowercase();
        let (ordered, issued) = (world.ordered(), world.issued());
        self.rule(json!([[path, how, times]]));
        world.plan(&format!("hostname\nwww.{domain}\n"), &[]);
        let ran = world.issue(&["--speed", "100"]);
        let what = format!("{path} {how}: {ran:?}");
        assert_eq!(ran.ended(), (Some(0), Some(1)), "{what}");
        assert_eq!((world.ordered() - ordered, world.issued() - issued), (1 + lost, 1), "{what}");
        assert_eq!((&ran.answer["lost"], &ran.answer["failed"]), (&json!(lost), &json!(0)), "{what}");
        let left = world.left("CertificatesPerDomain", &domain);
        assert!(left.is_some_and(|left| left + 1 + u64::try_from(lost).unwrap() <= 50), "{what}: {left:?} are left");
        assert_eq!(world.open_orders(), Vec::<String>::new(), "{what}");
        let rules: Value = serde_json::from_str(&fs::read_to_string(world.path("rules.json")).unwrap()).unwrap();
        assert_eq!(rules[0][2], json!(0), "{what}: it never came to that");
        ran
    }

    /// All that came is valid, and once.
    fn all(self, count: usize) {
        let certificates = self.world.certificates();
        assert_eq!(certificates.len(), count);
        assert!(certificates.iter().all(|of| of["kept"] == 1), "{certificates:?}");
    }
}

#[test]
fn new_orders() {
    let broken = Broken::start();
    let path = "/order-plz";
    broken.check(path, "busy", 2, 0);
    broken.check(path, "cut", 1, 1);
    broken.check(path, "no-location", 1, 1);
    // It was made, and its URL is known: it is asked for.
    broken.check(path, "empty", 1, 0);
    broken.check(path, "nonsense", 1, 0);
    broken.check(path, "html", 1, 0);
    broken.check(path, "no-nonce", 1, 0);
    broken.all(7);
}

#[test]
fn validations() {
    let broken = Broken::start();
    for path in ["/authZ/", "/chalZ/", "/my-order/"] {
        for how in ["busy", "cut", "empty", "nonsense", "html"] {
            broken.check(path, how, 1, 0);
        }
    }
    broken.all(15);
}

#[test]
fn certificates() {
    let broken = Broken::start();
    for path in ["/finalize-order/", "/certZ/"] {
        for how in ["busy", "cut", "empty", "nonsense", "html", "no-nonce"] {
            broken.check(path, how, 1, 0);
        }
    }
    broken.all(12);
}

/// The finalize is taken, its answer is lost, and so are those to the questions after it: the next finalize is refused, and no failure.
#[test]
fn a_certificate_of_which_nobody_heard() {
    let broken = Broken::start();
    broken.rule(json!([["/finalize-order/", "cut", 1], ["/my-order/", "cut", 4]]));
    broken.world.plan("hostname\nwww.example.com\n", &[]);
    let ran = broken.world.issue(&["--speed", "100"]).issued(1);
    assert_eq!(
        (&ran.answer["lost"], &ran.answer["failed"], broken.world.issued()),
        (&json!(0), &json!(0), 1),
        "{ran:?}"
    );
    broken.all(1);
}

#[test]
fn a_refusal_with_its_sentence() {
    let broken = Broken::start();
    broken.rule(json!([["/order-plz", "limit", 1]]));
    broken.world.plan("hostname\nwww.limited.com\n", &["--headroom", "0"]);
    let ran = broken.world.issue(&["--speed", "1"]).issued(1);
    assert_eq!((&ran.answer["refused"], broken.world.ordered()), (&json!(1), 1), "{ran:?}");
    assert!(
        ran.said.contains("the CA refused: too many certificates (50) already issued for \"limited.com\""),
        "{ran:?}"
    );
    // From then on the ledger knows that somebody else has spent the bucket.
    let left = broken.world.left("CertificatesPerDomain", "limited.com");
    assert!(left.is_some_and(|left| left == 0), "{left:?}");
    broken.all(1);
}

/// A CA that makes the order and does not say that it replaces anything: the order is there, and is finished.
#[test]
fn a_replacement_of_which_the_ca_says_nothing() {
    let broken = Broken::start();
    let world = &broken.world;
    world.plan("hostname\nwww.example.com\n", &[]);
    world.issue(&[]).issued(1);
    let live = fs::read_dir(world.path("store/certificates")).unwrap().next().unwrap().unwrap().path().join("live");
    let known: Value = serde_json::from_str(&read(&live.join("certificate.json"))).unwrap();
    let days = |days: i64| {
        let at = SystemClock.now().plus(Span::from_days(days));
        at.to_string().split('T').next().unwrap().to_owned()
    };
    // The CA wants it renewed now: a random time in this window is nearly always over.
    let window = json!({ "suggestedWindow": { "start": format!("{}T00:00:00Z", days(-9_000)), "end": format!("{}T00:00:00Z", days(2)) } });
    let tell = json!({ "certificate": read(&live.join("cert.pem")), "ariResponse": window.to_string() });
    fs::write(world.path("window.json"), tell.to_string()).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-fsS", "-d", "@window.json", "--cacert"]).arg(&world.pebble.root).current_dir(world.folder.path());
    assert!(curl.arg(format!("{}/set-renewal-info/", world.pebble.management)).status().unwrap().success());
    let (id, issued_at, expires_at) = (known["ari_id"].as_str().unwrap(), days(-70), days(20));
    world.plan(
        &format!("hostname,certificate,issued_at,expires_at\nwww.example.com,{id},{issued_at},{expires_at}\n"),
        &[],
    );
    broken.rule(json!([["/order-plz", "no-replaces", 1]]));
    // The plan takes the next half hour.
    let ran = world.issue(&["--speed", "1000"]).issued(1);
    assert_eq!((&ran.answer["lost"], world.ordered(), world.issued()), (&json!(0), 2, 2), "{ran:?}");
    let kept: Value = serde_json::from_str(&read(&live.join("certificate.json"))).unwrap();
    assert_eq!(kept["replaces"], json!(id));
    assert_eq!(read(&world.path("rules.json")), r#"[["/order-plz", "no-replaces", 0]]"#, "it was asked to replace one");
    assert_eq!(world.certificates()[0]["kept"], json!(2));
}
