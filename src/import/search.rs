//! What searches of the Certificate Transparency logs write: crt.sh and Cert Spotter.

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::Deserialize;

use super::broken::Reason;
use super::certificate::{BACKDATED, Facts, checked_name};
use super::issuance::{Certainty, NamesKnown, Serial};
use super::{Kind, Options, SearchNames};
use crate::name::NameSet;
use crate::time::{Span, Timestamp};

/// How long after [`BACKDATED`] a log's entry may be and still be made by the CA as it issued: it asks the logs while an order is being
/// finalized, and gives up after less than a minute. A later entry is somebody else's, who found the certificate.
const LOGGED_WITHIN: Span = Span::from_seconds(10 * 60);

/// The rows that crt.sh shows at most; of more, it shows some (`c_resultLimit` in its `web_apis.fnc`).
pub(super) const ROWS_MAX: u64 = 10_000;

/// A text, borrowed where it holds no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An entry of any search; what each has stands below it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SearchEntry<'a> {
    // crt.sh.
    #[serde(borrow)]
    issuer_name: Option<Text<'a>>,
    #[serde(borrow)]
    common_name: Option<Text<'a>>,
    #[serde(borrow)]
    name_value: Option<Text<'a>>,
    #[serde(borrow)]
    entry_timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    not_after: Option<Text<'a>>,
    #[serde(borrow)]
    serial_number: Option<Text<'a>>,
    result_count: Option<u64>,
    // Both.
    #[serde(borrow)]
    not_before: Option<Text<'a>>,
    // Cert Spotter.
    #[serde(borrow)]
    tbs_sha256: Option<Text<'a>>,
    #[serde(borrow)]
    cert_der: Option<Text<'a>>,
    #[serde(borrow)]
    cert: Option<CertificateField<'a>>,
    // Kubernetes.
    #[serde(borrow)]
    pub(super) kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct CertificateField<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl SearchEntry<'_> {
    /// Which search wrote it, if one did.
    pub(super) fn search(&self) -> Option<Kind> {
        if self.tbs_sha256.is_some() {
            Some(Kind::CertSpotter)
        } else if self.serial_number.is_some() || self.name_value.is_some() || self.issuer_name.is_some() {
            Some(Kind::CrtSh)
        } else {
            None
        }
    }

    /// How many rows of crt.sh's it stands for.
    pub(super) fn rows(&self) -> u64 {
        self.result_count.unwrap_or(0)
    }

    /// The issuer as crt.sh writes it.
    pub(super) fn issuer(&self) -> Result<&str, Reason> {
        self.issuer_name.as_ref().map(Text::as_str).ok_or(Reason::Field("issuer_name"))
    }

    /// The certificate that Cert Spotter has added on demand, in DER.
    pub(super) fn der(&self) -> Result<Vec<u8>, Reason> {
        let data = || self.cert.as_ref().and_then(|cert| cert.data.as_ref());
        let text = self.cert_der.as_ref().or_else(data).ok_or(Reason::NoDer)?;
        BASE64.decode(text.0.as_bytes()).map_err(|_position| Reason::Base64)
    }

    /// What an issuance has of an entry of crt.sh.
    ///
    /// *When.* Let's Encrypt signs a precertificate less than an hour after its `notBefore`, shows it to the logs, and then issues.
    /// `entry_timestamp` is the first time that a log has seen *this* entry. That of the precertificate lies seconds before the issue.
    /// That of the certificate lies after it: seconds if the CA has sent it to the log, days if somebody has found it. The later time
    /// is the stricter one, so the later of a full hour after `notBefore` and the entry is taken, where the entry is one of
    /// the CA's own ([`LOGGED_WITHIN`]).
    ///
    /// *Names.* crt.sh shows those names that the search matches, and the common name; of several files, all are taken together.
    pub(super) fn crt_sh(&self, options: &Options<'_>) -> Result<Facts, Reason> {
        let field = |value: &Option<Text<'_>>, name| {
            value.as_ref().map(|text| text.as_str().to_owned()).ok_or(Reason::Field(name))
        };
        let time = |value, name| Timestamp::parse(&field(value, name)?).map_err(|error| Reason::Time(name, error));
        let serial = field(&self.serial_number, "serial_number")?;
        let not_before = time(&self.not_before, "not_before")?;
        let backdated = not_before.plus(BACKDATED);
        let entry =
            self.entry_timestamp.is_some().then(|| time(&self.entry_timestamp, "entry_timestamp")).transpose()?;
        let entry = entry.filter(|entry| (not_before..=backdated.plus(LOGGED_WITHIN)).contains(entry));
        let certainty = if entry.is_some() { Certainty::Logged } else { Certainty::Backdated };
        Ok(Facts {
            names: self.names(options)?,
            names_known: match options.search_names {
                SearchNames::SomeOfEach => NamesKnown::AtLeast,
                SearchNames::AllOfEach => NamesKnown::Told,
            },
            issued_at: entry.map_or(backdated, |entry| entry.max(backdated)),
            certainty,
            not_before,
            not_after: Some(time(&self.not_after, "not_after")?),
            serial: Serial::parse(&serial).ok_or(Reason::Serial(serial))?,
            authority_key: None,
        })
    }

    /// One name a line. Mail addresses and what else has an `@` are no names that a CA of ACME checks.
    fn names(&self, options: &Options<'_>) -> Result<NameSet, Reason> {
        let lines = self.name_value.as_ref().ok_or(Reason::Field("name_value"))?.as_str().lines();
        // Where an issuer lets a common name stand that is no hostname, it is none of the names.
        let common = self.common_name.as_ref().map(Text::as_str).filter(|name| name.contains('.'));
        let names = lines.chain(common).map(str::trim).filter(|name| !name.is_empty() && !name.contains('@'));
        let identifiers = names.map(|name| checked_name(name, options.suffixes)).collect::<Result<Vec<_>, _>>()?;
        NameSet::new(identifiers).ok_or(Reason::NoNames)
    }
}
