//! The record tells all that was done to the buckets: computed again from it they are the same.

use std::collections::BTreeMap;

use certpace::gate::verify::{Base, rebuild};
use certpace::gate::{Refusal, Request, Scope};
use certpace::ledger::{Cell, LedgerError, Mark, Step};
use certpace::limits::LimitName;
use certpace::permits::Sending;
use certpace::time::Span;

use super::model::tight;
use super::world::{Place, World, letsencrypt, of, over_every_store, realm};

fn again(world: &mut World, base: Base) -> BTreeMap<String, Cell> {
    rebuild(world.place.open().as_mut(), &realm().code(), base).unwrap()
}

/// A life of all kinds of permits.
fn live(world: &mut World, round: i64) {
    let start = world.now.since(super::world::START).nanos() / 1_000_000_000;
    for (place, name) in
        ["a.example.com", "b.example.net", "c.example.org", "d.example", "e.example"].iter().enumerate()
    {
        let silent = Request { sending: Sending::Silent, lease: Span::from_seconds(40), ..of(&[name]) };
        let request = Request { account: format!("acct {place} of {round}"), retry_now: true, ..silent };
        // Whatever is in the buckets.
        let (answer, _) = world.gate().shadow(&request).unwrap();
        let permit = super::world::permit_of(answer).permit;
        let refusal = Refusal { retry_after: Some(Span::from_seconds(70)), detail: None };
        match place {
            0 => _ = world.gate().commit(&permit).unwrap(),
            1 => _ = world.gate().fail(&permit, &[(*name).to_owned()]).unwrap(),
            2 => _ = world.gate().refused(&permit, &refusal).unwrap(),
            3 => _ = world.gate().cancel(&permit).unwrap(),
            _ => {}
        }
    }
    world.at(start + 100);
    let _lapses = world.gate().check(&of(&["x.example"])).unwrap();
}

#[test]
fn the_record_tells_what_the_buckets_are() {
    over_every_store(&tight(), |world| {
        live(world, 0);
        world.gate().freeze(&Scope::Account("nobody".to_owned()), "test", "ops").unwrap();
        world.gate().assume_empty(&[LimitName::CertificatesPerDomain], false, "ops").unwrap();
        live(world, 1);
        world.gate().thaw(&Scope::Everything, "ops").unwrap();
        world.gate().assume_empty(&[], true, "ops").unwrap();
        live(world, 2);
        world.gate().assume_empty(&[LimitName::NewOrdersPerAccount], false, "ops").unwrap();
        live(world, 3);
        let cells: BTreeMap<_, _> = world.cells().into_iter().collect();
        assert!(cells.len() > 40);
        assert_eq!(again(world, Base::default()), cells);
    });
}

#[test]
fn a_record_may_begin_in_the_middle() {
    over_every_store(&tight(), |world| {
        live(world, 0);
        world.gate().assume_empty(&[], false, "ops").unwrap();
        let (held, _) = world.gate().shadow(&of(&["held.example"])).unwrap();
        let from = world.place.open().mark().unwrap().sequence + 1;
        let base = Base { cells: world.cells().into_iter().collect(), board: world.gate().board().unwrap(), from };
        // What was before is swept, the record too.
        let (_, lines) = world.place.open().sweep(&realm().code(), super::world::START, from).unwrap();
        assert!(lines > 10);
        live(world, 1);
        world.gate().commit(&super::world::permit_of(held).permit).unwrap();
        let cells: BTreeMap<_, _> = world.cells().into_iter().collect();
        assert_eq!(again(world, base.clone()), cells);
        assert!(again(world, Base { board: Default::default(), ..base.clone() }) != cells);
        assert!(again(world, Base { cells: BTreeMap::new(), ..base }) != cells);
    });
}

#[test]
fn realms_are_told_apart() {
    over_every_store(&letsencrypt(), |world| {
        world.allowed(&of(&["a.example.com"]));
        world.join(realm().shadow());
        let _shadow = world.gates[3].shadow(&of(&["b.example.com"])).unwrap();
        world.gates.truncate(3);
        let cells: BTreeMap<_, _> = world.cells().into_iter().collect();
        assert_eq!(again(world, Base::default()), cells);
        assert_eq!(cells["NewOrdersPerAccount 1"].tally.held, 1);
    });
}

#[test]
fn a_line_that_makes_no_sense_is_told() {
    let place = Place::memory();
    for (line, body) in [
        "no JSON",
        r#"{"what":"reserve","moves":["steal 1 1 - NewOrdersPerAccount 1"]}"#,
        r#"{"what":"reserve","moves":["hold 1 0 - NewOrdersPerAccount 1"]}"#,
        r#"{"what":"recover","board":7}"#,
        r#"{"permit":"p"}"#,
    ]
    .iter()
    .enumerate()
    {
        let mut step = Step::new(realm().code(), Mark::default());
        step.record = Some((*body).to_owned());
        let mut store = place.open();
        store.transact(&[step], certpace::clock::Timescale::REAL).unwrap();
        let from = line as u64 + 1;
        let error = rebuild(store.as_mut(), &realm().code(), Base { from, ..Base::default() }).unwrap_err();
        assert!(matches!(&error, LedgerError::Row { what, .. } if what == &format!("record, line {from}")), "{error}");
    }
}
