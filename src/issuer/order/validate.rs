//! Proving control of an order's names.

use instant_acme::{AuthorizationState, AuthorizationStatus, ChallengeStatus, ChallengeType, Order, OrderStatus};

use super::finish::pause;
use super::{Outcome, Work};
use crate::clock::Stopwatch;
use crate::issuer::challenge::{Kind, Proof};
use crate::issuer::wire::AcmeError;
use crate::name::Identifier;

const fn kind_of(kind: &ChallengeType) -> Option<Kind> {
    match kind {
        ChallengeType::Http01 => Some(Kind::Http01),
        ChallengeType::Dns01 => Some(Kind::Dns01),
        ChallengeType::TlsAlpn01 => Some(Kind::TlsAlpn01),
        _ => None,
    }
}

const fn type_of(kind: Kind) -> ChallengeType {
    match kind {
        Kind::Http01 => ChallengeType::Http01,
        Kind::Dns01 => ChallengeType::Dns01,
        Kind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// The name as the order has it.
fn ordered(identifier: &str, wildcard: bool) -> String {
    if wildcard { format!("*.{identifier}") } else { identifier.to_owned() }
}

impl Work<'_> {
    /// Has the names of a pending order validated, until the order is ready. The error is what came of it instead.
    pub(super) async fn validate(&mut self, order: &mut Order) -> Result<(), Outcome> {
        let (proofs, mut bad) = self.proofs(order).await?;
        let mut good = Vec::new();
        for (proof, set) in proofs.iter().zip(self.orders.challenges.set(&proofs).await) {
            let name = ordered(&proof.identifier.to_string(), proof.wildcard);
            match set {
                Ok(()) => good.push((name, proof)),
                Err(error) => bad.push((name, error.to_string())),
            }
        }
        let checks = good.iter().map(|(_, proof)| self.orders.challenges.precheck(proof));
        let checked = futures_util::future::join_all(checks).await;
        let mut ready = Vec::new();
        for ((name, proof), checked) in good.into_iter().zip(checked) {
            match checked {
                Ok(()) => ready.push(proof),
                Err(error) => bad.push((name, error.to_string())),
            }
        }
        // The good ones are validated even where the order can't be: the next one has them for nothing.
        let validated = self.ask_and_wait(order, &ready, bad.is_empty()).await;
        self.orders.challenges.clear(&proofs).await.into_iter().for_each(|cleared| _ = cleared);
        match validated {
            Err(Outcome::Failed { names, why }) => {
                bad.extend(names);
                let why = if bad.is_empty() { why } else { said(&bad) };
                Err(Outcome::Failed { names: bad, why })
            }
            Ok(()) if !bad.is_empty() => Err(Outcome::Failed { why: said(&bad), names: bad }),
            other => other,
        }
    }

    /// What the CA will look for; and the names for which there is no way.
    async fn proofs(&self, order: &mut Order) -> Result<(Vec<Proof>, Vec<(String, String)>), Outcome> {
        let (mut proofs, mut bad) = (Vec::new(), Vec::new());
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization.map_err(|error| self.broken(&self.session.error(error)))?;
            let of = authorization.identifier();
            let text = match of.identifier {
                instant_acme::Identifier::Dns(name) => name.clone(),
                instant_acme::Identifier::Ip(address) => address.to_string(),
                _ => of.to_string(),
            };
            let (name, wildcard) = (ordered(&text, of.wildcard), of.wildcard);
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => {
                    bad.push((name, format!("its authorization is {other:?} already")));
                    continue;
                }
            }
            let Ok(identifier) = Identifier::parse(&text) else {
                bad.push((name, "the CA has an authorization for something that is no name".to_owned()));
                continue;
            };
            let offered: Vec<_> = authorization.challenges.iter().filter_map(|of| kind_of(&of.r#type)).collect();
            match self.orders.challenges.choose(&identifier, wildcard, self.item.challenge, &offered) {
                Err(error) => bad.push((name, error.to_string())),
                Ok(kind) => {
                    let chosen = authorization.challenges.iter().find(|of| kind_of(&of.r#type) == Some(kind));
                    let token = chosen.map(|of| of.token.clone()).unwrap_or_default();
                    let key_authorization = self.session.key_authorization(&token);
                    let account_uri = Some(self.item.account.url.clone());
                    proofs.push(Proof { identifier, wildcard, kind, token, key_authorization, account_uri });
                }
            }
        }
        Ok((proofs, bad))
    }

    /// Asks for the validations of `ready`, and waits until there is an answer to all. `whole`: these are all that the order lacks.
    async fn ask_and_wait(&self, order: &mut Order, ready: &[&Proof], whole: bool) -> Result<(), Outcome> {
        let asked = self.ask(order, ready).await;
        if !whole || asked.is_err() {
            // Answers that were cleared while the CA looks for them would be failures.
            self.looked_at(order, ready).await;
            asked?;
            return match order.refresh().await {
                Ok(state) if state.status == OrderStatus::Invalid => Err(self.why_invalid(order).await),
                _ => Ok(()),
            };
        }
        let started = Stopwatch::start();
        let mut tries = 0;
        while order.state().status == OrderStatus::Pending {
            tokio::time::sleep(pause(self.session.seen().retry_after, tries)).await;
            tries += 1;
            if let Err(error) = order.refresh().await.map_err(|error| self.session.error(error))
                && !matches!(error, AcmeError::Unavailable { .. } | AcmeError::Lost { .. })
            {
                return Err(self.broken(&error));
            }
            if started.elapsed() > self.orders.settings.patience {
                let why = "the CA did not validate the names in time".to_owned();
                return Err(Outcome::Failed { names: Vec::new(), why });
            }
        }
        if order.state().status == OrderStatus::Invalid { Err(self.why_invalid(order).await) } else { Ok(()) }
    }

    /// Asks for validations.
    async fn ask(&self, order: &mut Order, ready: &[&Proof]) -> Result<(), Outcome> {
        let started = Stopwatch::start();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.broken(&self.session.error(error)))?;
            let Some(proof) = ready.iter().find(|proof| is_for(proof, &authorization)) else { continue };
            let Some(mut challenge) = authorization.challenge(type_of(proof.kind)) else { continue };
            let mut tries = 0;
            loop {
                match challenge.set_ready().await.map_err(|error| self.session.error(error)) {
                    // Whether it was taken is seen by what comes of it.
                    Ok(()) | Err(AcmeError::Problem { .. } | AcmeError::Lost { .. }) => break,
                    Err(AcmeError::Unavailable { .. }) if started.elapsed() < self.orders.settings.patience => {
                        tokio::time::sleep(pause(self.session.seen().retry_after, tries)).await;
                        tries += 1;
                    }
                    Err(error) => return Err(self.broken(&error)),
                }
            }
        }
        Ok(())
    }

    /// Waits until the CA has an opinion of each of `asked`.
    async fn looked_at(&self, order: &mut Order, asked: &[&Proof]) {
        let started = Stopwatch::start();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if !asked.iter().any(|proof| is_for(proof, &authorization)) {
                continue;
            }
            let mut tries = 0;
            while authorization.status == AuthorizationStatus::Pending
                && started.elapsed() < self.orders.settings.patience
            {
                tokio::time::sleep(pause(self.session.seen().retry_after, tries)).await;
                tries += 1;
                // If that fails the next one tells.
                let _seen = authorization.refresh().await;
            }
        }
    }

    /// Which names an invalid order has failed for.
    pub(super) async fn why_invalid(&self, order: &mut Order) -> Outcome {
        let mut names = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if authorization.refresh().await.is_err() || authorization.status != AuthorizationStatus::Invalid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let failed = authorization.challenges.iter().filter(|of| of.status == ChallengeStatus::Invalid);
            let why = failed.filter_map(|of| of.error.as_ref()?.detail.clone()).next();
            if self.has(&name) {
                names.push((name, why.unwrap_or_else(|| "the CA says that its validation failed".to_owned())));
            }
        }
        let of_order = order.state().error.as_ref().and_then(|problem| problem.detail.clone());
        let why = of_order.filter(|_| names.is_empty()).unwrap_or_else(|| said(&names));
        Outcome::Failed { names, why }
    }

    /// A request in the middle of an order did not do what it was meant to: the order stays open where that may pass.
    pub(super) fn broken(&self, error: &AcmeError) -> Outcome {
        let why = error.to_string();
        match error {
            AcmeError::Unavailable { .. } | AcmeError::Lost { .. } | AcmeError::RateLimited { .. } => {
                Outcome::Unreachable { retry_after: self.session.seen().retry_after, why }
            }
            AcmeError::Problem { .. } | AcmeError::Local { .. } => Outcome::Failed { names: Vec::new(), why },
        }
    }
}

fn is_for(proof: &Proof, authorization: &AuthorizationState) -> bool {
    authorization.challenges.iter().any(|of| of.token == proof.token)
}

/// Names and what is wrong with each, in one line.
fn said(names: &[(String, String)]) -> String {
    if names.is_empty() {
        return "the CA says that the order is invalid, and not why".to_owned();
    }
    names.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ")
}
