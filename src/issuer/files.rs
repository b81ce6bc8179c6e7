//! Files of certificates and accounts: written so that neither a crash nor a loss of power leaves half of anything, with permissions that
//! no umask changes.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

/// Files that hold a secret.
pub(super) const SECRET: u32 = 0o600;
/// Files that hold none: who may look into the folder is the folder's matter.
pub(super) const OPEN: u32 = 0o644;
/// Folders.
const FOLDER: u32 = 0o700;
/// How the names begin of what is not in its place yet.
const ASIDE: &str = ".new-";

/// A file or a folder can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("can't {doing} {path}: {error}", path = path.display())]
pub struct FileError {
    /// What was to be done.
    pub doing: &'static str,
    /// To which.
    pub path: PathBuf,
    /// The system's reason.
    pub error: io::Error,
}

/// Makes an error of the system's one that says what failed.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |error| FileError { doing, path: path.to_owned(), error }
}

/// Makes a folder if there is none. One that is there keeps its permissions; whoever made it may have been killed before it was on disk.
pub(super) fn make_folder(path: &Path) -> Result<(), FileError> {
    match DirBuilder::new().mode(FOLDER).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(FOLDER)).map_err(failed("make", path))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(failed("make", path)(error)),
    }
    sync(parent(path))
}

/// Makes a folder, and those above it that are missing.
pub(super) fn make_folders(path: &Path) -> Result<(), FileError> {
    let missing: Vec<_> =
        path.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
    missing.into_iter().rev().try_for_each(make_folder)?;
    make_folder(path)
}

/// Waits until the folder's entries are on disk. A folder that may not be read, as the one above the store, can't be waited for.
pub(super) fn sync(folder: &Path) -> Result<(), FileError> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(failed("write", folder)(error)),
        _ => Ok(()),
    }
}

/// Writes a file in the place of what was there. It is on disk afterwards.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), FileError> {
    let folder = parent(path);
    aside(folder, text, mode).and_then(|file| Ok(file.persist(path).map(drop)?)).map_err(failed("write", path))?;
    sync(folder)
}

/// Writes a file that is not there yet; one that is there stays as it is.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), FileError> {
    let folder = parent(path);
    let written = aside(folder, text, OPEN).and_then(|file| Ok(file.persist_noclobber(path).map(drop)?));
    match written {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed("write", path)(error)),
        _ => sync(folder),
    }
}

fn aside(folder: &Path, text: &str, mode: u32) -> io::Result<NamedTempFile> {
    // Made with 0600, and opened up afterwards if it may be.
    let mut file = tempfile::Builder::new().prefix(ASIDE).tempfile_in(folder)?;
    fill(file.as_file_mut(), text, mode)?;
    Ok(file)
}

fn fill(file: &mut File, text: &str, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes the folder `path` with these files (name, text, mode) in one step: it is there with all of them, or not at all.
pub(super) fn write_folder(path: &Path, contents: &[(&str, &str, u32)]) -> Result<(), FileError> {
    let parent = parent(path);
    let fill_folder = |folder: &TempDir| {
        fs::set_permissions(folder.path(), Permissions::from_mode(FOLDER))?;
        for (name, text, mode) in contents {
            let at = folder.path().join(name);
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, SECRET);
            fill(&mut options.write(true).create_new(true).open(at)?, text, *mode)?;
        }
        File::open(folder.path())?.sync_all()
    };
    let folder = tempfile::Builder::new().prefix(ASIDE).tempdir_in(parent).map_err(failed("make", path))?;
    fill_folder(&folder).and_then(|()| fs::rename(folder.path(), path)).map_err(failed("write", path))?;
    // It has another name now: there is nothing to be removed.
    let _moved = folder.keep();
    sync(parent)
}

/// Makes `path` a link to `target`, in the place of one that was there.
pub(super) fn link(path: &Path, target: &Path) -> Result<(), FileError> {
    let folder = parent(path);
    tempfile::Builder::new()
        .prefix(ASIDE)
        .make_in(folder, |at| symlink(target, at))
        .and_then(|link| Ok(link.persist(path)?))
        .map_err(failed("write", path))?;
    sync(folder)
}

/// What is in a file; `None` where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some).map_err(failed("read", path)),
    }
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes what killed processes have left aside in a folder that nobody else writes now.
pub(super) fn remove_asides(folder: &Path) -> Result<(), FileError> {
    for name in entries(folder)?.iter().filter(|name| name.starts_with(ASIDE)) {
        let path = folder.join(name);
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|of| of.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(failed("remove", &path))?;
    }
    Ok(())
}

/// The names of a folder's entries, in no order; none where there is no such folder. What is not UTF-8 is not ours.
pub(super) fn entries(folder: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("read", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed("read", folder))?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Opens the lock of a folder, which is a file in it.
pub(super) fn lock_file(folder: &Path) -> Result<File, FileError> {
    let path = folder.join(".lock");
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, SECRET);
    options.write(true).create(true).truncate(false).open(&path).map_err(failed("lock", &path))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
