//! Writing files: aside first, then renamed into place, so that nobody ever sees half of one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, bail};

/// Whether an interrupt has come since [`watch`].
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on an interrupt (Ctrl-C, SIGTERM, SIGHUP) is noted, so that what is being written can be taken away. Whoever watches as well
    /// sees the same interrupts: a process has one handler.
    #[must_use]
    pub fn watch() -> Self {
        static OF_THE_PROCESS: LazyLock<Interrupt> = LazyLock::new(|| {
            let interrupt = Interrupt::default();
            let flag = Arc::clone(&interrupt.0);
            // Without a handler an interrupt ends the process, as ever.
            let _none = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
            interrupt
        });
        OF_THE_PROCESS.clone()
    }

    /// Whether one has come.
    #[must_use]
    pub fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What it would mean if the machine lost its power just after a file was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerCut {
    /// The same command makes the file again, and who reads half of one is told so: the system writes it to disk when it likes.
    Repeatable,
    /// The file takes over what stands nowhere else: it is on disk before it takes the place of what was there.
    Loses,
}

/// Writes what `parts` brings to `path`, aside and renamed. What is no regular file (a pipe, `/dev/null`) is written straight.
///
/// # Errors
/// Where it can't be written, or an interrupt comes: then `path` is as it was.
pub fn write(
    path: &Path,
    power_cut: PowerCut,
    interrupt: &Interrupt,
    parts: impl Iterator<Item = Vec<Vec<u8>>> + Send,
) -> anyhow::Result<()> {
    let fail = || format!("can't write {}", path.display());
    // Through a link, so that the link stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_new| path.to_owned());
    if let Ok(known) = fs::metadata(&target) {
        if known.is_dir() {
            bail!("can't write {}: it is a folder", path.display());
        }
        if !known.is_file() {
            let mut file = File::options().write(true).open(&target).with_context(fail)?;
            return pour(&mut file, interrupt, parts).with_context(fail);
        }
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut aside =
        tempfile::Builder::new().prefix(".certpace-").permissions(mode()).tempfile_in(folder).with_context(fail)?;
    pour(aside.as_file_mut(), interrupt, parts).with_context(fail)?;
    if power_cut == PowerCut::Loses {
        aside.as_file().sync_all().with_context(fail)?;
    }
    aside.persist(&target).map_err(|error| error.error).with_context(fail)?;
    Ok(())
}

/// Writes part after part; the next one is made while one is written.
fn pour(
    file: &mut File,
    interrupt: &Interrupt,
    mut parts: impl Iterator<Item = Vec<Vec<u8>>> + Send,
) -> io::Result<()> {
    let mut ready = parts.next();
    while let Some(part) = ready {
        if interrupt.has_come() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted; the file is as it was"));
        }
        let (written, next) = rayon::join(|| part.iter().try_for_each(|bytes| file.write_all(bytes)), || parts.next());
        written?;
        ready = next;
    }
    Ok(())
}

/// What a new file may be: as the umask leaves it, like any other.
fn mode() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o666)
}
