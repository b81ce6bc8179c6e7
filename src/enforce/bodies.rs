//! What requests and answers hold of what the limits count: the objects of RFC 8555, sections 7.1.3 to 7.1.5, and of RFC 9773.

use serde::Deserialize;

use crate::name::{Hostname, Identifier, NameError, NameSet};
use crate::time::Timestamp;

/// An identifier as ACME writes it.
#[derive(Clone, Deserialize, Debug)]
pub(super) struct IdentifierBody {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

impl IdentifierBody {
    pub(super) fn read(&self) -> Result<Identifier, NameError> {
        match self.kind.as_str() {
            "dns" => Hostname::parse(&self.value.to_ascii_lowercase()).map(Identifier::Dns),
            _ => Identifier::parse(&self.value),
        }
    }

    /// The names of an order, or why the model can't count them.
    pub(super) fn names(all: &[Self]) -> Result<NameSet, String> {
        /// More names than any CA takes; the model has bounds of its own far above.
        const MOST: usize = 10_000;
        if all.len() > MOST {
            return Err(format!("more than {MOST} names"));
        }
        let names = all.iter().map(|name| name.read().map_err(|error| format!("{}: {error}", name.value)));
        NameSet::new(names.collect::<Result<Vec<_>, _>>()?).ok_or_else(|| "no names".to_owned())
    }
}

/// What a client asks for, whatever it asks: each request has some of these.
#[derive(Clone, Default, Deserialize, Debug)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Payload {
    pub(super) identifiers: Vec<IdentifierBody>,
    pub(super) profile: Option<String>,
    pub(super) replaces: Option<String>,
    pub(super) only_return_existing: bool,
    pub(super) csr: Option<String>,
}

/// An object of the CA, told by what it has.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
pub(super) enum Object {
    Order(OrderBody),
    Authorization(AuthorizationBody),
    Challenge(ChallengeBody),
}

#[derive(Deserialize, Debug)]
pub(super) struct OrderBody {
    pub(super) status: String,
    pub(super) identifiers: Vec<IdentifierBody>,
    pub(super) authorizations: Vec<String>,
    pub(super) finalize: String,
}

#[derive(Deserialize, Debug)]
pub(super) struct AuthorizationBody {
    pub(super) status: String,
    identifier: IdentifierBody,
    #[serde(default)]
    wildcard: bool,
    expires: Option<String>,
    pub(super) challenges: Vec<ChallengeBody>,
}

#[derive(Deserialize, Debug)]
pub(super) struct ChallengeBody {
    pub(super) url: String,
    pub(super) status: String,
}

impl AuthorizationBody {
    /// Whose authorization it is, `*.` kept: the CA counts a wildcard's failures apart.
    pub(super) fn identifier(&self) -> Option<Identifier> {
        let IdentifierBody { kind, value } = &self.identifier;
        let star = if self.wildcard && !value.starts_with("*.") { "*." } else { "" };
        IdentifierBody { kind: kind.clone(), value: format!("{star}{value}") }.read().ok()
    }

    /// Until when it is what it is.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        Timestamp::parse(self.expires.as_ref()?).ok()
    }
}

/// When the CA suggests to renew.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenewalInfoBody {
    pub(super) suggested_window: WindowBody,
}

#[derive(Deserialize, Debug)]
pub(super) struct WindowBody {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}
