//! `certpace completions SHELL`: completions to be read by a shell.

use clap_complete::Shell;

use super::{Exit, TEMPLATE, Terminal, definition};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES)]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

const EXAMPLES: &str = "Examples:
  certpace completions bash > ~/.local/share/bash-completion/completions/certpace
  certpace completions zsh > ~/.zfunc/_certpace
  certpace completions fish > ~/.config/fish/completions/certpace.fish";

/// Prints them.
///
/// # Errors
/// Where stdout can't be written.
pub fn run(args: &Args, terminal: Terminal) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "certpace", &mut script);
    terminal.answer_raw(&script)?;
    Ok(Exit::DONE)
}
