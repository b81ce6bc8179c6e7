//! An [`Enforcer`] between clients and a CA that are both made up: what they say is what real ones say on the wire.

use std::sync::LazyLock;

use certpace::enforce::{Answer, Call, Client, Endpoints, Enforcer, Moment, Reply, Step, Window};
use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy};
use certpace::psl::SuffixList;
use certpace::time::{Span, Timestamp};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

pub(super) static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(|| {
    SuffixList::parse("// ===BEGIN ICANN DOMAINS===\ncom\norg\n// ===END ICANN DOMAINS===\n").unwrap()
});

/// When all stories begin, by both clocks.
pub(super) const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

pub(super) fn policy(name: &str) -> Limits {
    Limits { policy: Policy::built_in(name).unwrap(), overrides: Overrides::none() }
}

/// Today's limits, but for some: burst and the time that brings a token back.
pub(super) fn tight(limits: &[(LimitName, u64, &str)]) -> Limits {
    let mut tight = policy("letsencrypt");
    for (name, burst, emission) in limits {
        tight.policy.set_limit(*name, Some(Limit::new(*burst, 1, Span::parse(emission).unwrap()).unwrap()));
    }
    tight
}

/// The world, at some time.
pub(super) struct World {
    pub(super) enforcer: Enforcer,
    endpoints: Endpoints,
    pub(super) now: Timestamp,
    speed: i64,
    made: u32,
    /// Where requests come from.
    pub(super) from: &'static str,
}

/// An order that the made-up CA has made.
#[derive(Clone, Debug)]
pub(super) struct Order {
    number: u32,
    pub(super) account: String,
    pub(super) names: Vec<String>,
}

/// What a request comes to: the CA's status, or the answer of the proxy itself.
pub(super) type Outcome = Result<u16, Answer>;

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        Self::fast(limits, 1)
    }

    pub(super) fn fast(limits: Limits, speed: u32) -> Self {
        let directory = json!({
            "newNonce": "https://ca/nonce", "newAccount": "https://ca/account", "newOrder": "https://ca/order",
            "revokeCert": "https://ca/revoke", "renewalInfo": "https://ca/ari",
        });
        Self {
            enforcer: Enforcer::new(limits, SUFFIXES.clone(), speed, "https://ca/-/unpause".to_owned()),
            endpoints: Endpoints::parse("/directory", directory.to_string().as_bytes()).unwrap(),
            now: START,
            speed: i64::from(speed),
            made: 0,
            from: "192.0.2.1",
        }
    }

    /// So much of the clients' time passes.
    pub(super) fn wait(&mut self, span: &str) {
        self.now = self.now.plus(Span::parse(span).unwrap());
    }

    pub(super) fn moment(&self) -> Moment {
        let passed = self.now.since(START).nanos() * self.speed;
        Moment { limits: START.plus(Span::from_nanos(passed)), wall: self.now }
    }

    /// A request, which the CA would answer so.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        window: Option<Window>,
        reply: Option<(u16, &str)>,
    ) -> Outcome {
        let call = Call::read(&self.endpoints, method, path, body);
        let client = Client { address: self.from.parse().unwrap(), user_agent: "test".to_owned() };
        match self.enforcer.request(self.moment(), client, call, window) {
            Step::Answer(answer) => Err(answer),
            Step::Forward(pending) => {
                let is_pem = |body: &str| body.starts_with("-----BEGIN");
                let content_type =
                    |body| if is_pem(body) { "application/pem-certificate-chain" } else { "application/json" };
                let said = reply.map(|(status, body)| Reply {
                    status,
                    content_type: content_type(body),
                    body: body.as_bytes(),
                });
                self.enforcer.response(self.moment(), *pending, said);
                Ok(reply.map_or(502, |(status, _)| status))
            }
        }
    }

    /// A signed request of an account to `path`.
    pub(super) fn post(&mut self, account: &str, path: &str, payload: &Value, reply: (u16, &str)) -> Outcome {
        self.send("POST", path, &signed(&json!({ "kid": url(account) }), payload), None, Some(reply))
    }

    /// A new order, which the CA makes.
    pub(super) fn order(&mut self, account: &str, names: &[&str]) -> Result<Order, Answer> {
        self.order_with(account, names, (None, None), 201)
    }

    /// A new order which may replace a certificate; the CA answers with `status`.
    pub(super) fn order_with(
        &mut self,
        account: &str,
        names: &[&str],
        (replaces, window): (Option<&str>, Option<Window>),
        status: u16,
    ) -> Result<Order, Answer> {
        self.made += 1;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let order = Order { number: self.made, account: account.to_owned(), names };
        let payload = json!({ "identifiers": order.identifiers(), "replaces": replaces });
        let body = if status == 201 { order.body("pending") } else { json!({ "type": "malformed" }).to_string() };
        let request = signed(&json!({ "kid": url(account) }), &payload);
        self.send("POST", "/order", &request, window, Some((status, &body)))?;
        Ok(order)
    }

    /// The order is finalized: the CA begins to issue.
    pub(super) fn finalize(&mut self, order: &Order) {
        let (path, body) = (format!("/finalize/{}", order.number), order.body("processing"));
        self.post(&order.account, &path, &json!({ "csr": "MII" }), (200, &body)).unwrap();
    }

    /// The order is looked at.
    pub(super) fn poll(&mut self, order: &Order, status: &str) {
        let (path, body) = (format!("/order/{}", order.number), order.body(status));
        self.post(&order.account, &path, &Value::Null, (200, &body)).unwrap();
    }

    /// An authorization of the order is looked at, or deactivated, which answers with the same.
    pub(super) fn authorization(&mut self, order: &Order, place: usize, status: &str) {
        let (path, body) = (order.authorization(place), order.authorization_body(place, status));
        self.post(&order.account, &path, &Value::Null, (200, &body)).unwrap();
    }

    /// An order's certificate is downloaded.
    pub(super) fn download(&mut self, account: &str, pem: &str) {
        self.post(account, "/certificate", &Value::Null, (200, pem)).unwrap();
    }

    /// An order passes from beginning to end.
    pub(super) fn issue(&mut self, account: &str, names: &[&str]) -> Result<(), Answer> {
        let order = self.order(account, names)?;
        self.finalize(&order);
        Ok(())
    }

    /// A validation of the name fails, in an order of its own.
    pub(super) fn fail(&mut self, account: &str, name: &str) -> Result<(), Answer> {
        let order = self.order(account, &[name])?;
        self.authorization(&order, 0, "pending");
        self.authorization(&order, 0, "invalid");
        Ok(())
    }
}

/// The URL of an account, unless it is one.
pub(super) fn url(account: &str) -> String {
    if account.starts_with("https://") { account.to_owned() } else { format!("https://ca/acct/{account}") }
}

/// A signed request, but for its signature.
pub(super) fn signed(header: &Value, payload: &Value) -> Vec<u8> {
    let encode = |value: &Value| {
        let text = if value.is_null() { String::new() } else { value.to_string() };
        BASE64URL_NOPAD.encode(text.as_bytes())
    };
    json!({ "protected": encode(header), "payload": encode(payload), "signature": "" }).to_string().into_bytes()
}

impl Order {
    fn identifiers(&self) -> Value {
        self.names.iter().map(|name| json!({ "type": "dns", "value": name })).collect()
    }

    pub(super) fn authorization(&self, place: usize) -> String {
        format!("/authz/{}-{place}", self.number)
    }

    pub(super) fn challenge(&self, place: usize) -> String {
        format!("/challenge/{}-{place}", self.number)
    }

    fn body(&self, status: &str) -> String {
        let authorizations: Vec<String> =
            (0..self.names.len()).map(|place| format!("https://ca{}", self.authorization(place))).collect();
        json!({
            "status": status, "identifiers": self.identifiers(), "authorizations": authorizations,
            "finalize": format!("https://ca/finalize/{}", self.number),
        })
        .to_string()
    }

    pub(super) fn authorization_body(&self, place: usize, status: &str) -> String {
        let name = &self.names[place];
        let url = format!("https://ca{}", self.challenge(place));
        json!({
            "status": status, "expires": "2027-03-01T00:00:00Z",
            "identifier": { "type": "dns", "value": name.trim_start_matches("*.") }, "wildcard": name.starts_with("*."),
            "challenges": [{ "type": "dns-01", "url": url, "status": status }],
        })
        .to_string()
    }
}
