//! Those who wait take turns: by urgency, by priority, and tenant by tenant; nobody is overtaken, and nobody waits for what it does not need.

use certpace::gate::{Request, Scope, Verdict};
use certpace::limits::{LimitName, Limits};

use super::world::{World, after, letsencrypt, limit, of, over_every_store};

/// One certificate of a domain in 30 seconds.
fn narrow() -> Limits {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::CertificatesPerDomain, limit(1, 30));
    limits
}

/// An order of its own for `domain`, by `tenant`.
fn order(tenant: &str, number: usize, domain: &str) -> Request {
    Request { tenant: Some(tenant.to_owned()), ..of(&[&format!("{tenant}{number}.{domain}")]) }
}

/// Asks in turn; whether it was let go. What goes is issued at once.
fn goes(world: &mut World, request: &Request, ticket: &str) -> bool {
    match world.gate().reserve_in_turn(request, ticket).unwrap().verdict {
        Verdict::Allow { permit: Some(permit), .. } => {
            world.gate().commit(&permit.permit).unwrap();
            true
        }
        Verdict::Later { .. } => false,
        other => panic!("{other:?}"),
    }
}

/// Empties the domain's bucket.
fn empty(world: &mut World, domain: &str) {
    let new = world.records().len();
    let permit = world.allowed(&of(&[&format!("first{new}.{domain}")]));
    world.gate().commit(&permit).unwrap();
}

/// Lets time pass until all have gone; in which order they went. Whoever waits asks every 10 seconds, the last of them first.
fn served(world: &mut World, waiting: &mut Vec<(Request, String)>) -> Vec<String> {
    let mut order = Vec::new();
    let mut seconds = world.now.since(after(0)).nanos() / 1_000_000_000;
    for _ in 0..1_000 {
        if waiting.is_empty() {
            break;
        }
        for place in (0..waiting.len()).rev() {
            let (request, ticket) = waiting[place].clone();
            if goes(world, &request, &ticket) {
                order.push(ticket);
                waiting.remove(place);
            }
        }
        seconds += 10;
        world.at(seconds);
    }
    assert!(waiting.is_empty(), "{waiting:?}");
    order
}

fn join(world: &mut World, waiting: &mut Vec<(Request, String)>, request: Request, ticket: &str) {
    assert!(!goes(world, &request, ticket));
    waiting.push((request, ticket.to_owned()));
}

#[test]
fn who_came_first_goes_first_whoever_asks_first() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        let mut waiting = Vec::new();
        for (number, ticket) in ["z", "y", "x"].into_iter().enumerate() {
            join(world, &mut waiting, order("t", number, "example.com"), ticket);
        }
        // The token is there, and it is the first one's.
        world.at(30);
        assert!(!goes(world, &order("t", 9, "example.com"), "late"));
        world.later(&order("t", 8, "example.com"));
        assert_eq!(world.gate().check(&order("t", 8, "example.com")).unwrap().verdict.word(), "later");
        assert!(world.gate().leave("late").unwrap());
        assert!(!world.gate().leave("late").unwrap());
        assert_eq!(served(world, &mut waiting), ["z", "y", "x"]);
    });
}

#[test]
fn tenants_take_turns_even_if_one_has_many_orders() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        let mut waiting = Vec::new();
        for number in 0..5 {
            join(world, &mut waiting, order("big", number, "example.com"), &format!("big{number}"));
        }
        join(world, &mut waiting, order("small", 0, "example.com"), "small0");
        join(world, &mut waiting, order("small", 1, "example.com"), "small1");
        let went = served(world, &mut waiting);
        assert_eq!(went, ["big0", "small0", "big1", "small1", "big2", "big3", "big4"]);
    });
}

#[test]
fn urgent_orders_and_higher_priorities_go_first() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        let mut waiting = Vec::new();
        let of = |number, priority, urgent| Request { priority, urgent, ..order("t", number, "example.com") };
        for (number, ticket, priority, urgent) in
            [(0, "plain", 0, false), (1, "low", -1, false), (2, "high", 5, false), (3, "urgent", -9, true)]
        {
            join(world, &mut waiting, of(number, priority, urgent), ticket);
        }
        assert_eq!(served(world, &mut waiting), ["urgent", "high", "plain", "low"]);
    });
}

#[test]
fn who_waits_for_another_bucket_is_not_held_up() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        assert!(!goes(world, &order("t", 0, "example.com"), "waits"));
        assert!(goes(world, &order("t", 1, "example.net"), "goes"));
        assert!(!goes(world, &order("t", 2, "example.net"), "waits too"));
    });
}

#[test]
fn who_does_not_come_back_loses_its_place() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        assert!(!goes(world, &order("t", 0, "example.com"), "dead"));
        assert!(!goes(world.at(59), &order("t", 1, "example.com"), "second"));
        assert!(goes(world.at(60), &order("t", 1, "example.com"), "second"));
    });
}

#[test]
fn who_finds_its_set_in_hand_or_frozen_waits_no_more() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        let two = ["x", "y"].map(|holder| Request { holder: holder.to_owned(), ..order("t", 0, "example.com") });
        assert!(!goes(world, &two[0], "x"));
        assert!(!goes(world, &two[1], "y"));
        let Verdict::Allow { permit: Some(permit), .. } =
            world.at(30).gate().reserve_in_turn(&two[0], "x").unwrap().verdict
        else {
            panic!("it is the first one's turn")
        };
        assert_eq!(world.gate().reserve_in_turn(&two[1], "y").unwrap().verdict.word(), "in-hand");
        // It is given back, and nobody is ahead.
        world.gate().cancel(&permit.permit).unwrap();
        world.allowed(&order("t", 1, "example.com"));
        assert!(!goes(world, &order("t", 2, "example.com"), "z"));
        world.gate().freeze(&Scope::Tenant("t".to_owned()), "rollback", "ops").unwrap();
        let frozen = world.gate().reserve_in_turn(&order("t", 2, "example.com"), "z").unwrap();
        assert_eq!(frozen.verdict.word(), "never");
        assert!(!world.gate().leave("z").unwrap(), "it has left");
    });
}

#[test]
fn the_dead_do_not_set_their_tenant_back() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        for number in 0..20 {
            assert!(!goes(world, &order("big", number, "example.com"), &format!("dead{number}")));
        }
        // All of them were killed. Now there are two tenants as any others.
        world.at(61);
        empty(world, "example.com");
        let mut waiting = Vec::new();
        for number in 0..3 {
            join(world, &mut waiting, order("small", number, "example.com"), &format!("small{number}"));
        }
        join(world, &mut waiting, order("big", 90, "example.com"), "big");
        assert_eq!(served(world, &mut waiting), ["small0", "big", "small1", "small2"]);
    });
}

#[test]
fn a_tenant_is_not_set_back_by_what_others_do_elsewhere() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        empty(world, "example.net");
        let mut waiting = Vec::new();
        for number in 0..4 {
            join(world, &mut waiting, order("big", number, "example.com"), &format!("big{number}"));
        }
        // What is served elsewhere, or before its turn, makes no turn here.
        join(world, &mut waiting, order("big", 10, "example.net"), "elsewhere");
        let urgent = Request { urgent: true, ..order("big", 11, "example.net") };
        join(world, &mut waiting, urgent, "urgent");
        let mut elsewhere = waiting.split_off(4);
        assert_eq!(served(world.at(30), &mut elsewhere), ["urgent", "elsewhere"]);
        for (request, ticket) in &waiting {
            let _first = goes(world, request, ticket);
        }
        waiting.remove(0);
        join(world, &mut waiting, order("small", 0, "example.com"), "small");
        assert_eq!(served(world, &mut waiting)[..2], ["big1", "small"]);
    });
}

#[test]
fn nobody_starves_beside_one_who_always_comes_back() {
    over_every_store(&narrow(), |world| {
        empty(world, "example.com");
        let mut waiting = Vec::new();
        for number in 0..3 {
            join(world, &mut waiting, order("slow", number, "example.com"), &format!("slow{number}"));
        }
        let (mut seconds, mut fast, mut went) = (0, 0, Vec::new());
        while !waiting.is_empty() {
            assert!(seconds < 600, "{went:?}");
            // One order at a time, and the next as soon as it is through.
            if goes(world, &order("fast", fast, "example.com"), &format!("fast{fast}")) {
                went.push("fast");
                fast += 1;
            }
            waiting.retain(|(request, ticket)| {
                let gone = goes(world, request, ticket);
                if gone {
                    went.push("slow");
                }
                !gone
            });
            seconds += 10;
            world.at(seconds);
        }
        assert!((1..=4).contains(&fast), "{went:?}");
    });
}
