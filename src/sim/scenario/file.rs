//! The shape of a scenario's file, and what of it makes sense.

mod event;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::{Client, Expect, Generated, InventorySource, Scenario, ScenarioError};
use crate::plan::Share;
use crate::sim::behaviour::Behaviour;
use crate::sim::measure::{Measure, Op, Unit, Value};
use crate::sim::random::Seed;
use crate::time::{Span, Timestamp};

use event::EventFile;

/// After so many events a run ends where its scenario says nothing.
const STEPS_MAX: u64 = 200_000_000;

/// Reads a scenario.
pub(super) fn read(text: &str) -> Result<Scenario, ScenarioError> {
    let places = Places { text };
    let file: File = toml::from_str(text).map_err(|error| ScenarioError::Shape {
        line: error.span().map_or(1, |span| places.line(&span)),
        text: error.to_string().trim_end().to_owned(),
    })?;
    file.read(&places)
}

/// Where a span of bytes lies in the text.
struct Places<'a> {
    text: &'a str,
}

impl Places<'_> {
    /// The line, from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    fn error<T>(&self, at: &Spanned<T>, key: &str, reason: impl ToString) -> ScenarioError {
        ScenarioError::Value { line: self.line(&at.span()), key: key.to_owned(), reason: reason.to_string() }
    }
}

/// A value that is read from a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Text<T>(T);

/// What can be read from a string.
trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_text(&text).map(Self).map_err(D::Error::custom)
    }
}

impl FromText for Timestamp {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl FromText for Span {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl FromText for Share {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| format!("`{text}` is no share of 0% to 100%, such as 10%"))
    }
}

impl FromText for IpAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_not_an_address| format!("`{text}` is no IP address"))
    }
}

impl FromText for Behaviour {
    fn from_text(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::parse(text).ok_or_else(|| format!("there is no client `{text}`; there are {}", known()))
    }
}

impl FromText for Op {
    fn from_text(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|op| op.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no comparison; there are {}", known()))
    }
}

impl FromText for Measure {
    fn from_text(text: &str) -> Result<Self, String> {
        let known = || Self::all().map(|measure| measure.to_string()).collect::<Vec<_>>().join(", ");
        Self::parse(text).ok_or_else(|| format!("there is no measure `{text}`; there are {}", known()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    #[serde(default)]
    story: String,
    start: Text<Timestamp>,
    duration: Spanned<Text<Span>>,
    seed: Option<u64>,
    steps_max: Option<u64>,
    policy: Option<String>,
    overrides: Option<String>,
    latency: Option<Text<Span>>,
    inventory: Spanned<InventoryFile>,
    #[serde(rename = "client")]
    clients: Vec<Spanned<ClientFile>>,
    #[serde(default, rename = "event")]
    events: Vec<Spanned<EventFile>>,
    #[serde(default, rename = "expect")]
    expects: Vec<Spanned<ExpectFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InventoryFile {
    file: Option<String>,
    hostnames: Option<u32>,
    domains: Option<Spanned<u32>>,
    tenants: Option<u32>,
    accounts: Option<u32>,
    held: Option<Text<Share>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    name: Option<String>,
    behaviour: Text<Behaviour>,
    account: Option<String>,
    ip: Option<Text<IpAddr>>,
    replicas: Option<Spanned<u32>>,
    profile: Option<String>,
    share: Option<Text<Share>>,
    names_per_cert: Option<Spanned<usize>>,
    margin: Option<Text<Span>>,
    headroom: Option<Text<Share>>,
    tick: Option<Spanned<Text<Span>>>,
    deactivates: Option<bool>,
    ledger: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectFile {
    measure: Text<Measure>,
    op: Text<Op>,
    value: Spanned<ValueFile>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "neither a whole number nor a text such as \"4h\"")]
enum ValueFile {
    Number(i64),
    Text(String),
}

impl File {
    fn read(self, places: &Places<'_>) -> Result<Scenario, ScenarioError> {
        let (start, duration) = (self.start.0, self.duration.as_ref().0);
        if duration <= Span::ZERO || duration > Span::from_days(3_660) {
            return Err(places.error(&self.duration, "duration", "is not between a moment and ten years"));
        }
        let mut clients: Vec<Client> = Vec::new();
        for client in self.clients {
            let place = client.clone_span();
            let client = client.into_inner().read(clients.len(), places)?;
            if clients.iter().any(|other| other.name == client.name) {
                let reason = format!("two clients are called `{}`; give each a name", client.name);
                return Err(places.error(&place, "client.name", reason));
            }
            clients.push(client);
        }
        let mut events = Vec::new();
        for event in self.events {
            events.push(event.into_inner().read(start, start.plus(duration), &clients, places)?);
        }
        events.sort_by_key(|event| event.at);
        let expects = self.expects.into_iter().map(|expect| read_expect(&expect, places));
        Ok(Scenario {
            title: self.title,
            story: self.story,
            start,
            duration,
            seed: Seed(self.seed.unwrap_or(1)),
            steps_max: self.steps_max.unwrap_or(STEPS_MAX),
            policy: self.policy.unwrap_or_else(|| "letsencrypt".to_owned()),
            overrides: self.overrides,
            latency: self.latency.map_or(Span::from_seconds(30), |latency| latency.0),
            inventory: read_inventory(&self.inventory, places)?,
            clients,
            events,
            expects: expects.collect::<Result<_, _>>()?,
        })
    }
}

/// An empty value at the same place, for errors after a value has been taken apart.
trait CloneSpan {
    fn clone_span(&self) -> Spanned<()>;
}

impl<T> CloneSpan for Spanned<T> {
    fn clone_span(&self) -> Spanned<()> {
        Spanned::new(self.span(), ())
    }
}

fn read_inventory(inventory: &Spanned<InventoryFile>, places: &Places<'_>) -> Result<InventorySource, ScenarioError> {
    let of = inventory.as_ref();
    let generated = of.domains.is_some() || of.tenants.is_some() || of.accounts.is_some() || of.held.is_some();
    match (&of.file, of.hostnames) {
        (Some(file), None) if !generated => Ok(InventorySource::File(file.clone())),
        (None, Some(hostnames)) => {
            let domains = of.domains.as_ref().map_or(hostnames, |domains| *domains.as_ref());
            if let Some(place) = of.domains.as_ref().filter(|_| domains == 0 || domains > hostnames) {
                return Err(places.error(place, "inventory.domains", "is not between 1 and the number of hostnames"));
            }
            Ok(InventorySource::Generated(Generated {
                hostnames,
                domains,
                tenants: of.tenants.unwrap_or(0),
                accounts: of.accounts.unwrap_or(1).max(1),
                held: of.held.map_or_else(Share::default, |held| held.0),
            }))
        }
        _ => Err(places.error(
            inventory,
            "inventory",
            "needs either `file`, or `hostnames` with what may go with it: domains, tenants, accounts, held",
        )),
    }
}

impl ClientFile {
    fn read(self, place: usize, places: &Places<'_>) -> Result<Client, ScenarioError> {
        let at_least_one = |key: &str, value: &Option<Spanned<usize>>| match value {
            Some(value) if *value.as_ref() == 0 => Err(places.error(value, key, "is 0; at least 1 makes sense")),
            _ => Ok(()),
        };
        at_least_one("client.names_per_cert", &self.names_per_cert)?;
        if let Some(replicas) = self.replicas.as_ref().filter(|replicas| !(1..=1_000).contains(replicas.as_ref())) {
            return Err(places.error(replicas, "client.replicas", "is not between 1 and 1000"));
        }
        if let Some(tick) = self.tick.as_ref().filter(|tick| tick.as_ref().0 < Span::from_seconds(1)) {
            return Err(places.error(tick, "client.tick", "is shorter than a second"));
        }
        let behaviour = self.behaviour.0;
        let last = u8::try_from(place % 250 + 1).unwrap_or(1);
        Ok(Client {
            name: self.name.unwrap_or_else(|| behaviour.to_string()),
            behaviour,
            account: self.account.unwrap_or_else(|| "default".to_owned()),
            ip: self.ip.map_or_else(|| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), |ip| ip.0),
            replicas: self.replicas.map_or(1, Spanned::into_inner),
            profile: self.profile.unwrap_or_else(|| "classic".to_owned()),
            share: self.share.map_or_else(|| Share::parts_per_million(1_000_000), |share| share.0),
            names_per_certificate: self.names_per_cert.map(Spanned::into_inner),
            margin: self.margin.map(|margin| margin.0),
            headroom: self.headroom.map_or_else(|| Share::parts_per_million(100_000), |headroom| headroom.0),
            tick: self.tick.map(|tick| tick.into_inner().0),
            deactivates: self.deactivates.unwrap_or(false),
            ledger: self.ledger.map_or_else(|| "shared".to_owned(), Spanned::into_inner),
        })
    }
}

fn read_expect(expect: &Spanned<ExpectFile>, places: &Places<'_>) -> Result<Expect, ScenarioError> {
    let ExpectFile { measure, op, value } = expect.as_ref();
    let fail = |reason: String| Err(places.error(value, "expect.value", reason));
    let (measure, op) = (measure.0, op.0);
    let value = match (value.as_ref(), measure.unit()) {
        (ValueFile::Text(text), _) if text == "never" => Value::Never,
        (ValueFile::Number(number), Unit::Count) => match u64::try_from(*number) {
            Ok(count) => Value::Count(count),
            Err(_negative) => return fail(format!("{number} is less than nothing")),
        },
        (ValueFile::Text(text), Unit::Span) => match Span::parse(text) {
            Ok(span) => Value::Span(span),
            Err(error) => return fail(error.to_string()),
        },
        (ValueFile::Text(text), Unit::Count) => {
            return fail(format!("`{text}` is no whole number, and {measure} is one"));
        }
        (ValueFile::Number(number), Unit::Span) => {
            return fail(format!("{number} has no unit, and {measure} is a length of time, such as \"4h\""));
        }
    };
    Ok(Expect { measure, op, value, line: places.line(&expect.span()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "title = \"t\"\nstart = \"2026-12-01\"\nduration = \"1d\"\n[inventory]\nhostnames = 1\n[[client]]\nbehaviour = \"naive\"\n";

    fn check(more: &str, messages: &[&str]) {
        let error = read(&format!("{LEAST}{more}")).map(|_| ()).unwrap_err().to_string();
        for message in messages {
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_least_there_can_be() {
        let scenario = read(LEAST).unwrap();
        assert_eq!(scenario.clients[0].name, "naive");
        assert_eq!((scenario.seed, scenario.events.len(), scenario.expects.len()), (Seed(1), 0, 0));
    }

    #[test]
    fn errors_name_line_and_key() {
        check("nam = 1\n", &["line 8", "nam", "unknown field"]);
        check("[[expect]]\nmeasure = \"refusal\"\nop = \"==\"\nvalue = 0\n", &["line 9", "no measure `refusal`"]);
        check("[[expect]]\nmeasure = \"refusals\"\nop = \"=\"\nvalue = 0\n", &["line 10", "no comparison"]);
        check("[[expect]]\nmeasure = \"refusals\"\nop = \"==\"\nvalue = -1\n", &["line 11: expect.value"]);
        check("[[expect]]\nmeasure = \"slip.max\"\nop = \"<\"\nvalue = 5\n", &["line 11", "length of time"]);
        check("[[client]]\nbehaviour = \"naive\"\n", &["line 8: client.name", "two clients"]);
        check("[[event]]\nkind = \"outage\"\nat = \"2026-13-01\"\n", &["line 10", "2026-13-01"]);
        check("[[event]]\nkind = \"outage\"\nat = \"2027-01-01\"\n", &["line 10: event.at", "after the end"]);
        check("[[event]]\nkind = \"repair\"\nat = \"1h\"\nshare = \"5%\"\n", &["line 11: event.share", "repair"]);
        check("[[event]]\nkind = \"crash\"\nat = \"1h\"\nclient = \"x\"\n", &["line 11: event.client", "`x`"]);
        check("[[event]]\nkind = \"outages\"\nat = \"1h\"\n", &["line 9", "outages"]);
    }
}
