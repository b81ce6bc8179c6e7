//! Where a CA's endpoints are: every CA has paths of its own and names them in its directory (RFC 8555, section 7.1.1).

use hyper::Uri;
use serde_json::Value;

use crate::rules::Request;

/// The endpoints of a CA, by their paths: hosts may differ, since a proxy in front of it is known by other names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoints {
    endpoints: Vec<(Request, String)>,
    renewal_info: Option<String>,
    new_nonce: String,
}

/// Why an answer is no directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It is no JSON.
    #[error("the answer is no JSON, so no ACME directory")]
    Json(#[source] serde_json::Error),
    /// An endpoint is missing that every CA has.
    #[error("the answer is no ACME directory: it has no `{0}`")]
    Missing(&'static str),
}

impl Endpoints {
    /// Reads a directory that was found at `path`.
    ///
    /// # Errors
    /// [`DirectoryError`] where it is none.
    pub fn parse(path: &str, body: &[u8]) -> Result<Self, DirectoryError> {
        let body: Value = serde_json::from_slice(body).map_err(DirectoryError::Json)?;
        let of = |name: &'static str| path_of(body.get(name)?.as_str()?);
        let must = |name: &'static str| of(name).ok_or(DirectoryError::Missing(name));
        let new_nonce = must("newNonce")?;
        let mut endpoints = vec![
            (Request::Directory, path.to_owned()),
            (Request::NewNonce, new_nonce.clone()),
            (Request::NewAccount, must("newAccount")?),
            (Request::NewOrder, must("newOrder")?),
        ];
        endpoints.extend(of("revokeCert").map(|path| (Request::RevokeCert, path)));
        let renewal_info = of("renewalInfo").map(|path| format!("{}/", path.trim_end_matches('/')));
        Ok(Self { endpoints, renewal_info, new_nonce })
    }

    /// What a request for `path` asks for.
    #[must_use]
    pub fn request(&self, path: &str) -> Request {
        if self.renewal_info.as_ref().is_some_and(|prefix| path.starts_with(prefix)) {
            return Request::RenewalInfo;
        }
        self.endpoints.iter().find(|(_, known)| known == path).map_or(Request::Other, |(request, _)| *request)
    }

    /// Where a nonce is to be had.
    #[must_use]
    pub fn new_nonce(&self) -> &str {
        &self.new_nonce
    }

    /// Where the CA says when to renew the certificate of that id (RFC 9773, section 4.1). `None` where it does not say, or that is no id.
    #[must_use]
    pub fn renewal_info(&self, certificate: &str) -> Option<String> {
        let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let prefix = self.renewal_info.as_ref()?;
        (!certificate.is_empty() && certificate.chars().all(is_id)).then(|| format!("{prefix}{certificate}"))
    }

    /// Whether the CA says when to renew.
    #[must_use]
    pub const fn has_renewal_info(&self) -> bool {
        self.renewal_info.is_some()
    }
}

/// The hosts that the URLs of a directory name, other than `host`: a client would follow them past the proxy.
pub(crate) fn other_host(body: &[u8], host: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let urls = body.as_object()?.values().filter_map(Value::as_str).filter_map(|url| url.parse::<Uri>().ok());
    let mut hosts = urls.filter_map(|url| url.authority().map(ToString::to_string));
    hosts.find(|found| !found.eq_ignore_ascii_case(host))
}

/// The path of an URL.
pub(crate) fn path_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    uri.authority()?;
    Some(uri.path().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEBBLE: &str = r#"{
        "newNonce": "https://localhost:14000/nonce-plz", "newAccount": "https://localhost:14000/sign-me-up",
        "newOrder": "https://localhost:14000/order-plz", "revokeCert": "https://localhost:14000/revoke-cert",
        "keyChange": "https://localhost:14000/rollover-account-key",
        "renewalInfo": "https://localhost:14000/draft-ietf-acme-ari-03/renewalInfo/", "meta": {"termsOfService": "data:text/plain,x"}
    }"#;

    #[test]
    fn requests_are_told_apart_by_the_cas_own_paths() {
        let endpoints = Endpoints::parse("/dir", PEBBLE.as_bytes()).unwrap();
        let asked = [
            "/dir",
            "/nonce-plz",
            "/sign-me-up",
            "/order-plz",
            "/revoke-cert",
            "/finalize-order/x",
            "/draft-ietf-acme-ari-03/renewalInfo/a.b",
        ];
        let all = [
            Request::Directory,
            Request::NewNonce,
            Request::NewAccount,
            Request::NewOrder,
            Request::RevokeCert,
            Request::Other,
            Request::RenewalInfo,
        ];
        assert_eq!(asked.map(|path| endpoints.request(path)), all);
        assert_eq!(endpoints.renewal_info("a.b").unwrap(), "/draft-ietf-acme-ari-03/renewalInfo/a.b");
        assert_eq!(endpoints.renewal_info("../../x?y"), None);
        assert_eq!(endpoints.new_nonce(), "/nonce-plz");
    }

    #[test]
    fn what_is_no_directory_is_told() {
        assert!(Endpoints::parse("/dir", b"<html>").is_err_and(|error| error.to_string().contains("no JSON")));
        let missing = Endpoints::parse("/dir", br#"{"newNonce": "https://ca/n", "newOrder": "https://ca/o"}"#);
        assert!(missing.is_err_and(|error| error.to_string().contains("`newAccount`")));
    }

    #[test]
    fn a_directory_that_leads_past_the_proxy_is_noticed() {
        assert_eq!(other_host(PEBBLE.as_bytes(), "localhost:14000"), None);
        assert_eq!(other_host(PEBBLE.as_bytes(), "localhost:9").as_deref(), Some("localhost:14000"));
    }
}
