//! The life of permits: told step by step, as properties of the machine, and against a CA that counts by itself.
#![expect(clippy::unwrap_used, reason = "a case that can't be built is a failure")]

#[path = "permits/ca.rs"]
mod ca;
#[path = "permits/machine.rs"]
mod machine;
#[path = "permits/story.rs"]
mod story;

use std::sync::LazyLock;

use certpace::psl::SuffixList;

/// One parse serves all cases.
static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(SuffixList::embedded);
