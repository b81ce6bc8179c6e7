//! Reading inventories: files, `-` for stdin, several of them; bad rows are told.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::Hint as _;
use super::terminal::{Terminal, Verbosity};
use crate::inventory::{self, Bytes, Inventory, LayoutError, Settings, Source};
use crate::report::rejects;
use crate::report::words::grouped;

/// Opens files; `-` is stdin.
///
/// # Errors
/// With the path and what is wrong with it.
pub fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        bail!("`-` (stdin) is named twice; it can be read once");
    }
    paths.iter().map(|path| source(path)).collect()
}

fn source(path: &Path) -> anyhow::Result<Source> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("can't read the inventory from stdin")?;
        return Ok(Source::new("-", bytes));
    }
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(anyhow::anyhow!("{name} is a folder; an inventory is a file"))
            .hint(format!("name the files in it, such as {}", path.join("*.csv").display()));
    }
    let bytes = open(path).with_context(|| format!("can't read the inventory from {name}"))?;
    Ok(Source { name, bytes })
}

/// A file is read where and when its bytes are asked for; what can be read only once, such as a pipe, is read here.
fn open(path: &Path) -> io::Result<Arc<dyn Bytes>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        return Ok(Arc::new(bytes));
    }
    Ok(Arc::new(OnDisk { file, size: metadata.len(), modified: metadata.modified()? }))
}

/// A file on disk, as it was when it was opened.
#[derive(Debug)]
struct OnDisk {
    file: File,
    size: u64,
    modified: SystemTime,
}

impl OnDisk {
    /// Fills `part` with what stands there now.
    fn fill(&self, offset: usize, part: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        while len < part.len() {
            match self.file.read_at(&mut part[len..], (offset + len) as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }

    fn has_changed(&self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        Ok((metadata.len(), metadata.modified()?) != (self.size, self.modified))
    }
}

impl Bytes for OnDisk {
    fn size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    fn read_at(&self, offset: usize, part: &mut [u8]) -> Result<usize, String> {
        let len = self.fill(offset, part).map_err(|error| error.to_string())?;
        match self.has_changed() {
            Ok(false) => Ok(len),
            Ok(true) => Err("it was written to while it was read; try again when that is over".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Parses inventories, with a progress bar on a terminal where it takes long.
///
/// # Errors
/// Where a file is no inventory at all.
pub fn inventory(sources: Vec<Source>, settings: &Settings<'_>, terminal: Terminal) -> anyhow::Result<Inventory> {
    let total: usize = sources.iter().map(|source| source.bytes.size()).sum();
    let shown = total > 16 << 20 && io::stderr().is_terminal() && terminal.verbosity() >= Verbosity::Normal;
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total as u64), target);
    if let Ok(style) = ProgressStyle::with_template("reading  {wide_bar}  {percent} %  {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let inventory = inventory::read(sources, settings, &|bytes| bar.inc(bytes as u64));
    bar.finish_and_clear();
    let inventory = match inventory {
        // Its shape has nothing to do with it.
        Err(error) if matches!(error.reason, LayoutError::Unreadable(_)) => return Err(error.into()),
        read => read.hint("an inventory is CSV with the column `hostname`, or one hostname a line")?,
    };
    for (source, column) in &inventory.ignored_columns {
        terminal.warn(&format!(
            "{}: the column `{column}` means nothing to certpace and is ignored",
            inventory.sources()[*source].name
        ));
    }
    Ok(inventory)
}

/// Tells bad rows. Without `skip_invalid` they are an error.
///
/// # Errors
/// Where there are bad rows and they are not to be skipped.
pub fn tell_rejects(inventory: &Inventory, skip_invalid: bool, terminal: Terminal) -> anyhow::Result<()> {
    if inventory.rejects.is_empty() {
        return Ok(());
    }
    let count = inventory.rejects.len();
    let rows = if count == 1 { "1 row".to_owned() } else { format!("{} rows", grouped(count as u64)) };
    if skip_invalid {
        terminal.warn(&format!("{rows} left out:\n{}", rejects::text(inventory).trim_end()));
        return Ok(());
    }
    Err(anyhow::anyhow!("{rows} can't be planned, and nothing was:\n{}", rejects::text(inventory).trim_end()))
        .hint("mend them, or plan the others with --skip-invalid --rejects rejects.csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_to_meanwhile_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hostname\na.com\n").unwrap();
        let (bytes, mut part) = (open(file.path()).unwrap(), [0; 64]);
        assert_eq!(bytes.read_at(9, &mut part), Ok(6));
        assert_eq!(&part[..6], b"a.com\n");
        std::fs::write(file.path(), "hostname\na.com\nb.com\n").unwrap();
        assert!(bytes.read_at(9, &mut part).unwrap_err().starts_with("it was written to"));
    }
}
