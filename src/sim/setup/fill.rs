//! From a scenario, or a plan's orders, to clients and their certificates.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use super::builder::{Builder, Wish};
use super::{Actor, Setup, SetupError, Surroundings};
use crate::inventory::{self, Inventory, Settings, Source};
use crate::limits::{Limits, Overrides, Policy};
use crate::plan::{NamesPerCertificate, Options, Plan, PlanError, Share, Subject, plan};
use crate::psl::SuffixList;
use crate::rules::OrderId;
use crate::sim::behaviour::{Behaviour, Pace, Parameters};
use crate::sim::generate;
use crate::sim::random::Seed;
use crate::sim::scenario::{Client, Event, InventorySource, OWN_LEDGER, Scenario, What};
use crate::time::{Span, Timestamp};

/// Orders of strangers for one registered domain take turns between so many names: as many as the limit on exact sets needs to be of no
/// concern.
pub(in crate::sim) const STRANGER_NAMES: u32 = 1_000;

/// An order of a plan, as its file has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedOrder {
    /// Not before.
    pub at: Timestamp,
    /// The account.
    pub account: String,
    /// The profile's name.
    pub profile: String,
    /// The names.
    pub names: Vec<String>,
    /// Issue and expiry of the certificate that it renews.
    pub held: Option<(Timestamp, Timestamp)>,
}

impl Setup {
    /// Makes a scenario ready.
    ///
    /// # Errors
    /// [`SetupError`] where its inventory can't be used or a client can't be.
    pub fn new(scenario: &Scenario, around: &Surroundings<'_>) -> Result<Self, SetupError> {
        let mut builder = Builder::new(around.limits.clone(), around.suffixes.clone());
        let mut filler = Filler { scenario, around, builder: &mut builder, actors: Vec::new(), domains: Vec::new() };
        filler.clients()?;
        filler.added()?;
        filler.sort();
        let strangers = filler.strangers()?;
        let actors = filler.actors;
        let terms = Terms {
            start: scenario.start,
            end: scenario.end(),
            seed: scenario.seed,
            steps_max: scenario.steps_max,
            latency: scenario.latency,
        };
        let mut setup = finish(builder, actors, &scenario.clients, &terms);
        (setup.events, setup.strangers) = (scenario.events.clone(), strangers);
        Ok(setup)
    }

    /// Makes the performance of a plan ready: its orders in any order, its start and its margin. It ends a day and a margin after the last order.
    ///
    /// # Errors
    /// [`SetupError`] where an order can't be read under these limits.
    pub fn of_plan(
        orders: impl IntoIterator<Item = PlannedOrder>,
        start: Timestamp,
        margin: Span,
        limits: &Limits,
        suffixes: &SuffixList,
    ) -> Result<Self, SetupError> {
        let mut builder = Builder::new(limits.clone(), suffixes.clone());
        let mut last = start;
        for order in orders {
            let profile = profile(limits, &order.profile)?;
            let names: Vec<&str> = order.names.iter().map(String::as_str).collect();
            last = last.max(order.at);
            builder.add(&Wish {
                actor: 0,
                account: &order.account,
                profile,
                tenant: "",
                names: &names,
                at: order.at,
                wanted_from: start,
                held: order.held,
            })?;
        }
        let client = Client::performing_a_plan(margin);
        let lineages = 0..u32::try_from(builder.lineages.len()).unwrap_or(u32::MAX);
        let mut actor = actor(&client, 0, "plan", margin);
        actor.lineages = lineages;
        let end = last.plus(margin).plus(Span::from_days(1));
        let terms = Terms { start, end, seed: Seed(1), steps_max: u64::MAX, latency: Span::from_seconds(30) };
        Ok(finish(builder, vec![actor], &[client], &terms))
    }
}

impl Client {
    /// One that performs a plan alone.
    #[must_use]
    pub fn performing_a_plan(margin: Span) -> Self {
        Self {
            name: "plan".to_owned(),
            behaviour: Behaviour::Plan,
            account: "default".to_owned(),
            ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            replicas: 1,
            profile: "classic".to_owned(),
            share: Share::parts_per_million(1_000_000),
            names_per_certificate: None,
            margin: Some(margin),
            headroom: Share::default(),
            tick: None,
            deactivates: false,
            ledger: String::new(),
        }
    }
}

/// What of a run is numbers alone.
struct Terms {
    start: Timestamp,
    end: Timestamp,
    seed: Seed,
    steps_max: u64,
    latency: Span,
}

fn finish(builder: Builder, mut actors: Vec<Actor>, clients: &[Client], terms: &Terms) -> Setup {
    let mut addresses = Vec::new();
    for actor in &mut actors {
        actor.address = Setup::address_number(&mut addresses, clients[actor.client as usize].ip);
    }
    let ledgers = number_ledgers(&mut actors, clients);
    let (tenants, authorizations) = (builder.tenants(), builder.authorizations());
    Setup {
        start: terms.start,
        end: terms.end,
        seed: terms.seed,
        steps_max: terms.steps_max,
        latency: terms.latency,
        model: builder.model,
        clients: actors,
        lineages: builder.lineages,
        slots: builder.slots,
        names: builder.names,
        texts: builder.texts,
        tenants,
        authorizations,
        authorized: builder.authorized,
        ledgers,
        events: Vec::new(),
        strangers: Vec::new(),
    }
}

/// Numbers the ledgers of those clients that have one; returns how many there are.
fn number_ledgers(actors: &mut [Actor], clients: &[Client]) -> u32 {
    let (mut shared, mut count): (Vec<(&str, u32)>, u32) = (Vec::new(), 0);
    for actor in actors.iter_mut().filter(|actor| actor.parameters.pace == Pace::Agent) {
        let name = clients[actor.client as usize].ledger.as_str();
        let known = shared.iter().find(|(known, _)| *known == name && name != OWN_LEDGER);
        actor.ledger = known.map_or(count, |(_, ledger)| *ledger);
        if actor.ledger == count {
            shared.push((name, count));
            count += 1;
        }
    }
    count
}

fn profile(limits: &Limits, name: &str) -> Result<u16, SetupError> {
    let (place, _) = limits.policy.profile(name).ok_or_else(|| SetupError::Profile(name.to_owned()))?;
    u16::try_from(place).map_err(|_too_many| SetupError::Profile(name.to_owned()))
}

fn actor(client: &Client, place: usize, name: &str, margin: Span) -> Actor {
    let mut parameters = client.behaviour.parameters();
    if let (Pace::Tick { every, .. }, Some(tick)) = (&mut parameters.pace, client.tick) {
        *every = tick;
    }
    parameters.deactivates |= client.deactivates;
    let (place, headroom) = (u32::try_from(place).unwrap_or(u32::MAX), client.headroom);
    Actor { name: name.into(), client: place, parameters, margin, address: 0, ledger: 0, headroom, lineages: 0..0 }
}

/// Whose turn it is to be filled in.
struct Filler<'a> {
    scenario: &'a Scenario,
    around: &'a Surroundings<'a>,
    builder: &'a mut Builder,
    actors: Vec<Actor>,
    /// The registered domains of the inventory, in an order that has nothing to do with the alphabet.
    domains: Vec<String>,
}

impl Filler<'_> {
    /// All clients with their share of the inventory.
    fn clients(&mut self) -> Result<(), SetupError> {
        let mut from = 0;
        for (place, client) in self.scenario.clients.iter().enumerate() {
            let inventory = self.inventory(client)?;
            if self.domains.is_empty() {
                let mut domains: Vec<u32> =
                    (0..inventory.domain_count()).filter_map(|id| u32::try_from(id).ok()).collect();
                domains.sort_unstable_by_key(|domain| inventory.domain_place(*domain));
                self.domains = domains.into_iter().map(|domain| inventory.domain(domain).to_owned()).collect();
            }
            self.client(place, client, &inventory, from)?;
            from = (from + client.share.parts()) % 1_000_000;
        }
        Ok(())
    }

    fn inventory(&self, client: &Client) -> Result<Inventory, SetupError> {
        let (limits, start) = (self.around.limits, self.scenario.start);
        let profile = &limits.policy.profiles[usize::from(profile(limits, &client.profile)?)];
        let sources = match &self.scenario.inventory {
            InventorySource::File(_) => self.around.sources.clone(),
            InventorySource::Generated(of) => {
                let terms = profile.terms_at(start);
                let before = limits.policy.renewal.before_expiry(terms.validity);
                vec![Source::new("inventory", generate::csv(of, start, terms, before))]
            }
        };
        let settings = Settings {
            account: &client.account,
            profile: &client.profile,
            deadline: None,
            start,
            policy: &limits.policy,
            suffixes: self.around.suffixes,
        };
        let inventory = inventory::read(sources, &settings, &|_bytes| ())?;
        if let Some(first) = inventory.rejects.first() {
            return Err(SetupError::Rows {
                count: inventory.rejects.len(),
                source_name: inventory.sources()[first.source].name.clone(),
                line: first.line,
                reason: first.reason.to_string(),
            });
        }
        Ok(inventory)
    }

    /// A client and its replicas: certificates held in the order of their ids, then new ones in that of a plan.
    fn client(&mut self, place: usize, client: &Client, inventory: &Inventory, from: u32) -> Result<(), SetupError> {
        let parameters = client.behaviour.parameters();
        // The others need the plan's groups alone, and those under any limits.
        let looks_ahead = parameters.pace == Pace::Planned || client.behaviour == Behaviour::Certpace;
        let limits = self.around.limits;
        if client.behaviour == Behaviour::Certpace {
            self.check_later_policies()?;
        }
        let limits = if looks_ahead { Cow::Borrowed(limits) } else { limits.as_token_buckets() };
        let plan = plan(inventory, &limits, self.options(client, &parameters))?;
        let wishes = self.wishes(&parameters, &plan);
        let count = wishes.len() as u64;
        let mine = |index: u64| {
            let at = u32::try_from(index * 1_000_000 / count.max(1)).unwrap_or(0);
            (at + 1_000_000 - from) % 1_000_000 < client.share.parts()
        };
        for replica in 0..client.replicas {
            let number = u32::try_from(self.actors.len()).unwrap_or(u32::MAX);
            let name =
                if client.replicas == 1 { client.name.clone() } else { format!("{}-{}", client.name, replica + 1) };
            for (_, wish) in (0..).zip(&wishes).filter(|(index, _)| mine(*index)) {
                let names: Vec<&str> = wish.names.iter().map(String::as_str).collect();
                self.builder.add(&Wish {
                    actor: number,
                    account: &wish.account,
                    profile: profile(self.around.limits, &wish.profile)?,
                    tenant: &wish.tenant,
                    names: &names,
                    at: wish.at,
                    wanted_from: self.scenario.start,
                    held: wish.held,
                })?;
            }
            self.actors.push(actor(client, place, &name, plan.margin()));
        }
        Ok(())
    }

    /// That a ledger can follow all changes of policy.
    fn check_later_policies(&self) -> Result<(), SetupError> {
        let of = |event: &Event| match &event.what {
            What::Policy(name) => Policy::built_in(name).ok(),
            _ => None,
        };
        for policy in self.scenario.events.iter().filter_map(of) {
            Limits { policy, overrides: Overrides::none() }.check_token_buckets().map_err(PlanError::from)?;
        }
        Ok(())
    }

    fn options(&self, client: &Client, parameters: &Parameters) -> Options {
        let planned = parameters.pace == Pace::Planned;
        let groups = planned || parameters.pace == Pace::Agent;
        let names = client.names_per_certificate.or_else(|| (!groups).then_some(parameters.names_per_certificate));
        Options {
            margin: client.margin,
            headroom: client.headroom,
            names_per_certificate: names.map_or(NamesPerCertificate::Auto, NamesPerCertificate::AtMost),
            horizon: self.scenario.duration,
            ..Options::starting(self.scenario.start)
        }
    }

    /// What a client wants: for one that plans, the orders of its plan; for the others all certificates that there are, or are to be.
    fn wishes(&self, parameters: &Parameters, plan: &Plan<'_>) -> Vec<OwnedWish> {
        let (inventory, start) = (plan.inventory, self.scenario.start);
        let planned = parameters.pace == Pace::Planned;
        let mut wishes = Vec::new();
        if !planned {
            for held in 0..inventory.held.len() {
                let names = inventory.held_names(held).iter().map(|of| inventory.text(of.name).to_owned()).collect();
                wishes.push(self.wish(inventory, inventory.held[held].group, names, start, Some(held)));
            }
        }
        let (mut names, mut domains) = (Vec::new(), Vec::new());
        for order in &plan.orders {
            let held = match order.subject {
                Subject::Renewal(_) if !planned => continue,
                Subject::Renewal(held) => Some(held as usize),
                Subject::New(_) => None,
            };
            plan.names_of(order, &mut names, &mut domains);
            let names = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            let at = if planned { order.at } else { start };
            wishes.push(self.wish(inventory, plan.group_of(order), names, at, held));
        }
        wishes
    }

    fn wish(
        &self,
        inventory: &Inventory,
        group: u32,
        names: Vec<String>,
        at: Timestamp,
        held: Option<usize>,
    ) -> OwnedWish {
        let group = &inventory.groups[group as usize];
        OwnedWish {
            account: inventory.accounts[group.account as usize].clone(),
            profile: self.around.limits.policy.profiles[group.profile as usize].name.clone(),
            tenant: inventory.tenants[group.tenant as usize].clone(),
            names,
            at,
            held: held.map(|held| (inventory.held[held].issued_at, inventory.held[held].expires_at)),
        }
    }

    /// Hostnames that come later: each goes to the clients in turn. A plan knows nothing of them.
    fn added(&mut self) -> Result<(), SetupError> {
        let end = self.scenario.end();
        for (number, event) in self.scenario.events.iter().enumerate() {
            let What::AddHostnames { hostnames, every } = event.what else { continue };
            let until = event.until.map_or_else(|| event.at.plus(Span::from_nanos(1)), |until| until.min(end));
            let (mut at, mut index) = (event.at, 0_u32);
            while at < until {
                for _ in 0..hostnames {
                    self.add_one(&format!("added-{number}-{index}.com"), index, at)?;
                    index += 1;
                }
                at = at.plus(every);
            }
        }
        Ok(())
    }

    fn add_one(&mut self, name: &str, index: u32, at: Timestamp) -> Result<(), SetupError> {
        let clients = &self.scenario.clients;
        let place = index as usize % clients.len();
        self.builder.name(name, "", at);
        for (number, actor) in (0..).zip(&self.actors) {
            if actor.client as usize == place && actor.parameters.pace != Pace::Planned {
                self.builder.add(&Wish {
                    actor: number,
                    account: &clients[place].account,
                    profile: profile(self.around.limits, &clients[place].profile)?,
                    tenant: "",
                    names: &[name],
                    at,
                    wanted_from: at,
                    held: None,
                })?;
            }
        }
        Ok(())
    }

    /// Brings the certificates of each client together.
    fn sort(&mut self) {
        self.builder.lineages.sort_by_key(|lineage| lineage.actor);
        for (number, actor) in (0..).zip(&mut self.actors) {
            let place = |number| self.builder.lineages.partition_point(|lineage| lineage.actor < number);
            let range = place(number)..place(number + 1);
            actor.lineages =
                u32::try_from(range.start).unwrap_or(u32::MAX)..u32::try_from(range.end).unwrap_or(u32::MAX);
        }
    }

    /// By event: the orders of strangers, domain after domain, [`STRANGER_NAMES`] or fewer for each.
    fn strangers(&mut self) -> Result<Vec<Vec<OrderId>>, SetupError> {
        let mut all = Vec::new();
        for event in &self.scenario.events {
            let mut orders = Vec::new();
            if let What::Strangers { share, certificates, .. } = event.what {
                let count = self.domains.len() as u64 * u64::from(share.parts());
                let hit = usize::try_from(count.div_ceil(1_000_000)).unwrap_or(usize::MAX);
                for domain in self.domains.iter().take(hit) {
                    for name in 0..certificates.clamp(1, STRANGER_NAMES) {
                        let (account, name) = (format!("stranger-{name}"), format!("stranger-{name}.{domain}"));
                        orders.push(self.builder.order(&account, &name)?);
                    }
                }
            }
            all.push(orders);
        }
        Ok(all)
    }
}

/// A certificate to be wanted, by whomever.
struct OwnedWish {
    account: String,
    profile: String,
    tenant: String,
    names: Vec<String>,
    at: Timestamp,
    held: Option<(Timestamp, Timestamp)>,
}
