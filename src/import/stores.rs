//! Certificates in files of other programs: Kubernetes secrets and Traefik's `acme.json`.

use data_encoding::BASE64;
use serde_json::Value;

use super::Kind;
use super::broken::Reason;

/// A certificate of a store: what it is called there, and its PEM or why there is none.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) pem: Result<Vec<u8>, Reason>,
}

/// The certificates of an object that `kubectl get secret -o json` writes: a secret, or a list of them. Secrets of other types are
/// passed over.
pub(super) fn kubernetes(object: &Value) -> Vec<Stored> {
    let items = object["items"].as_array().map_or_else(|| std::slice::from_ref(object), Vec::as_slice);
    items.iter().filter(|item| item["type"] == "kubernetes.io/tls").map(secret).collect()
}

fn secret(item: &Value) -> Stored {
    let text = |key| item["metadata"][key].as_str().unwrap_or("?");
    Stored {
        name: format!("{}/{}", text("namespace"), text("name")),
        pem: decoded(&item["data"]["tls.crt"], "tls.crt"),
    }
}

/// The certificates of an `acme.json`, and which version wrote it; `None` for any other object.
///
/// Traefik 2 and 3 have resolvers by name, each with `Certificates`; Traefik 1.7 has `Certificates` at the top; before, they stood
/// in `DomainsCertificate.Certs`. Versions differ in upper and lower case.
pub(super) fn traefik(object: &Value) -> Option<(Kind, Vec<Stored>)> {
    if let Some(stored) = store(object, "") {
        return Some((Kind::Traefik1, stored));
    }
    let resolvers = object.as_object()?;
    let is_resolver =
        |(_, value): &(&String, &Value)| get(value, "Certificates").is_some() && get(value, "Account").is_some();
    let mut resolvers = resolvers.iter().filter(is_resolver).peekable();
    resolvers.peek()?;
    let stored = resolvers.flat_map(|(name, resolver)| store(resolver, &format!("{name} ")).unwrap_or_default());
    Some((Kind::Traefik, stored.collect()))
}

/// The certificates of one resolver; `None` where there is no place for any.
fn store(object: &Value, resolver: &str) -> Option<Vec<Stored>> {
    let nothing = Vec::new();
    if let Some(certificates) = get(object, "Certificates").filter(|_| get(object, "Account").is_some()) {
        let certificates = certificates.as_array().unwrap_or(&nothing);
        return Some(numbered(certificates, resolver, |entry| get(entry, "certificate")));
    }
    let certificates = get(get(object, "DomainsCertificate")?, "Certs")?.as_array().unwrap_or(&nothing);
    Some(numbered(certificates, resolver, |entry| get(get(entry, "Certificate")?, "Certificate")))
}

fn numbered(entries: &[Value], resolver: &str, field: impl Fn(&Value) -> Option<&Value>) -> Vec<Stored> {
    let stored = |(index, entry): (usize, &Value)| Stored {
        name: format!("{resolver}certificate {}", index + 1),
        pem: decoded(field(entry).unwrap_or(&Value::Null), "certificate"),
    };
    entries.iter().enumerate().map(stored).collect()
}

/// The bytes that a field holds as base64.
fn decoded(value: &Value, field: &'static str) -> Result<Vec<u8>, Reason> {
    let text = value.as_str().filter(|text| !text.is_empty()).ok_or(Reason::Missing(field))?;
    BASE64.decode(text.as_bytes()).map_err(|_position| Reason::Base64)
}

/// A member by its name in any case.
fn get<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
