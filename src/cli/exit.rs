//! Exit codes: one table for all commands. The output's format never changes them.

use std::process::ExitCode;

/// How a command ended.
///
/// | code | meaning |
/// |---|---|
/// | 0 | [`Exit::DONE`] |
/// | 1 | [`Exit::ERROR`] |
/// | 2 | [`Exit::USAGE`] |
/// | 4 | [`Exit::MISSES_DEADLINE`] |
/// | 5 | [`Exit::EXPECTATION_FAILED`] |
/// | 6 | [`Exit::STALE`] |
///
/// 3 and 7 to 9 are kept for the commands to come: not now, never, in hand, ledger out of reach.
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
    /// The plan misses its deadline. It is written all the same.
    pub const MISSES_DEADLINE: Self = Self(4);

    /// Something in a scenario did not come as expected, or `enforce --fail-on-refusal` has refused a client.
    pub const EXPECTATION_FAILED: Self = Self(5);

    /// The plan was made under other limits, and these refuse some of its orders.
    pub const STALE: Self = Self(6);

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
