//! Going on with an order that an earlier process has left, or that broke off.

use instant_acme::Order;

use super::{OrderError, Outcome, Work, finish};
use crate::gate::GateError;
use crate::issuer::store::Stage;
use crate::issuer::wire::AcmeError;
use crate::permits::State;

impl Work<'_> {
    /// The order may have gone out.
    pub(super) async fn go_on(mut self) -> Result<Outcome, OrderError> {
        match (self.open.stage, self.open.url.clone()) {
            (Stage::Sending, None) => {
                let number = self.open.permit.clone();
                match self.orders.desk.ask(move |gate| gate.permit(&number)).await {
                    Ok(permit) if permit.life.state == State::Reserved => {
                        self.cancel().await?;
                        Ok(Outcome::NotSent)
                    }
                    Ok(_) | Err(GateError::NoPermit(_)) => self.lost("an earlier process was cut off".to_owned()).await,
                    Err(error) => Err(error.into()),
                }
            }
            (Stage::Failed, Some(url)) => {
                let failed = match self.fetch(url).await {
                    Ok(mut order) => self.why_invalid(&mut order).await,
                    Err(why) => Outcome::Failed { names: Vec::new(), why },
                };
                match failed {
                    Outcome::Failed { names, why } if !names.is_empty() => self.dead(names, why).await,
                    // Nobody knows which names failed: all of it counts.
                    _ => self.lost("an earlier process was cut off".to_owned()).await,
                }
            }
            (_, Some(url)) => match self.fetch(url).await {
                Ok(order) => self.complete(order).await,
                Err(why) => Ok(Outcome::Lost(why)),
            },
            (_, None) => self.lost("its URL is not known".to_owned()).await,
        }
    }

    /// Asks for an order by its URL, as long as it takes.
    pub(super) async fn fetch(&self, url: String) -> Result<Order, String> {
        let mut tries = 0;
        loop {
            let error = match self.session.account().order(url.clone()).await {
                Ok(order) => return Ok(order),
                Err(error) => self.session.error(error),
            };
            tries += 1;
            let passes = matches!(error, AcmeError::Unavailable { .. } | AcmeError::Lost { .. });
            if !passes || tries > 8 {
                return Err(format!("{url}: {error}"));
            }
            tokio::time::sleep(finish::pause(self.session.seen().retry_after, tries)).await;
        }
    }
}
