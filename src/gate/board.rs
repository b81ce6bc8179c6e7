//! What a person says to the whole realm: stop and go on; and what was lost.

use super::document::{BOARD, Board, Freeze, Paused, Scope, text};
use super::permitted::Permitted;
use super::record::Entry;
use super::request::{GateError, Request};
use super::{Gate, document};
use crate::ledger::{Mark, Step, Write};
use crate::limits::LimitName;
use crate::name::NameSet;
use crate::time::Timestamp;

impl Gate {
    /// What holds for the whole realm.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be read.
    pub fn board(&mut self) -> Result<Board, GateError> {
        self.load(&[BOARD.to_owned()])?;
        Ok(self.documents.get(BOARD).map_or(Ok(None), document::read)?.unwrap_or_default())
    }

    /// Nothing of `scope` goes out until it is thawed, not even what has a permit that was not sent yet. A second freeze of the same
    /// scope gives a new reason.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be written.
    pub fn freeze(&mut self, scope: &Scope, reason: &str, by: &str) -> Result<Freeze, GateError> {
        self.change_board("freeze", by, |board, at| {
            board.frozen.retain(|freeze| freeze.scope != *scope);
            let freeze = Freeze { scope: scope.clone(), reason: reason.to_owned(), by: by.to_owned(), since: at };
            board.frozen.push(freeze.clone());
            freeze
        })
    }

    /// What was frozen goes on. Returns the freezes that ended; for a scope of everything all of them.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be written.
    pub fn thaw(&mut self, scope: &Scope, by: &str) -> Result<Vec<Freeze>, GateError> {
        self.change_board("thaw", by, |board, _| {
            let ends = |freeze: &Freeze| *scope == Scope::Everything || freeze.scope == *scope;
            let (ended, rest) = board.frozen.drain(..).partition(ends);
            board.frozen = rest;
            ended
        })
    }

    /// A person has unpaused the account's names at the CA; no names: all of them. Returns how many were paused here.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be written.
    pub fn unpause(&mut self, account: &str, names: &[String], by: &str) -> Result<usize, GateError> {
        self.change_board("unpause", by, |board, _| {
            let before = board.paused.len();
            board
                .paused
                .retain(|paused| paused.account != account || !names.is_empty() && !names.contains(&paused.name));
            before - board.paused.len()
        })
    }

    /// The CA has paused names of the permit, as far as can be told from what failed.
    pub(super) fn pause(&mut self, permit: &Permitted, names: &[String]) -> Result<(), GateError> {
        self.change_board("pause", &permit.holder, |board, at| board.pause(&permit.account, names, at))
    }

    /// Something was lost, or is not known: all buckets count as empty now, those of `limits` alone if there are any; and with `epoch` a
    /// new epoch begins, so that whoever saw the ledger before the loss goes on with it.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be written.
    pub fn assume_empty(&mut self, limits: &[LimitName], epoch: bool, by: &str) -> Result<Mark, GateError> {
        self.empty(limits, None, epoch, by)
    }

    /// What happened after `since` is not known: as much as the limits allow may have been spent, so that all buckets count as empty now,
    /// and what is open is unknown, since it may have gone out. A new epoch begins. Returns how many permits were open.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be written.
    pub fn lose_since(&mut self, since: Timestamp, by: &str) -> Result<usize, GateError> {
        self.empty(&[], Some(since), true, by)?;
        let open: Vec<_> = self.permits()?.into_iter().filter(|permit| permit.life.state.is_live()).collect();
        for permit in &open {
            self.lost(&permit.permit)?;
        }
        Ok(open.len())
    }

    fn empty(
        &mut self,
        limits: &[LimitName],
        since: Option<Timestamp>,
        epoch: bool,
        by: &str,
    ) -> Result<Mark, GateError> {
        let (reply, ..) = self.decide(&[BOARD.to_owned()], false, |gate, view| {
            let mut board = view.board()?;
            if limits.is_empty() {
                (board.empty_at, board.unknown_since) = (Some(view.at), since);
            }
            board.limits_empty_at.extend(limits.iter().map(|limit| (limit.as_str().to_owned(), view.at)));
            Ok((gate.board_step("recover", by, board, epoch), ()))
        })?;
        Ok(reply.mark)
    }

    fn change_board<T>(
        &mut self,
        what: &str,
        by: &str,
        mut change: impl FnMut(&mut Board, Timestamp) -> T,
    ) -> Result<T, GateError> {
        let (_, _, made) = self.decide(&[BOARD.to_owned()], false, |gate, view| {
            let mut board = view.board()?;
            let made = change(&mut board, view.at);
            Ok((gate.board_step(what, by, board, false), made))
        })?;
        Ok(made)
    }

    fn board_step(&self, what: &str, by: &str, mut board: Board, epoch: bool) -> Step {
        board.realm = self.realm.to_string();
        let mut step = Step::new(self.code.clone(), self.known);
        step.opens_epoch = epoch;
        step.record = Some(Entry::new(what, None, by).with("board", Some(&board)).text_with(&step));
        step.writes.push(Write { name: BOARD.to_owned(), body: Some(text(&board)), lease: None });
        step
    }

    /// The first freeze that stops the request.
    pub(super) fn frozen<'a>(&self, request: &Request, board: &'a Board) -> Option<&'a Freeze> {
        let stops =
            |freeze: &&Freeze| self.covers(&freeze.scope, &request.account, request.tenant.as_deref(), &request.names);
        board.frozen.iter().find(stops)
    }

    /// Whether the freeze stops what was permitted.
    pub(super) fn stops(&self, freeze: &Freeze, permit: &Permitted) -> bool {
        let names = NameSet::parse(permit.names.iter().map(String::as_str));
        names.is_ok_and(|names| self.covers(&freeze.scope, &permit.account, permit.tenant.as_deref(), &names))
    }

    fn covers(&self, scope: &Scope, account: &str, tenant: Option<&str>, names: &NameSet) -> bool {
        match scope {
            Scope::Everything => true,
            Scope::Account(of) => of == account,
            Scope::Tenant(of) => tenant == Some(of),
            Scope::Domain(of) => names.identifiers().iter().any(|name| self.model.suffixes().domain_of(name) == *of),
        }
    }
}

impl Board {
    /// The names are paused for the account, if they were not already.
    pub(super) fn pause(&mut self, account: &str, names: &[String], since: Timestamp) {
        for name in names {
            if !self.paused.iter().any(|paused| paused.account == account && paused.name == *name) {
                self.paused.push(Paused { account: account.to_owned(), name: name.clone(), since });
            }
        }
        self.paused.sort_unstable();
    }
}
