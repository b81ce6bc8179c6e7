//! Errors with a hint what to do about them.

use std::error::Error;
use std::fmt;

/// An error and what its reader can do.
#[derive(Debug)]
struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// A plan must not be performed as it is any more: what, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stale(pub String);

/// Adds what to do to an error.
pub trait Hint<T> {
    /// The same result; its error is printed with `hint` below.
    ///
    /// # Errors
    /// The result's.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| hinted(error.into(), hint))
    }
}

/// The same error, printed with `hint` below.
pub fn hinted(error: anyhow::Error, hint: impl Into<String>) -> anyhow::Error {
    Hinted { error, hint: hint.into() }.into()
}

/// The error of type `T` among an error and its causes, hinted or not.
pub(super) fn find<T: Error + 'static>(error: &anyhow::Error) -> Option<&T> {
    error.chain().find_map(|cause| match cause.downcast_ref::<Hinted>() {
        Some(hinted) => find(&hinted.error),
        None => cause.downcast_ref(),
    })
}

/// The hints of an error and its causes, outermost first.
pub(super) fn hints(error: &anyhow::Error) -> impl Iterator<Item = &str> {
    error.chain().filter_map(|cause| cause.downcast_ref::<Hinted>()).map(|hinted| hinted.hint.as_str())
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn hints_survive_contexts() {
        let failed: anyhow::Result<()> = Err(anyhow::anyhow!("inner")).context("outer");
        let error = failed.hint("do this").context("outermost").unwrap_err();
        assert_eq!(hints(&error).collect::<Vec<_>>(), ["do this"]);
        let chain: Vec<_> = error.chain().map(ToString::to_string).collect();
        assert_eq!(chain, ["outermost", "outer", "inner"]);
    }
}
