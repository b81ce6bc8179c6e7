//! Identifiers and sets of them: parsed once, then trusted.
//!
//! What a name may look like is Boulder's `policy/pa.go`; whether its suffix lets it have a certificate is [`crate::psl`]'s to say.

pub mod address;
pub mod hostname;
pub(crate) mod scan;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use data_encoding::HEXLOWER;

pub use hostname::{Canonical, Hostname, NameError, canonical};

use crate::digest::Hasher;

/// What an order asks a certificate for: a DNS name or an IP address. DNS names sort before addresses, both by their text,
/// since Boulder hashes them in that order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Identifier {
    /// A hostname, possibly a wildcard.
    Dns(Hostname),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
}

impl Identifier {
    /// Reads a name or an address as people write it: upper case, a trailing dot and Unicode are converted.
    ///
    /// # Errors
    /// [`NameError`] where the CA would not take it, whatever its suffix.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut scratch = Vec::new();
        let canonical = canonical(text.as_bytes(), &mut scratch)?;
        let text = canonical.text(text.as_bytes(), &scratch);
        match address::of(text) {
            Some(address) => Ok(Self::Ip(address)),
            None => Hostname::parse(std::str::from_utf8(text).map_err(|_not_utf8| NameError::NotUtf8)?).map(Self::Dns),
        }
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Dns(name) => name.as_str().into(),
            Self::Ip(address) => address.to_string().into(),
        }
    }

    fn sort_key(&self) -> (bool, Cow<'_, str>) {
        (matches!(self, Self::Ip(_)), self.text())
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_str()),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl PartialOrd for Identifier {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Identifier {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Dns(a), Self::Dns(b)) => a.cmp(b),
            _ => self.sort_key().cmp(&other.sort_key()),
        }
    }
}

/// The identifiers of one certificate: sorted, distinct, at least one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NameSet(Box<[Identifier]>);

/// What stands for a name set in a bucket's key: SHA-256 over its sorted identifiers joined by commas, as Boulder's `core.HashIdentifiers`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SetKey([u8; 32]);

impl NameSet {
    /// The set of `identifiers`; `None` if there are none.
    pub fn new(identifiers: impl IntoIterator<Item = Identifier>) -> Option<Self> {
        let mut sorted: Vec<_> = identifiers.into_iter().collect();
        sorted.sort();
        sorted.dedup();
        (!sorted.is_empty()).then(|| Self(sorted.into_boxed_slice()))
    }

    /// Reads identifiers.
    ///
    /// # Errors
    /// The first [`NameError`]; [`NameError::Empty`] where there is no name at all.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NameError> {
        let identifiers = names.into_iter().map(Identifier::parse).collect::<Result<Vec<_>, _>>()?;
        Self::new(identifiers).ok_or(NameError::Empty)
    }

    /// The set of all identifiers of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut sorted = [&*self.0, &*other.0].concat();
        sorted.sort();
        sorted.dedup();
        Self(sorted.into_boxed_slice())
    }

    /// Its identifiers, DNS names first, each kind in the order of its text.
    #[must_use]
    pub fn identifiers(&self) -> &[Identifier] {
        &self.0
    }

    /// The key under which its certificates are counted.
    #[must_use]
    pub fn key(&self) -> SetKey {
        SetKey::of(self.0.iter().map(Identifier::text))
    }
}

impl SetKey {
    /// That of the set whose identifiers have these texts, in its order.
    #[must_use]
    pub fn of(identifiers: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut hash = Hasher::new();
        for (index, identifier) in identifiers.into_iter().enumerate() {
            if index > 0 {
                hash.update(b",");
            }
            hash.update(identifier.as_ref().as_bytes());
        }
        Self(hash.finish())
    }

    /// Reads what `Display` writes; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(key))
    }
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One of these is in every bucket's name of a set: byte by byte it would be a good part of a decision.
        let mut digits = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut digits);
        f.write_str(str::from_utf8(&digits).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_key(names: &[&str], key: &str) {
        let set = NameSet::parse(names.iter().copied()).unwrap().key();
        assert_eq!((set.to_string().as_str(), SetKey::parse(key)), (key, Some(set)));
    }

    #[test]
    fn set_keys_are_boulders() {
        check_key(&["example.com"], "a379a6f6eeafb9a55e378c118034e2751e682fab9f2d30ab13d2125586ce1947");
        check_key(
            &["example.org", "EXAMPLE.com", "example.net", "example.com."],
            "394e82811f52e2da38b970afdb21c9bc9af81060939c690183c00fce37408738",
        );
        check_key(
            &["192.168.1.1", "login.example.com", "example.com"],
            "599392783bc14b0e1ac8373443d582386c414235484003b8698a5c65849079f5",
        );
    }
}
