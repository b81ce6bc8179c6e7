//! What the CA's answers cost: what upstream accepted, and what is seen to come of it.

use super::{Charge, Enforcer, Moment, Pending, Reply};
use crate::enforce::bodies::{AuthorizationBody, IdentifierBody, Object, OrderBody};

use crate::enforce::journal::{Done, Event};
use crate::enforce::passed::{Authorization, Certificate, Order, State};
use crate::issuer::certificate;
use crate::issuer::endpoints::path_of;
use crate::name::Identifier;
use crate::rules::{Exemption, OrderId, Request};

impl Enforcer {
    /// The CA's answer to a request that was let through; `None`: there is none.
    pub fn response(&mut self, at: Moment, pending: Pending, reply: Option<Reply<'_>>) {
        let Pending { call, account, charge, mut entry } = pending;
        let status = reply.map_or(502, |reply| reply.status);
        let body = reply.filter(|reply| matches!(reply.status, 200 | 201));
        entry.status = status;
        if reply.is_none() {
            entry.done = Done::Unanswered;
        }
        let events = &mut entry.events;
        match charge {
            Charge::Nothing => {}
            Charge::KnownKey(key) => self.learn_key(status, key),
            Charge::Account { ip, key } => {
                if status == 201 {
                    events.push(Event::AccountMade);
                } else {
                    self.model.refund_registration(ip, at.limits, &mut self.batch);
                    events.push(Event::AccountRefunded);
                }
                self.learn_key(status, key);
            }
            Charge::Order { id, exemption, replaces, missing } => {
                if status == 201 {
                    events.push(Event::OrderMade { exemption });
                    let finalize = body.and_then(|reply| self.order_made(id, reply));
                    if finalize.is_none() {
                        events.push(Event::NotCounted { why: "the CA's answer is no order".to_owned() });
                    }
                    if let (Some(certificate), Some(finalize)) = (replaces, finalize) {
                        self.passed.replacements.insert(certificate, finalize);
                    }
                } else {
                    self.model.refund_order(id, exemption, at.limits, &mut self.batch);
                    missing.into_iter().for_each(|pair| self.model.settle(pair));
                    events.push(Event::OrderRefunded);
                }
            }
        }
        if let (Some(account), Some(reply), true) = (account, body, call.request == Request::Other) {
            let finalizes = call.payload.csr.is_some();
            self.see(at, (&account, &call.path, finalizes), reply, events);
        }
        self.journal.add(entry);
    }

    fn learn_key(&mut self, status: u16, key: String) {
        if matches!(status, 200 | 201) {
            self.passed.keys.insert(key);
        }
    }

    /// Keeps an order that was just made, and returns the path under which it is kept. The CA may give one that was there: what is known
    /// of it stays.
    fn order_made(&mut self, id: OrderId, reply: Reply<'_>) -> Option<String> {
        let Ok(Object::Order(body)) = serde_json::from_slice(reply.body) else { return None };
        let finalize = path_of(&body.finalize)?;
        let authorizations: Vec<String> = body.authorizations.iter().filter_map(|url| path_of(url)).collect();
        for path in &authorizations {
            self.passed.authorizations.entry(path.clone()).or_default();
        }
        let order = Order { id, authorizations, issued: false, invalid: false };
        self.passed.orders.entry(finalize.clone()).or_insert(order);
        Some(finalize)
    }

    /// An object of the CA passes, as the answer to a request of `account` for `path`.
    fn see(
        &mut self,
        at: Moment,
        (account, path, finalizes): (&str, &str, bool),
        reply: Reply<'_>,
        events: &mut Vec<Event>,
    ) {
        if reply.content_type.starts_with("application/pem-certificate-chain") {
            if let Some((id, names)) = certificate::read(reply.body) {
                self.passed.certificates.insert(id, Certificate { account: account.to_owned(), names });
            }
            return;
        }
        match serde_json::from_slice(reply.body) {
            Ok(Object::Order(order)) => self.see_order(at, account, &order, finalizes, events),
            Ok(Object::Authorization(body)) => {
                for challenge in &body.challenges {
                    if let Some(challenge) = path_of(&challenge.url) {
                        self.passed.challenges.insert(challenge, path.to_owned());
                    }
                }
                self.see_authorization(at, account, path, &body, events);
            }
            Ok(Object::Challenge(body)) => {
                // What comes of a challenge comes of its authorization.
                let known = self.passed.challenges.get(path).cloned();
                if let (Some(of), "valid" | "invalid") = (known, body.status.as_str()) {
                    self.became(at, account, &of, &body.status, events);
                }
            }
            Err(_of_no_account_here) => {}
        }
    }

    /// An order that is being issued, or was, counts once. One that was made before the proxy began counts when it is finalized.
    fn see_order(&mut self, at: Moment, account: &str, body: &OrderBody, finalizes: bool, events: &mut Vec<Event>) {
        let Some(finalize) = path_of(&body.finalize) else { return };
        if finalizes && !self.passed.orders.contains_key(&finalize) {
            match IdentifierBody::names(&body.identifiers) {
                Ok(names) => {
                    let id = self.model.order(account, &names);
                    let order = Order { id, authorizations: Vec::new(), issued: false, invalid: false };
                    self.passed.orders.insert(finalize.clone(), order);
                }
                Err(why) => events.push(Event::NotCounted { why }),
            }
        }
        let Some(order) = self.passed.orders.get_mut(&finalize) else { return };
        order.invalid = body.status == "invalid";
        if order.issued || !matches!(body.status.as_str(), "processing" | "valid") {
            return;
        }
        order.issued = true;
        let id = order.id;
        let renewal = self.model.exemption(id, false, at.limits) == Exemption::SameSet;
        self.model.issued(id, renewal, at.limits, &mut self.batch);
        let names = self.model.names_of(id).map(ToString::to_string).collect();
        events.push(Event::Issued { names, renewal });
    }

    fn see_authorization(
        &mut self,
        at: Moment,
        account: &str,
        path: &str,
        body: &AuthorizationBody,
        events: &mut Vec<Event>,
    ) {
        let Some(name) = body.identifier() else { return };
        if body.status == "valid" {
            let pair = self.model.pair(account, &name);
            let until = body.expires().unwrap_or(at.wall);
            self.passed.authorized_until.insert(pair, until);
        }
        let known = self.passed.authorizations.entry(path.to_owned()).or_default();
        known.name = Some(name);
        self.became(at, account, path, &body.status, events);
    }

    /// An authorization is seen in a state: the first sight of it counts.
    fn became(&mut self, at: Moment, account: &str, path: &str, status: &str, events: &mut Vec<Event>) {
        let Some(Authorization { name: Some(name), state }) = self.passed.authorizations.get_mut(path) else { return };
        let (name, before) = (name.clone(), *state);
        let now = match status {
            "pending" | "processing" => State::Pending,
            "valid" => State::Valid,
            _ => State::Over,
        };
        if now == before {
            return;
        }
        *state = now;
        let pair = self.model.pair(account, &name);
        if now == State::Over {
            self.passed.authorized_until.remove(&pair);
        }
        let batches = [&mut self.batch, &mut self.second];
        let was_open = matches!(before, State::Unseen | State::Pending);
        let pauses = match status {
            "valid" if was_open => {
                self.model.pair_succeeded(pair, at.limits, &mut self.batch);
                events.push(Event::ValidationSucceeded { name: name.to_string() });
                return;
            }
            "invalid" if was_open => {
                events.push(Event::ValidationFailed { name: name.to_string() });
                self.model.pair_failed(pair, at.limits, batches)
            }
            "deactivated" if was_open => {
                events.push(Event::Deactivated { name: name.to_string() });
                self.model.pair_deactivated(pair, at.limits, batches).unwrap_or_default()
            }
            _ => return,
        };
        if pauses {
            self.pause(account, name, events);
        }
    }

    fn pause(&mut self, account: &str, name: Identifier, events: &mut Vec<Event>) {
        events.push(Event::Paused { name: name.to_string() });
        let pair = (account.to_owned(), name);
        if !self.passed.paused.contains(&pair) {
            self.passed.paused.push(pair);
        }
    }
}
