//! What a CA says of itself (RFC 8555, section 7.1.1).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::issuer::endpoints::{DirectoryError, Endpoints};
use crate::rules::Request;

/// A CA's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Where it is.
    pub url: String,
    /// Where a nonce is to be had.
    pub new_nonce: String,
    /// Where accounts are made and found.
    pub new_account: String,
    /// Where orders are made.
    pub new_order: String,
    /// Where certificates are revoked.
    pub revoke_cert: Option<String>,
    /// Where the CA says when to renew (RFC 9773), without what makes it a certificate's.
    pub renewal_info: Option<String>,
    /// The profiles that an order may name, with their descriptions.
    pub profiles: BTreeMap<String, String>,
    /// What a new account has to agree to.
    pub terms_of_service: Option<String>,
    /// Whether a new account has to prove that it belongs to one that the CA's owner knows otherwise (RFC 8555, section 7.3.4).
    pub external_account_required: bool,
    /// What CAA records call the CA.
    pub caa_identities: Vec<String>,
    /// All of it, as it came.
    pub raw: Value,
    endpoints: Endpoints,
}

impl Directory {
    /// Reads a directory that was found at `url`, which has that path.
    ///
    /// # Errors
    /// [`DirectoryError`] where it is none.
    pub fn parse(url: &str, path: &str, body: &[u8]) -> Result<Self, DirectoryError> {
        let endpoints = Endpoints::parse(path, body)?;
        let raw: Value = serde_json::from_slice(body).map_err(DirectoryError::Json)?;
        let of = |name: &str| raw[name].as_str().map(str::to_owned);
        let must = |name: &'static str| of(name).ok_or(DirectoryError::Missing(name));
        let meta = &raw["meta"];
        let described = |(name, text): (&String, &Value)| (name.clone(), text.as_str().unwrap_or_default().to_owned());
        Ok(Self {
            url: url.to_owned(),
            new_nonce: must("newNonce")?,
            new_account: must("newAccount")?,
            new_order: must("newOrder")?,
            revoke_cert: of("revokeCert"),
            renewal_info: of("renewalInfo"),
            profiles: meta["profiles"].as_object().into_iter().flatten().map(described).collect(),
            terms_of_service: meta["termsOfService"].as_str().map(str::to_owned),
            caa_identities: meta["caaIdentities"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|identity| Some(identity.as_str()?.to_owned()))
                .collect(),
            external_account_required: meta["externalAccountRequired"] == true,
            raw,
            endpoints,
        })
    }

    /// What a request for `path` asks for.
    #[must_use]
    pub fn request(&self, path: &str) -> Request {
        self.endpoints.request(path)
    }

    /// Where the CA says when to renew the certificate of that id; `None` where it does not say, or that is no id.
    #[must_use]
    pub fn renewal_info_of(&self, certificate_id: &str) -> Option<String> {
        self.endpoints.renewal_info(certificate_id)?;
        Some(format!("{}/{certificate_id}", self.renewal_info.as_ref()?.trim_end_matches('/')))
    }
}
