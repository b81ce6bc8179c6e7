//! Reading inventories: files, `-` for stdin, several of them; bad rows are told.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;

use super::failure::Hint as _;
use super::terminal::{Terminal, Verbosity};
use crate::inventory::{self, Inventory, Settings, Source};
use crate::report::rejects;
use crate::report::words::grouped;

/// Reads files whole; `-` is stdin.
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
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().read_to_end(&mut bytes).context("can't read the inventory from stdin")?;
        return Ok(Source { name: "-".to_owned(), bytes });
    }
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(anyhow::anyhow!("{name} is a folder; an inventory is a file"))
            .hint(format!("name the files in it, such as {}", path.join("*.csv").display()));
    }
    let bytes = read(path).with_context(|| format!("can't read the inventory from {name}"))?;
    Ok(Source { name, bytes })
}

/// Bytes that are read in one go.
const PART_BYTES: usize = 16 << 20;

/// The bytes of a file. A large one is read in parts side by side: most of the time goes into memory that is touched for the first time.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if !metadata.is_file() || len <= PART_BYTES {
        return fs::read(path);
    }
    let mut bytes = vec![0; len];
    bytes.par_chunks_mut(PART_BYTES).enumerate().try_for_each(|(index, part)| {
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::Start((index * PART_BYTES) as u64))?;
        file.read_exact(part)
    })?;
    Ok(bytes)
}

/// Parses inventories, with a progress bar on a terminal where it takes long.
///
/// # Errors
/// Where a file is no inventory at all.
pub fn inventory(sources: Vec<Source>, settings: &Settings<'_>, terminal: Terminal) -> anyhow::Result<Inventory> {
    let total: usize = sources.iter().map(|source| source.bytes.len()).sum();
    let shown = total > 16 << 20 && io::stderr().is_terminal() && terminal.verbosity() >= Verbosity::Normal;
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total as u64), target);
    if let Ok(style) = ProgressStyle::with_template("reading  {wide_bar}  {percent} %  {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let inventory = inventory::read(sources, settings, &|bytes| bar.inc(bytes as u64));
    bar.finish_and_clear();
    let inventory = inventory.hint("an inventory is CSV with the column `hostname`, or one hostname a line")?;
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
