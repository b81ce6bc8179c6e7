//! Exit codes: one table for all commands. The output's format never changes them.

use std::process::ExitCode;

use super::failure::{Stale, find};
use crate::gate::GateError;
use crate::gate::journal::ReplayError;
use crate::ledger::LedgerError;

/// How a command ended.
///
/// | code | meaning |
/// |---|---|
/// | 0 | [`Exit::DONE`] |
/// | 1 | [`Exit::ERROR`] |
/// | 2 | [`Exit::USAGE`] |
/// | 3 | [`Exit::NOT_NOW`] |
/// | 4 | [`Exit::MISSES_DEADLINE`] |
/// | 5 | [`Exit::EXPECTATION_FAILED`] |
/// | 6 | [`Exit::STALE`] |
/// | 7 | [`Exit::NEVER`] |
/// | 8 | [`Exit::IN_HAND`] |
/// | 9 | [`Exit::NO_LEDGER`] |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Exit(u8);

impl Exit {
    /// Done, or allowed.
    pub const DONE: Self = Self(0);
    /// An error: bad input, or a file that can't be read or written.
    pub const ERROR: Self = Self(1);
    /// Usage: an option or argument that there is not.
    pub const USAGE: Self = Self(2);
    /// A limit: the answer says until when, and names every bucket in the way.
    pub const NOT_NOW: Self = Self(3);
    /// The plan misses its deadline. It is written all the same.
    pub const MISSES_DEADLINE: Self = Self(4);

    /// Something in a scenario did not come as expected, or `enforce --fail-on-refusal` has refused a client.
    pub const EXPECTATION_FAILED: Self = Self(5);

    /// The plan was made under looser limits or of other rows, and is not to be performed as it is.
    pub const STALE: Self = Self(6);

    /// Not until a person does something: a refused name, too many names, paused, frozen.
    pub const NEVER: Self = Self(7);

    /// Another holder has the permit for this set.
    pub const IN_HAND: Self = Self(8);

    /// The ledger can't be reached, or can't be relied on.
    pub const NO_LEDGER: Self = Self(9);

    /// How a command ends that fails with `error`.
    pub fn of_error(error: &anyhow::Error) -> Self {
        if find::<Stale>(error).is_some() {
            return Self::STALE;
        }
        match ledger_error(error) {
            None | Some(LedgerError::Url { .. }) => Self::ERROR,
            Some(
                LedgerError::Unreachable { .. }
                | LedgerError::NotInitialised { .. }
                | LedgerError::Damaged { .. }
                | LedgerError::WentBack { .. }
                | LedgerError::Schema { .. }
                | LedgerError::Unsafe { .. }
                | LedgerError::Row { .. },
            ) => Self::NO_LEDGER,
        }
    }

    /// A code that a program run by certpace ended with.
    pub const fn of_program(code: u8) -> Self {
        Self(code)
    }

    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// The ledger's error among an error and its causes.
pub(super) fn ledger_error(error: &anyhow::Error) -> Option<&LedgerError> {
    let replayed = find::<ReplayError>(error).and_then(|error| match error {
        ReplayError::Gate(error) => Some(error),
        ReplayError::File(_) => None,
    });
    let gate = find::<GateError>(error).or(replayed);
    gate.and_then(GateError::ledger).or_else(|| find::<LedgerError>(error))
}
