//! JSON of all kinds: searches object by object, secrets and `acme.json` as wholes.

use std::io::BufRead;

use serde_json::Value;

use super::broken::{Place, Reason};
use super::elements::{Element, Elements};
use super::search::{ROWS_MAX, SearchEntry};
use super::{Import, Kind, Origin, issuer, pem, stores};

/// A file of JSON that is being read. What it is shows with the first object that is something; until then, what can't be read waits.
struct Json<'f> {
    name: &'f str,
    origin: Option<Origin<'f>>,
    unknown: Vec<(Place, Reason)>,
    /// Rows of crt.sh's.
    rows: u64,
}

impl Import<'_> {
    /// Takes in a file of JSON.
    pub(super) fn json(&mut self, name: &str, reader: impl BufRead, named: bool) {
        let mut elements = Elements::new(reader);
        let known = self.imported.broken.len();
        let mut file = Json { name, origin: None, unknown: Vec::new(), rows: 0 };
        loop {
            match elements.next() {
                Ok(Some(element)) => self.element(&mut file, &element),
                Ok(None) => break,
                Err(error) => {
                    self.fail(name, Place::File, Reason::Io(error.to_string()));
                    break;
                }
            }
        }
        let Some(origin) = file.origin else {
            // An empty search has found nothing, and that is what it tells.
            return self.other(name, Reason::Unknown, named && !file.unknown.is_empty());
        };
        if !file.unknown.is_empty() {
            for (place, reason) in file.unknown {
                self.fail(name, place, reason);
            }
            // What waited goes where it stands.
            self.imported.broken[known..].sort_by(|a, b| a.place.cmp(&b.place));
        }
        self.imported.sources[origin.source as usize].truncated = file.rows == ROWS_MAX;
    }

    fn element<'f>(&mut self, file: &mut Json<'f>, element: &Element<'_>) {
        let place = Place::Entry { line: element.line, entry: element.entry };
        let entry: SearchEntry<'_> = match serde_json::from_slice(element.bytes) {
            Ok(entry) => entry,
            Err(error) => return file.unknown.push((place, Reason::Json(error.to_string()))),
        };
        if let Some(search) = entry.search() {
            let origin = self.origin(file, search);
            file.rows += entry.rows();
            return self.search_entry(origin, place, search, &entry);
        }
        let object: Value = match serde_json::from_slice(element.bytes) {
            Ok(object) => object,
            Err(error) => return file.unknown.push((place, Reason::Json(error.to_string()))),
        };
        let secrets = entry.kind.is_some_and(|kind| matches!(kind.as_str(), "List" | "SecretList" | "Secret"));
        let stored =
            if secrets { Some((Kind::Kubernetes, stores::kubernetes(&object))) } else { stores::traefik(&object) };
        let Some((kind, stored)) = stored else { return file.unknown.push((place, Reason::Unknown)) };
        let origin = self.origin(file, kind);
        for certificate in stored {
            match certificate.pem {
                Ok(pem) => self.stored(origin, &certificate.name, &pem),
                Err(reason) => self.fail(origin.name, Place::Named(certificate.name), reason),
            }
        }
    }

    fn origin<'f>(&mut self, file: &mut Json<'f>, kind: Kind) -> Origin<'f> {
        let origin = *file.origin.get_or_insert_with(|| self.begin(file.name, kind, false));
        Origin { held: !matches!(kind, Kind::CrtSh | Kind::CertSpotter), ..origin }
    }

    fn search_entry(&mut self, origin: Origin<'_>, place: Place, search: Kind, entry: &SearchEntry<'_>) {
        if search == Kind::CertSpotter {
            return match entry.der() {
                Ok(der) => self.certificate(origin, place, &der),
                Err(reason) => self.fail(origin.name, place, reason),
            };
        }
        match entry.issuer().map(issuer::of_text) {
            Ok(issuer) => {
                if self.takes(&issuer) {
                    self.facts(origin, place, &issuer, entry.crt_sh(self.options));
                }
            }
            Err(reason) => self.fail(origin.name, place, reason),
        }
    }

    /// Takes in the PEM of a store's entry.
    fn stored(&mut self, origin: Origin<'_>, name: &str, bytes: &[u8]) {
        let blocks = pem::certificates(bytes);
        if blocks.is_empty() {
            self.fail(origin.name, Place::Named(name.to_owned()), Reason::Missing("certificate"));
        }
        for block in blocks {
            let place = Place::Named(name.to_owned());
            match block.der {
                Ok(der) => self.certificate(origin, place, &der),
                Err(reason) => self.fail(origin.name, place, reason),
            }
        }
    }
}
