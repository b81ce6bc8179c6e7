//! The options that describe an order, for `check` and `gate`.

use anyhow::anyhow;

use super::super::failure::Hint as _;
use super::super::ledger::session::process_name;
use crate::gate::{Never, Replaces, Request, parse};
use crate::name::NameSet;
use crate::permits::{LEASE, Sending};
use crate::plan::Share;
use crate::time::{Span, Timestamp};

/// How long a permit holds for an order that is validated by DNS.
const DNS_LEASE: Span = Span::from_hours(2);
/// The longest time that anybody can ask for.
const SPAN_MAX: Span = Span::from_days(3_650);

/// The order.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "The order")]
pub struct OrderOptions {
    /// The account that orders: its URL, or what else you always call it
    #[arg(long, value_name = "ID", default_value = "default")]
    pub account: String,
    /// The profile that the order asks for
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Whose certificate it is: tenants that wait take turns
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Among those that wait, the larger goes first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,
    /// The certificate that the order replaces (ARI): its id
    // One in 64 begins with a hyphen: it is base64url.
    #[arg(long, value_name = "ID", requires = "window", allow_hyphen_values = true)]
    pub replaces: Option<String>,
    /// When its CA suggests to renew it
    #[arg(long, value_name = "START/END", requires = "replaces", value_parser = window)]
    pub window: Option<(Timestamp, Timestamp)>,
    /// Share of the burst of order and domain buckets that is left for urgent orders
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    pub headroom: Share,
    /// Use that share as well, and go before all who wait
    #[arg(long)]
    pub urgent: bool,
    /// Try names that failed lately before their time
    #[arg(long)]
    pub retry_now: bool,
}

/// The permit.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "The permit")]
pub struct PermitOptions {
    /// Who asks: the same one gets the same permit again [default: this process]
    #[arg(long, value_name = "NAME")]
    pub holder: Option<String>,
    /// How long the permit holds [default: 30m; 2h with --challenge dns-01]
    #[arg(long, value_name = "SPAN", value_parser = lease)]
    pub lease: Option<Span>,
    /// How the names are validated
    #[arg(long, value_name = "http-01|dns-01|tls-alpn-01", value_parser = ["http-01", "dns-01", "tls-alpn-01"], hide_possible_values = true)]
    pub challenge: Option<String>,
}

fn share(text: &str) -> Result<Share, String> {
    Share::parse(text).ok_or_else(|| "no share of 0% to 100%, such as 10%".to_owned())
}

/// Reads a length of time that is longer than nothing. What ends in centuries could not be written down.
pub fn lease(text: &str) -> Result<Span, String> {
    match Span::parse(text) {
        Ok(span) if span > SPAN_MAX => Err("ten years (3650d) are the longest".to_owned()),
        Ok(span) if span > Span::ZERO => Ok(span),
        Ok(_) => Err("a lease is longer than nothing".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn window(text: &str) -> Result<(Timestamp, Timestamp), String> {
    let (start, end) = text.split_once('/').ok_or("write START/END, two times in RFC 3339")?;
    let read = |text: &str| Timestamp::parse(text).map_err(|error| error.to_string());
    let (start, end) = (read(start)?, read(end)?);
    if end <= start {
        Err("its end is not later than its start: that is no window".to_owned())
    } else {
        Ok((start, end))
    }
}

impl OrderOptions {
    /// The request for `names`, or why the CA would refuse them whatever is in the buckets.
    ///
    /// # Errors
    /// Where the account can't be one, or there are no names.
    pub fn request(
        &self,
        names: &[String],
        permit: Option<&PermitOptions>,
        sending: Sending,
    ) -> anyhow::Result<Result<Request, Never>> {
        if self.account.is_empty() || self.account.chars().any(char::is_control) {
            return Err(anyhow!("`{}` is no account", self.account.escape_debug()))
                .hint("an account is its URL at the CA, or a name that you give it");
        }
        let identifiers = match parse(names.iter().map(String::as_str)) {
            Ok(identifiers) => identifiers,
            Err(never) => return Ok(Err(never)),
        };
        let names = NameSet::new(identifiers).ok_or_else(|| anyhow!("no names were given"))?;
        let holder = permit.and_then(|permit| permit.holder.clone()).unwrap_or_else(process_name);
        let by_dns = permit.and_then(|permit| permit.challenge.as_deref()) == Some("dns-01");
        let default_lease = if by_dns { DNS_LEASE } else { LEASE };
        Ok(Ok(Request {
            profile: self.profile.clone(),
            tenant: self.tenant.clone(),
            priority: self.priority,
            replaces: self
                .replaces
                .as_ref()
                .map(|certificate| Replaces { certificate: certificate.clone(), window: self.window }),
            lease: permit.and_then(|permit| permit.lease).unwrap_or(default_lease),
            sending,
            headroom: self.headroom,
            urgent: self.urgent,
            task: None,
            retry_now: self.retry_now,
            ..Request::of(&self.account, names, &holder)
        }))
    }
}
