//! Events in a scenario's file: one table for all kinds, of which each takes some keys.

use serde::Deserialize;
use toml::Spanned;

use super::{FromText, Places, Text};
use crate::limits::{Limit, LimitName};
use crate::plan::Share;
use crate::sim::scenario::{Client, Endpoint, Event, ScenarioError, What};
use crate::time::{Span, Timestamp};

/// A kind of event, as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Outage,
    SlowValidation,
    FailingNames,
    Repair,
    Unpause,
    Strangers,
    LoseStorage,
    Revocation,
    ClockSkew,
    Crash,
    AddHostnames,
    RemoveHostnames,
    Policy,
    Override,
    LoseLedger,
    RestoreLedger,
}

/// When something happens: a date, or so long after the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Date(Timestamp),
    After(Span),
}

impl FromText for When {
    fn from_text(text: &str) -> Result<Self, String> {
        match (Span::parse(text), Timestamp::parse(text)) {
            (Ok(after), _) => Ok(Self::After(after)),
            (_, Ok(date)) => Ok(Self::Date(date)),
            (Err(_), Err(error)) => Err(format!("{error}; or a time after the start, such as 2d")),
        }
    }
}

impl FromText for Endpoint {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "new-order" => Ok(Self::NewOrder),
            "others" => Ok(Self::Others),
            _ => Err(format!("`{text}` is no endpoint; there are new-order, others")),
        }
    }
}

impl FromText for LimitName {
    fn from_text(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::parse(text).ok_or_else(|| format!("there is no limit `{text}`; there are {}", known()))
    }
}

/// A span that may be negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Signed(Span);

impl FromText for Signed {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.strip_prefix('-') {
            Some(behind) => Span::from_text(behind).map(|span| Self(Span::ZERO.minus(span))),
            None => Span::from_text(text).map(Self),
        }
    }
}

/// Declares the table of events once: its keys, their types, and how to find one that is not of a kind.
macro_rules! keys {
    ($($key:ident: $type:ty),* $(,)?) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct EventFile {
            kind: Spanned<Kind>,
            at: Spanned<Text<When>>,
            until: Option<Spanned<Text<When>>>,
            $($key: Option<Spanned<$type>>,)*
        }

        impl EventFile {
            /// The first key that is there and not among `known`.
            fn other(&self, known: &[&str]) -> Option<(&'static str, Spanned<()>)> {
                let mut found = None;
                $(if let Some(value) = self.$key.as_ref().filter(|_| !known.contains(&stringify!($key))) {
                    found = found.or(Some((stringify!($key), Spanned::new(value.span(), ()))));
                })*
                let until = self.until.as_ref().filter(|_| !known.contains(&"until"));
                found.or_else(|| until.map(|value| ("until", Spanned::new(value.span(), ()))))
            }
        }
    };
}

keys! {
    endpoint: Text<Endpoint>,
    delay: Text<Span>,
    share: Text<Share>,
    probability: Text<Share>,
    certificates: u32,
    every: Text<Span>,
    client: String,
    deadline: Text<Span>,
    ahead: Text<Signed>,
    downtime: Text<Span>,
    hostnames: u32,
    name: String,
    limit: Text<LimitName>,
    id: String,
    burst: u64,
    count: u64,
    period: Text<Span>,
    age: Text<Span>,
}

impl Kind {
    /// The keys it takes beside `kind` and `at`.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Outage => &["until", "endpoint"],
            Self::SlowValidation => &["until", "delay"],
            Self::FailingNames => &["until", "share", "probability"],
            Self::Repair | Self::Unpause => &[],
            Self::Strangers => &["until", "share", "certificates", "every"],
            Self::LoseStorage | Self::LoseLedger => &["client"],
            Self::Revocation => &["share", "deadline"],
            Self::ClockSkew => &["until", "client", "ahead"],
            Self::Crash => &["client", "downtime"],
            Self::AddHostnames => &["until", "hostnames", "every"],
            Self::RemoveHostnames => &["share"],
            Self::Policy => &["name"],
            Self::Override => &["limit", "id", "burst", "count", "period"],
            Self::RestoreLedger => &["client", "age"],
        }
    }

    fn as_text(self) -> String {
        // The same words as in the file, from the one place that has them.
        let mut words = String::new();
        for char in format!("{self:?}").chars() {
            if char.is_ascii_uppercase() && !words.is_empty() {
                words.push('-');
            }
            words.push(char.to_ascii_lowercase());
        }
        words
    }
}

impl EventFile {
    /// Reads the event of a scenario from `start` to `end`.
    pub(super) fn read(
        self,
        start: Timestamp,
        end: Timestamp,
        clients: &[Client],
        places: &Places<'_>,
    ) -> Result<Event, ScenarioError> {
        let kind = *self.kind.as_ref();
        if let Some((key, place)) = self.other(kind.keys()) {
            let reason = format!("an event of kind {} has none", kind.as_text());
            return Err(places.error(&place, &format!("event.{key}"), reason));
        }
        let instant = |when: &Spanned<Text<When>>| match when.as_ref().0 {
            When::Date(date) => date,
            When::After(after) => start.plus(after),
        };
        let at = instant(&self.at);
        if at < start {
            return Err(places.error(&self.at, "event.at", format!("{at} is before the start at {start}")));
        }
        if at >= end {
            return Err(places.error(&self.at, "event.at", format!("{at} is after the end at {end}")));
        }
        let until = self.until.as_ref().map(instant);
        if let Some(place) = self.until.as_ref().filter(|_| until.is_some_and(|until| until <= at)) {
            return Err(places.error(place, "event.until", "is not after `at`"));
        }
        Ok(Event { at, until, what: self.what(kind, clients, places)? })
    }

    fn what(self, kind: Kind, clients: &[Client], places: &Places<'_>) -> Result<What, ScenarioError> {
        let missing =
            |key: &str| places.error(&self.kind, &format!("event.{key}"), format!("{} needs it", kind.as_text()));
        let client = || match &self.client {
            None => Ok(None),
            Some(name) => match clients.iter().position(|client| client.name == *name.as_ref()) {
                Some(place) => Ok(Some(place)),
                None => Err(places.error(name, "event.client", format!("there is no client `{}`", name.as_ref()))),
            },
        };
        let everything = Share::parts_per_million(1_000_000);
        let share = self.share.as_ref().map_or(everything, |share| share.as_ref().0);
        let needed = |key: &str, value: &Option<Spanned<Text<Span>>>| {
            value.as_ref().map(|value| value.as_ref().0).ok_or_else(|| missing(key))
        };
        Ok(match kind {
            Kind::Outage => What::Outage(self.endpoint.as_ref().map(|endpoint| endpoint.as_ref().0)),
            Kind::SlowValidation => What::SlowValidation(needed("delay", &self.delay)?),
            Kind::FailingNames => What::FailingNames {
                share,
                probability: self.probability.as_ref().map_or(everything, |probability| probability.as_ref().0),
            },
            Kind::Repair => What::Repair,
            Kind::Unpause => What::Unpause,
            Kind::Strangers => {
                let certificates = self.certificates.as_ref().ok_or_else(|| missing("certificates"))?;
                if *certificates.as_ref() == 0 {
                    return Err(places.error(certificates, "event.certificates", "is 0"));
                }
                What::Strangers { share, certificates: *certificates.as_ref(), every: needed("every", &self.every)? }
            }
            Kind::LoseStorage => What::LoseStorage(client()?),
            Kind::Revocation => What::Revocation { share, deadline: needed("deadline", &self.deadline)? },
            Kind::ClockSkew => {
                let ahead = self.ahead.as_ref().ok_or_else(|| missing("ahead"))?;
                What::ClockSkew { client: client()?, ahead: ahead.as_ref().0.0 }
            }
            Kind::Crash => {
                let downtime = self.downtime.as_ref().map_or(Span::from_seconds(60), |span| span.as_ref().0);
                What::Crash { client: client()?, downtime }
            }
            Kind::AddHostnames => What::AddHostnames {
                hostnames: *self.hostnames.as_ref().ok_or_else(|| missing("hostnames"))?.as_ref(),
                every: match &self.until {
                    Some(_) => needed("every", &self.every)?.max(Span::from_seconds(1)),
                    None => Span::from_days(1),
                },
            },
            Kind::RemoveHostnames => What::RemoveHostnames(share),
            Kind::Policy => {
                let name = self.name.as_ref().ok_or_else(|| missing("name"))?;
                crate::limits::Policy::built_in(name.as_ref())
                    .map_err(|error| places.error(name, "event.name", error))?;
                What::Policy(name.as_ref().clone())
            }
            Kind::Override => {
                let limit = self.limit.as_ref().ok_or_else(|| missing("limit"))?.as_ref().0;
                let number = |key: &str, value: &Option<Spanned<u64>>| {
                    value.as_ref().map(|value| *value.as_ref()).ok_or_else(|| missing(key))
                };
                let (burst, count) = (number("burst", &self.burst)?, number("count", &self.count)?);
                let allows = Limit::new(burst, count, needed("period", &self.period)?)
                    .map_err(|error| places.error(&self.kind, "event", error))?;
                What::Override { limit, id: self.id.ok_or_else(|| missing("id"))?.into_inner(), allows }
            }
            Kind::LoseLedger => What::LoseLedger(client()?),
            Kind::RestoreLedger => What::RestoreLedger { client: client()?, age: needed("age", &self.age)? },
        })
    }
}
