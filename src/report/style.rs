//! The few styles that text has.

use anstyle::{AnsiColor, Style};

/// A section's title and a table's head.
pub const HEAD: Style = Style::new().bold();
/// What a row is about: a limit, a profile, a domain.
pub const NAME: Style = AnsiColor::Cyan.on_default();
/// Explanations and sources: there for those who look for them.
pub const FAINT: Style = Style::new().dimmed();
/// What holds now, or went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What the reader should look at twice.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What went wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Text as it is.
pub const PLAIN: Style = Style::new();

/// `text` in `style`.
#[must_use]
pub fn paint(style: Style, text: &str) -> String {
    if style == PLAIN || text.is_empty() { text.to_owned() } else { format!("{style}{text}{style:#}") }
}
