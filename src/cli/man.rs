//! `certpace man`: the manual.

use std::fs;
use std::io::{self, Write as _};
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

/// One page: clap's sections, with the examples before the options as in `--help`, and what stands below them kept in its lines.
fn page(command: &clap::Command) -> anyhow::Result<Vec<u8>> {
    let man = Man::new(command.clone()).source(concat!("certpace ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let rendered = (|| {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        literal(&mut page, command.get_before_help())?;
        man.render_options_section(&mut page)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        literal(&mut page, command.get_after_help())
    })();
    rendered.context("can't render the manual")?;
    Ok(page)
}

/// Lines as they are, under their first one as a title if it ends in a colon, else under `NOTES`.
fn literal(page: &mut Vec<u8>, help: Option<&clap::builder::StyledStr>) -> io::Result<()> {
    let Some(help) = help.map(ToString::to_string) else { return Ok(()) };
    let (first, rest) = help.split_once('\n').unwrap_or((&help, ""));
    let (title, body) = first.strip_suffix(':').map_or(("NOTES", help.as_str()), |title| (title, rest));
    writeln!(page, ".SH \"{}\"\n.nf", title.to_uppercase())?;
    for line in body.lines() {
        // `\\&` keeps a line that begins with a dot or a quote from being a request.
        writeln!(page, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq"))?;
    }
    writeln!(page, ".fi")
}

/// A command and all below it.
fn all_of(command: &clap::Command) -> Vec<&clap::Command> {
    std::iter::once(command).chain(command.get_subcommands().flat_map(all_of)).collect()
}

/// Writes `certpace.1` and a `certpace-COMMAND.1` for each command, and for each of its commands.
fn write_all(directory: &Path, terminal: Terminal) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("can't make the directory {}", directory.display()))?;
    let main = definition();
    for command in all_of(&main) {
        let path = directory.join(format!("{}.1", command.get_display_name().unwrap_or("certpace")));
        fs::write(&path, page(command)?).with_context(|| format!("can't write the page {}", path.display()))?;
        terminal.detail(&format!("wrote {}", path.display()));
    }
    Ok(())
}
