//! A ledger that is open for many who ask at once.

use std::sync::{Mutex, PoisonError};

use anyhow::{anyhow, bail};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::super::super::Context;
use super::super::super::failure::Hint as _;
use super::{LedgerOptions, Opened, Seen, Use, seed};
use crate::clock::Timescale;
use crate::gate::Gate;
use crate::issuer::desk::Desk;
use crate::ledger::{LedgerUrl, Writer};
use crate::time::Timestamp;

/// An open ledger for many who ask at once.
pub struct Shared {
    /// Its gates.
    pub desk: Desk,
    /// Where it is.
    pub url: LedgerUrl,
    seen: Option<Seen>,
}

impl Shared {
    /// As [`super::Session::remember`].
    pub fn remember(&mut self) {
        let mark = self.desk.mark();
        if let Some(seen) = &mut self.seen {
            seen.keep(mark);
        }
    }
}

impl LedgerOptions {
    /// Opens it for many who ask at once. With a speed other than 1 its time runs faster: a rehearsal, which begins at `start` unless it
    /// has begun before.
    ///
    /// # Errors
    /// As [`Self::open`]; also where its time runs at another speed.
    pub fn open_shared(&self, context: &Context, speed: u32, start: Timestamp) -> anyhow::Result<Shared> {
        context.check_token_buckets()?;
        if context.timescale != Timescale::REAL {
            bail!("--now can't be used here: what is issued is issued now; --speed N rehearses");
        }
        let url = self.url()?;
        let Opened { seen, known, store, realm } = self.begin(&url, Use::Write, context)?;
        let writer = Writer::start(store);
        let (limits, suffixes) = (context.limits.clone(), context.suffixes().clone());
        let seeds = Mutex::new(ChaCha8Rng::from_seed(seed()?));
        let make = move || {
            let mut own = [0; 32];
            seeds.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut own);
            Gate::sharing(writer.clone(), realm.clone(), limits.clone(), suffixes.clone(), Timescale::REAL, own)
        };
        let mut gate = make()?;
        gate.has_seen(known);
        let timescale = if speed == 1 {
            if gate.follow_rehearsal()? {
                let speed = gate.timescale().speed();
                return Err(anyhow!("this ledger's time for {} runs {speed} times as fast as the clock", gate.realm()))
                    .hint(format!("go on with the rehearsal by --speed {speed}, or take another ledger"));
            }
            Timescale::REAL
        } else {
            gate.rehearse(speed, start).hint("a rehearsal needs a ledger of its own: --ledger sqlite:FILE")?
        };
        if speed == 1 {
            self.replay(&mut gate, context)?;
        }
        Ok(Shared { desk: Desk::new(make, timescale)?, url, seen })
    }
}
