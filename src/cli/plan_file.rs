//! Reading plan files, line by line: they may hold millions of orders.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;
use memchr::memmem::Finder;

use super::failure::Hint as _;
use crate::digest::Hasher;
use crate::plan::replan::{Earlier, EarlierOrder};
use crate::report::plan_file::{Continues, PlanFileError, PlanHead, read_head, read_order};
use crate::time::Span;

/// A plan file, read line by line.
pub struct PlanFile {
    name: String,
    /// Its first line.
    pub head: PlanHead,
    head_line: Vec<u8>,
    /// How many orders were read.
    read: usize,
    lines: Box<dyn BufRead>,
}

impl PlanFile {
    /// Opens a plan; `-` is stdin.
    ///
    /// # Errors
    /// Where it can't be read, or is no plan.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let mut lines: Box<dyn BufRead> = if path.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(path).with_context(|| format!("can't read the plan from {name}"))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        };
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).with_context(|| format!("can't read the plan from {name}"))?;
        let head = read_head(&line)
            .with_context(|| format!("can't read the plan from {name}"))
            .hint("`certpace plan names.csv -o plan.jsonl` makes one")?;
        Ok(Self { name, head, head_line: line, read: 0, lines })
    }

    /// Calls `with` for every line with one of `needles` (all, if there is none) and its number.
    ///
    /// # Errors
    /// That of `with`; or where the file can't be read, or holds fewer orders than its first line says.
    pub fn each(
        &mut self,
        needles: &[String],
        mut with: impl FnMut(&[u8], usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let finders: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
        let name = self.name.clone();
        let fail = || format!("can't read the plan from {name}");
        while let Some((line, number)) = self.next_line()? {
            if finders.is_empty() || finders.iter().any(|finder| finder.find(&line).is_some()) {
                with(&line, number).with_context(fail)?;
            }
        }
        Ok(())
    }

    /// The next line that holds an order, with its number; `None` at the end.
    ///
    /// # Errors
    /// Where the file can't be read, or holds fewer orders than its first line says.
    pub fn next_line(&mut self) -> anyhow::Result<Option<(Vec<u8>, usize)>> {
        let fail = || format!("can't read the plan from {}", self.name);
        let mut line = Vec::new();
        if self.lines.read_until(b'\n', &mut line).with_context(fail)? > 0 {
            self.read += 1;
            return Ok(Some((line, self.read + 1)));
        }
        match self.head.orders() {
            Some(expected) if expected != self.read as u64 => {
                Err(PlanFileError::Incomplete { found: self.read, expected }).with_context(fail)
            }
            _ => Ok(None),
        }
    }

    /// How many orders were read.
    #[must_use]
    pub fn orders_read(&self) -> u64 {
        self.read as u64
    }

    /// How late the plan's orders may be.
    ///
    /// # Errors
    /// Where its first line does not say.
    pub fn margin(&self) -> anyhow::Result<Span> {
        Span::parse(&self.head.margin).with_context(|| format!("{}: the margin can't be read", self.name))
    }

    /// The whole plan, to plan again from; and what a plan made from it says of that.
    ///
    /// # Errors
    /// Where it can't be read to its end.
    pub fn into_earlier(mut self) -> anyhow::Result<(Earlier, Continues)> {
        let margin = self.margin()?;
        let mut orders: Vec<EarlierOrder> = Vec::new();
        let mut digest = Hasher::new();
        digest.update(&self.head_line);
        self.each(&[], |line, number| {
            digest.update(line);
            orders.push(read_order(line, number)?.into());
            Ok(())
        })?;
        let own = digest.finish_as_text();
        let before = self.head.continues.as_ref().map_or(0, |continues| continues.last_order);
        let last_order = orders.iter().map(|order| order.number).max().unwrap_or(0).max(before);
        let continues = Continues { plan: self.head.identity(&own).to_owned(), last_order };
        Ok((Earlier { margin, orders, last_number: before }, continues))
    }
}
