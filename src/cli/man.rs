//! `certpace man`: the manual.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_mangen::Man;

use super::{Exit, TEMPLATE, Terminal, definition};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES)]
pub struct Args {
    /// Write a page for each command into this directory, which is made if need be
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  certpace man | man -l -                       read the main page
  certpace man --out ~/.local/share/man/man1    install a page for each command";

/// Prints the main page, or writes all.
///
/// # Errors
/// Where a page can't be written.
pub fn run(args: &Args, terminal: Terminal) -> anyhow::Result<Exit> {
    match &args.out {
        Some(directory) => write_all(directory, terminal)?,
        None => terminal.answer_raw(&page(&definition())?)?,
    }
    Ok(Exit::DONE)
}

fn page(command: &clap::Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).context("can't render the manual")?;
    Ok(page)
}

/// Writes `certpace.1` and a `certpace-COMMAND.1` for each command.
fn write_all(directory: &Path, terminal: Terminal) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("can't make the directory {}", directory.display()))?;
    let main = definition();
    for command in std::iter::once(&main).chain(main.get_subcommands()) {
        let path = directory.join(format!("{}.1", command.get_display_name().unwrap_or("certpace")));
        fs::write(&path, page(command)?).with_context(|| format!("can't write the page {}", path.display()))?;
        terminal.detail(&format!("wrote {}", path.display()));
    }
    Ok(())
}
