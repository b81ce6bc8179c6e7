//! Leave to send an order, orders of a plan that are issued once, and time that runs faster for a rehearsal.

use certpace::clock::{Clock as _, SystemClock, Timescale};
use certpace::gate::{Dispatch, GateError, Never, Refusal, Request, Task, Verdict};
use certpace::limits::LimitName;
use certpace::permits::State;
use certpace::time::Span;

use super::world::{START, World, after, letsencrypt, of, over_every_store};

fn task(plan: &str, order: u64) -> Option<Task> {
    Some(Task { plan: plan.to_owned(), order })
}

#[test]
fn leave_is_had_once() {
    over_every_store(&letsencrypt(), |world| {
        let number = world.allowed(&of(&["a.example.com"]));
        let Dispatch::Go(permit) = world.gate().sent(&number).unwrap() else { panic!() };
        assert_eq!((&permit.order().permit, permit.told().state()), (&number, State::Sent));
        assert!(matches!(world.gate().sent(&number), Ok(Dispatch::Gone(told)) if told.state() == State::Sent));
    });
}

#[test]
fn an_order_of_a_plan_is_issued_once_whoever_performs_it() {
    over_every_store(&letsencrypt(), |world| {
        let asked = |holder: &str, plan: &str, order| Request {
            task: task(plan, order),
            holder: holder.to_owned(),
            ..of(&["a.example.com"])
        };
        let permit = world.allowed(&asked("one", "p", 17));
        assert!(matches!(world.ask(&asked("two", "p", 17)).verdict, Verdict::InHand { .. }));
        let _go = world.gate().sent(&permit).unwrap();
        world.gate().lost(&permit).unwrap();
        // Nobody knows what came of it, so another one may try.
        let permit = world.allowed(&asked("two", "p", 17));
        let _go = world.gate().sent(&permit).unwrap();
        world.gate().commit(&permit).unwrap();
        let done = Verdict::Never(Never::Done(task("p", 17).unwrap()));
        assert_eq!(world.ask(&asked("one", "p", 17)).verdict, done);
        // A renewal by a later plan, or outside of any, is another matter.
        let permit = world.allowed(&asked("one", "q", 17));
        world.gate().cancel(&permit).unwrap();
        let permit = world.allowed(&Request { task: None, ..asked("one", "p", 17) });
        world.gate().cancel(&permit).unwrap();
        assert_eq!(world.ask(&asked("one", "p", 17)).verdict, done);
    });
}

#[test]
fn an_order_whose_names_go_out_another_way_is_settled() {
    over_every_store(&letsencrypt(), |world| {
        let asked = Request { task: task("p", 3), ..of(&["a.example.com", "b.example.com"]) };
        let (names, settled) = (asked.names.clone(), task("p", 3).unwrap());
        world.gate().settle(&names, &settled, "one").unwrap();
        assert_eq!(world.ask(&asked).verdict, Verdict::Never(Never::Done(settled.clone())));
        let mark = |world: &mut World| {
            let gate = world.gate();
            gate.now().unwrap();
            gate.mark()
        };
        let before = mark(world);
        world.gate().settle(&names, &settled, "one").unwrap();
        assert_eq!(mark(world), before);
        // Its parts are other sets.
        world.allowed(&Request { task: task("p", 3), ..of(&["a.example.com"]) });
        world.allowed(&Request { task: None, ..asked });
    });
}

#[test]
fn a_rehearsal_runs_alike_for_all_who_come() {
    over_every_store(&letsencrypt(), |world| {
        let first = {
            let gate = world.gate();
            gate.set_timescale(Timescale::REAL);
            gate.rehearse(1_000, START).unwrap();
            gate.now().unwrap()
        };
        // It begins where the ledger was thought to be, which may be a little later than it is.
        assert!(first.since(START) > Span::from_seconds(-60), "{first}");
        // Another one, later, with another start: the time goes on.
        let gate = world.gate();
        gate.set_timescale(Timescale::REAL);
        assert!(matches!(gate.rehearse(2, after(1)), Err(GateError::Rehearsal { speed: 1_000, .. })));
        let timescale = gate.rehearse(1_000, after(1_000_000_000)).unwrap();
        let now = gate.now().unwrap();
        assert!(first <= now && now < after(900_000_000), "{first} {now}");
        let gate = world.gate();
        gate.set_timescale(Timescale::REAL);
        assert!(gate.follow_rehearsal().unwrap());
        assert!(gate.now().unwrap() >= now);
        // Memory's clock stands still; others' is the machine's.
        let here = timescale.at(SystemClock.now());
        assert!(here.since(now) < Span::from_days(365 * 40), "{here} {now}");
    });
}

#[test]
fn in_a_rehearsal_the_dates_of_the_ca_say_nothing() {
    let mut world = World::new(super::world::Place::memory(), letsencrypt());
    world.gate().rehearse(1, START).unwrap();
    let number = world.allowed(&of(&["a.example.com"]));
    let _go = world.gate().sent(&number).unwrap();
    let detail = "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s, retry after \
                  2031-01-01 00:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/#x";
    let refusal = Refusal { retry_after: Some(Span::from_seconds(600)), detail: Some(detail.to_owned()) };
    world.gate().refused(&number, &refusal).unwrap();
    let Verdict::Later { at, blocking } = world.ask(&of(&["b.example.com"])).verdict else { panic!() };
    assert_eq!(blocking[0].limit_and_key(), (Some(LimitName::CertificatesPerDomain), "example.com"));
    assert!(at.since(START) < Span::from_seconds(700), "{at}");
}
