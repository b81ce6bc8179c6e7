//! What a certificate itself tells: names, issuer, serial number, validity, and when the logs have seen it.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::nom;
use x509_parser::oid_registry::{Oid, asn1_rs::oid};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::broken::Reason;
use super::issuance::{Certainty, NamesKnown, Serial};
use super::issuer;
use crate::name::{Identifier, NameError, NameSet};
use crate::psl::SuffixList;
use crate::time::{Span, TimeError, Timestamp};

/// How far before the issue Let's Encrypt lets the validity start, at most: its code takes nine tenths of a configured time, which is an
/// hour and five minutes in its examples. What is computed with a whole hour is late rather than early.
pub(super) const BACKDATED: Span = Span::from_hours(1);

/// Seconds from 1970 to 2200: the years that a [`Timestamp`] is computed with.
const SECONDS: std::ops::Range<i64> = 0..7_258_118_400;

/// The extension that makes a precertificate of a certificate (RFC 6962, 3.1).
const POISON: Oid<'static> = oid!(1.3.6.1.4.1.11129.2.4.3);

/// A certificate that was parsed.
#[derive(Debug)]
pub(super) struct Certificate<'a>(X509Certificate<'a>);

/// What an issuance has of a certificate.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) names: NameSet,
    pub(super) names_known: NamesKnown,
    pub(super) issued_at: Timestamp,
    pub(super) certainty: Certainty,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Option<Timestamp>,
    pub(super) serial: Serial,
    pub(super) authority_key: Option<Vec<u8>>,
}

impl<'a> Certificate<'a> {
    /// Reads one certificate in DER.
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, Reason> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(Self(certificate)),
            Ok(_) => Err(Reason::Trailing),
            Err(error) => Err(Reason::Der(why(&error))),
        }
    }

    /// Whether it belongs to a CA: part of a chain, not something that was ordered.
    pub(super) fn is_authority(&self) -> bool {
        self.0.is_ca()
    }

    /// Whether it was made for the logs alone.
    pub(super) fn is_precertificate(&self) -> bool {
        self.0.extensions().iter().any(|extension| extension.oid == POISON)
    }

    /// Its issuer, as [`issuer::named`] has it.
    pub(super) fn issuer(&self) -> String {
        let first = |mut attributes: Box<dyn Iterator<Item = String> + '_>| attributes.next();
        let text =
            |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
        let name = self.0.issuer();
        let organisation = first(Box::new(name.iter_organization().filter_map(text)));
        let common_name = first(Box::new(name.iter_common_name().filter_map(text)));
        issuer::named(organisation.as_deref(), common_name.as_deref()).unwrap_or_else(|| name.to_string())
    }

    /// What an issuance has of it.
    pub(super) fn facts(&self, suffixes: &SuffixList) -> Result<Facts, Reason> {
        let not_before = timestamp("notBefore", &self.0.validity().not_before)?;
        let not_after = timestamp("notAfter", &self.0.validity().not_after)?;
        let raw = self.0.raw_serial();
        let serial = Serial::new(raw).ok_or_else(|| Reason::Serial(self.0.raw_serial_as_string()))?;
        let (issued_at, certainty) = match self.latest_sct() {
            Some(seen) => (seen, Certainty::Sct),
            None => (not_before.plus(BACKDATED), Certainty::Backdated),
        };
        Ok(Facts {
            names: self.names(suffixes)?,
            names_known: NamesKnown::Exact,
            issued_at,
            certainty,
            not_before,
            not_after: Some(not_after),
            serial,
            authority_key: self.authority_key(),
        })
    }

    fn parsed(&self) -> impl Iterator<Item = &ParsedExtension<'_>> {
        self.0.extensions().iter().map(|extension| extension.parsed_extension())
    }

    fn names(&self, suffixes: &SuffixList) -> Result<NameSet, Reason> {
        let mut identifiers = Vec::new();
        for extension in self.parsed() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                identifiers.extend(identifier(name, suffixes)?);
            }
        }
        NameSet::new(identifiers).ok_or(Reason::NoNames)
    }

    /// When the last of the logs had seen it. A list that can't be read tells nothing, nor does a time out of the years.
    fn latest_sct(&self) -> Option<Timestamp> {
        let lists = self.parsed().filter_map(|extension| match extension {
            ParsedExtension::SCT(list) => Some(list),
            _ => None,
        });
        let millis = lists.flatten().map(|sct| sct.timestamp).max()?;
        let millis = i64::try_from(millis).ok().filter(|millis| SECONDS.contains(&(millis / 1_000)))?;
        Some(Timestamp::from_unix_nanos(millis * 1_000_000))
    }

    fn authority_key(&self) -> Option<Vec<u8>> {
        self.parsed().find_map(|extension| match extension {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref().map(|key| key.0.to_vec()),
            _ => None,
        })
    }
}

/// The identifier that a subject alternative name is; `None` for those of other kinds, such as mail addresses.
fn identifier(name: &GeneralName<'_>, suffixes: &SuffixList) -> Result<Option<Identifier>, Reason> {
    Ok(Some(match name {
        GeneralName::DNSName(text) => checked_name(text, suffixes)?,
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| Ipv4Addr::from(octets).into());
            let v6 = || <[u8; 16]>::try_from(*bytes).map(|octets| Ipv6Addr::from(octets).into());
            let address = v4.or_else(|_not_4| v6()).map_err(|_not_16| Reason::NoNames)?;
            checked(Identifier::Ip(address), suffixes)?
        }
        GeneralName::Invalid(tag, bytes) if tag.0 == 2 => {
            return Err(Reason::Name(String::from_utf8_lossy(bytes).into_owned(), NameError::NotUtf8));
        }
        _ => return Ok(None),
    }))
}

/// The identifier that a text is, where the CA would issue for it.
pub(super) fn checked_name(text: &str, suffixes: &SuffixList) -> Result<Identifier, Reason> {
    let refused = |error| Reason::Name(text.chars().take(100).collect(), error);
    checked(Identifier::parse(text).map_err(refused)?, suffixes)
}

fn checked(identifier: Identifier, suffixes: &SuffixList) -> Result<Identifier, Reason> {
    match suffixes.check(&identifier) {
        Ok(()) => Ok(identifier),
        Err(error) => Err(Reason::Name(identifier.to_string(), error)),
    }
}

fn timestamp(what: &'static str, time: &ASN1Time) -> Result<Timestamp, Reason> {
    let seconds = time.timestamp();
    if SECONDS.contains(&seconds) {
        Ok(Timestamp::from_unix_seconds(seconds))
    } else {
        Err(Reason::Time(what, TimeError::Year(time.to_string())))
    }
}

/// The parser's error without its wrapping.
fn why(error: &nom::Err<X509Error>) -> String {
    match error {
        nom::Err::Incomplete(_) | nom::Err::Error(X509Error::NomError(_)) => "it ends too early, or is torn".to_owned(),
        nom::Err::Error(error) | nom::Err::Failure(error) => error.to_string(),
    }
}
