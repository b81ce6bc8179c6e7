//! Files of JSON, each with its kind and version as its first key.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::StoreError;
use crate::issuer::files;

/// The version of every kind of file so far.
const VERSION: u64 = 1;

/// A kind of file.
pub(super) trait Document: Serialize + DeserializeOwned {
    /// The key that says which kind it is; its value is the version.
    const KEY: &'static str;
}

/// A document as the text of its file.
pub(super) fn text<T: Document>(document: &T) -> String {
    let fields = serde_json::to_string_pretty(document);
    let fields = fields.unwrap_or_else(|error| unreachable!("our own documents have text for keys: {error}"));
    let fields = fields.strip_prefix('{').unwrap_or_else(|| unreachable!("a document has fields"));
    format!("{{\n  \"{}\": {VERSION},{fields}\n", T::KEY)
}

/// Reads one; `None` where there is no such file.
pub(super) fn read<T: Document>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = files::read(path)? else { return Ok(None) };
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    match value.get(T::KEY) {
        Some(version) if version.as_u64() == Some(VERSION) => {}
        Some(version) => return Err(StoreError::Version { path: path.to_owned(), found: version.to_string() }),
        None => return Err(damaged(format!("it has no `{}`", T::KEY))),
    }
    serde_json::from_value(value).map(Some).map_err(|error| damaged(error.to_string()))
}

/// Name sets as lists of names, for `#[serde(with)]`.
pub(super) mod names {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::name::NameSet;

    pub(in super::super) fn serialize<S: Serializer>(names: &NameSet, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names.identifiers().iter().map(ToString::to_string))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NameSet, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        NameSet::parse(names.iter().map(String::as_str)).map_err(serde::de::Error::custom)
    }
}
