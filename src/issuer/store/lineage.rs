//! The certificates of one name set, one after the other, and the notes about the one in use.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::document::{self, Document, names};
use super::{PlanOrder, StoreError, shown};
use crate::agent::Window;
use crate::issuer::certificate::{self, Certificate};
use crate::issuer::files::{self, FileError};
use crate::issuer::request::{self, KeyType};
use crate::name::NameSet;
use crate::time::Timestamp;

/// A certificate that has come, to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Issued<'a> {
    /// Its names.
    pub names: &'a NameSet,
    /// The URL of the account.
    pub account: &'a str,
    /// What the account is called in the store.
    pub account_name: &'a str,
    /// The CA's directory URL.
    pub directory: &'a str,
    /// Its profile.
    pub profile: Option<&'a str>,
    /// Whose certificate it is.
    pub tenant: Option<&'a str>,
    /// How it was validated.
    pub challenge: Option<&'a str>,
    /// Its private key, PKCS#8 in PEM.
    pub key_pem: &'a str,
    /// The certificate and those between it and the root, in PEM.
    pub fullchain_pem: &'a str,
    /// The permit of its order.
    pub permit: &'a str,
    /// Which order of which plan it is.
    pub plan: Option<&'a PlanOrder>,
    /// The certificate that it replaces, by its id in renewal information.
    pub replaces: Option<&'a str>,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// What is known of a certificate: `certificate.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// Its names.
    #[serde(with = "names")]
    pub names: NameSet,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Its id in renewal information, where it has one.
    pub ari_id: Option<String>,
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last second of its validity.
    pub not_after: Timestamp,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// What kind of key it has; `None`: none that certpace makes.
    pub key_type: Option<KeyType>,
    /// The URL of the account.
    pub account: String,
    /// What the account is called in the store.
    pub account_name: String,
    /// The CA's directory URL.
    pub directory: String,
    /// Its profile.
    pub profile: Option<String>,
    /// Whose certificate it is.
    pub tenant: Option<String>,
    /// How it was validated.
    pub challenge: Option<String>,
    /// The permit of its order.
    pub permit: String,
    /// Which order of which plan it is.
    pub plan: Option<PlanOrder>,
    /// The certificate that it replaced, by its id in renewal information.
    pub replaces: Option<String>,
}

/// What changes about a certificate without a new one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// When it is to be renewed.
    pub renew_at: Option<Timestamp>,
    /// The window for which that was drawn, as the CA told it last.
    pub window: Option<Window>,
    /// When the CA was asked for it last.
    pub asked_at: Option<Timestamp>,
    /// When it is to be asked again.
    pub ask_again_at: Option<Timestamp>,
    /// It is revoked, and to be replaced by then.
    pub deadline: Option<Timestamp>,
    /// The CA says that another certificate has replaced it.
    pub replaced: bool,
    /// Failures to renew it in a row.
    pub failures: u32,
    /// The last of them.
    pub last_error: Option<LastError>,
    /// The folder of the certificate that has its names now: this one is not renewed.
    pub superseded_by: Option<String>,
}

/// What went wrong last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
}

/// The certificates of one name set, of which one is in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lineage {
    /// The names.
    pub names: NameSet,
    /// Their folder.
    pub folder: PathBuf,
    /// The number of the certificate in use: `archive/0001` is 1.
    pub version: u32,
    /// What is known of the certificate in use.
    pub metadata: Metadata,
    /// What was noted about it.
    pub notes: Notes,
}

/// `notes.json`: notes hold for one certificate, so that a new one begins without any at the moment it is live.
#[derive(Serialize, Deserialize)]
struct NotesOf {
    serial: String,
    #[serde(flatten)]
    notes: Notes,
}

impl Document for Metadata {
    const KEY: &'static str = "certpace_certificate";
}

impl Document for NotesOf {
    const KEY: &'static str = "certpace_notes";
}

impl Lineage {
    /// The folder of the certificate in use, as a link that stays when that changes: what a web server is told.
    #[must_use]
    pub fn live(&self) -> PathBuf {
        self.folder.join(LIVE)
    }
}

const LIVE: &str = "live";
const ARCHIVE: &str = "archive";
const CERTIFICATE: &str = "certificate.json";
const NOTES: &str = "notes.json";

/// The folder of a name set: its first name, for people, and the beginning of its hash. `*` and `:` are left to shells.
fn folder_name(names: &NameSet) -> String {
    let first = names.identifiers().first().map(ToString::to_string).unwrap_or_default();
    let mut first = first.replace('*', "_").replace(':', "-");
    // A file's name has at most 255 bytes; names are ASCII.
    first.truncate(240);
    format!("{first}-{}", &names.key().to_string()[..8])
}

/// Keeps a certificate with its key.
pub(super) fn save(certificates: &Path, issued: &Issued<'_>) -> Result<Lineage, StoreError> {
    let metadata = checked(issued)?;
    let (leaf, chain) = certificate::split(issued.fullchain_pem).unwrap_or((issued.fullchain_pem, ""));
    let folder = certificates.join(folder_name(issued.names));
    let archive = folder.join(ARCHIVE);
    files::make_folder(&folder)?;
    files::make_folder(&archive)?;
    let _until_done = locked(&folder)?;
    files::remove_asides(&folder)?;
    files::remove_asides(&archive)?;
    let live = match read_of(certificates, issued.names) {
        // What was damaged is made good by a new certificate.
        Err(StoreError::Damaged { .. }) => {
            files::remove(&folder.join(NOTES))?;
            None
        }
        live => live?,
    };
    let versions = versions(&archive)?;
    let version = match find(&archive, &versions, &metadata.serial)? {
        Some(known) => known,
        None => {
            let next = versions.last().map_or(1, |last| last + 1);
            let contents = [
                ("cert.pem", leaf, files::OPEN),
                ("chain.pem", chain, files::OPEN),
                ("fullchain.pem", issued.fullchain_pem, files::OPEN),
                ("privkey.pem", issued.key_pem, files::SECRET),
                (CERTIFICATE, &document::text(&metadata), files::OPEN),
            ];
            files::write_folder(&archive.join(numbered(next)), &contents)?;
            next
        }
    };
    // What comes late does not take the place of a newer one.
    let age = (metadata.not_before, version);
    if live.is_none_or(|live| (live.metadata.not_before, live.version) < age) {
        files::link(&folder.join(LIVE), &Path::new(ARCHIVE).join(numbered(version)))?;
    }
    let gone = || StoreError::Damaged { path: folder.clone(), reason: "it went away".to_owned() };
    read_of(certificates, issued.names)?.ok_or_else(gone)
}

/// What is known of a certificate that is for the names and the key.
fn checked(issued: &Issued<'_>) -> Result<Metadata, StoreError> {
    let names = || shown(issued.names);
    let certificate = Certificate::parse(issued.fullchain_pem.as_bytes());
    let certificate = certificate.ok_or_else(|| StoreError::NoCertificate { names: names() })?;
    if certificate.names != *issued.names {
        return Err(StoreError::OtherNames { wanted: names(), found: shown(&certificate.names) });
    }
    let key = request::public_key(issued.key_pem).map_err(|error| StoreError::Key { names: names(), error })?;
    if certificate.public_key != key {
        return Err(StoreError::OtherKey { names: names() });
    }
    Ok(Metadata {
        names: certificate.names,
        serial: certificate.serial.to_string(),
        ari_id: certificate.ari_id,
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        issued_at: issued.issued_at,
        key_type: certificate.key_type,
        account: issued.account.to_owned(),
        account_name: issued.account_name.to_owned(),
        directory: issued.directory.to_owned(),
        profile: issued.profile.map(str::to_owned),
        tenant: issued.tenant.map(str::to_owned),
        challenge: issued.challenge.map(str::to_owned),
        permit: issued.permit.to_owned(),
        plan: issued.plan.cloned(),
        replaces: issued.replaces.map(str::to_owned),
    })
}

/// The lineage of exactly these names.
pub(super) fn read_of(certificates: &Path, names: &NameSet) -> Result<Option<Lineage>, StoreError> {
    let folder = certificates.join(folder_name(names));
    match read(&folder)? {
        Some(lineage) if lineage.names != *names => Err(StoreError::Taken { path: folder }),
        lineage => Ok(lineage),
    }
}

/// The lineage in a folder; `None` where no certificate is live there (yet).
pub(super) fn read(folder: &Path) -> Result<Option<Lineage>, StoreError> {
    let live = folder.join(LIVE);
    let damaged = |path: &Path, reason: &str| StoreError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
    let target = match fs::read_link(&live) {
        Ok(target) => target,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(damaged(&live, "it is no link")),
        Err(error) => return Err(files::failed("read", &live)(error).into()),
    };
    let number = target.strip_prefix(ARCHIVE).ok().and_then(Path::to_str).and_then(|number| number.parse().ok());
    let version = number.ok_or_else(|| damaged(&live, "it links to something else than archive/NNNN"))?;
    // By the number, so that a certificate that comes meanwhile changes nothing.
    let path = folder.join(ARCHIVE).join(numbered(version)).join(CERTIFICATE);
    let metadata: Metadata = document::read(&path)?.ok_or_else(|| damaged(&path, "it is missing"))?;
    if folder.file_name().is_none_or(|name| name != &*folder_name(&metadata.names)) {
        return Err(damaged(&path, "its names belong to another folder"));
    }
    let notes = document::read::<NotesOf>(&folder.join(NOTES))?.filter(|of| of.serial == metadata.serial);
    let notes = notes.map(|of| of.notes).unwrap_or_default();
    Ok(Some(Lineage { names: metadata.names.clone(), folder: folder.to_owned(), version, metadata, notes }))
}

/// Keeps notes about the certificate in use.
pub(super) fn note(certificates: &Path, names: &NameSet, notes: &Notes) -> Result<(), StoreError> {
    let folder = certificates.join(folder_name(names));
    let none = || StoreError::None { names: shown(names) };
    if !folder.is_dir() {
        return Err(none());
    }
    let _until_done = locked(&folder)?;
    files::remove_asides(&folder)?;
    let lineage = read_of(certificates, names)?.ok_or_else(none)?;
    if lineage.notes == *notes {
        return Ok(());
    }
    let of = NotesOf { serial: lineage.metadata.serial, notes: notes.clone() };
    Ok(files::write(&folder.join(NOTES), &document::text(&of), files::OPEN)?)
}

/// Waits until nobody else writes in the folder of a lineage.
fn locked(folder: &Path) -> Result<fs::File, FileError> {
    let lock = files::lock_file(folder)?;
    lock.lock().map_err(files::failed("lock", folder))?;
    Ok(lock)
}

fn numbered(version: u32) -> String {
    format!("{version:04}")
}

/// The numbers in an archive, in order.
fn versions(archive: &Path) -> Result<Vec<u32>, FileError> {
    let mut versions: Vec<u32> = files::entries(archive)?.iter().filter_map(|name| name.parse().ok()).collect();
    versions.sort_unstable();
    Ok(versions)
}

/// The certificate with that serial number. One that is damaged is another.
fn find(archive: &Path, versions: &[u32], serial: &str) -> Result<Option<u32>, StoreError> {
    for version in versions.iter().rev() {
        match document::read::<Metadata>(&archive.join(numbered(*version)).join(CERTIFICATE)) {
            Ok(Some(of)) if of.serial == serial => return Ok(Some(*version)),
            Ok(_) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
