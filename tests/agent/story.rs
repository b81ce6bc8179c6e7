//! Orders, refusals, failures, step by step.

use super::*;
use certpace::agent::{Backoff, Held};

#[test]
fn a_failing_name_is_tried_at_growing_distances_and_then_daily() {
    let mut story = Story::new(config());
    let id = story.wants(&[1]);
    let mut waits = Vec::new();
    let mut last = NOW;
    for _ in 0..6 {
        assert_eq!(story.reserves(), id);
        story.fail(id, &[1]);
        assert_eq!(story.actions(), []);
        story.sleep();
        waits.push(story.now.since(last).nanos() / 1_000_000_000);
        last = story.now;
    }
    assert_eq!(waits, [60, 600, 6_000, 86_400, 86_400, 86_400]);
    // It works, and the count begins anew.
    story.reserves();
    story.issue(id);
    assert_eq!(story.agent.backoffs(), []);
}

#[test]
fn an_operator_asks_for_an_early_retry() {
    let mut story = Story::new(config());
    let id = story.wants(&[1]);
    for _ in 0..4 {
        story.reserves();
        story.fail(id, &[1]);
        story.sleep();
    }
    story.now = story.now.minus(Span::from_hours(20));
    assert_eq!(story.actions(), []);
    story.agent.retry(NameId::new(1), story.now);
    assert_eq!(story.reserves(), id);
    story.fail(id, &[1]);
    assert_eq!(story.agent.next_wake(), Some(story.now.plus(Span::from_days(1))), "it is not forgiven");
}

#[test]
fn failing_names_leave_their_certificate_one_by_one() {
    let mut story = Story::new(config());
    let id = story.wants(&[4, 1, 3, 2]);
    story.reserves();
    story.fail(id, &[2, 4]);
    let actions = story.actions();
    let [Action::Split { from, certificate: two, name }, Action::Split { certificate: four, .. }, again] = actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((from, name), (id, NameId::new(2)));
    assert!(is_reserve(&again, id, Class::New));
    let names = |id| story.agent.names(id).iter().map(|name| name.number()).collect::<Vec<_>>();
    assert_eq!([names(id), names(two), names(four)], [vec![1, 3], vec![2], vec![4]]);
    story.issue(id);
    story.now = after(60);
    let retried: Vec<_> = story.actions();
    assert!(is_reserve(&retried[0], two, Class::New) && is_reserve(&retried[1], four, Class::New), "{retried:?}");
}

#[test]
fn where_nothing_is_split_the_certificate_waits_for_its_name() {
    let mut story = Story::new(Config { split: false, ..config() });
    let id = story.wants(&[1, 2]);
    story.reserves();
    story.fail(id, &[2]);
    assert_eq!(story.actions(), []);
    story.sleep();
    assert_eq!((story.now, story.reserves()), (after(60), id));
    assert_eq!(story.agent.names(id).len(), 2);
}

#[test]
fn a_paused_name_waits_for_a_person() {
    let mut story = Story::new(config());
    let id = story.wants(&[1, 2]);
    story.reserves();
    story.allow(id);
    story.tell(id, Event::Paused { names: &[NameId::new(1)] });
    let actions = story.actions();
    assert!(matches!(actions[0], Action::Split { .. }) && is_reserve(&actions[1], id, Class::New), "{actions:?}");
    let Action::Split { certificate: paused, .. } = actions[0] else { panic!() };
    story.tell(id, Event::Never);
    assert_eq!(story.agent.next_wake(), None);
    story.now = day(365);
    assert_eq!(story.actions(), []);
    story.agent.retry(NameId::new(1), story.now);
    assert_eq!(story.reserves(), paused);
}

#[test]
fn one_refusal_stops_all_that_need_the_bucket_and_nothing_else() {
    let mut story = Story::new(config());
    let behind: Vec<_> = (0..10).map(|name| story.wants(&[name])).collect();
    let elsewhere = story.agent.add(Wanted::new([NameId::new(99)], TenantId::new(0), [GateId::new(1)]), NOW, 0);
    // The gate answers at once, so that the first refusal comes before the second question.
    let mut asked = Vec::new();
    while let Some(action) = story.agent.poll(story.now) {
        let Action::Reserve { certificate, .. } = action else { panic!("{action:?}") };
        asked.push(certificate);
        let gate = if certificate == elsewhere { None } else { Some(GateId::new(0)) };
        story.tell(certificate, Event::Later { at: after(3_600), gate });
    }
    assert_eq!(asked, [behind[0], elsewhere]);
    // When it opens they ask one by one, in their order, until one is refused.
    story.now = after(3_599);
    assert_eq!(story.actions(), []);
    story.now = after(3_600);
    story.tell(elsewhere, Event::Issued { issued_at: story.now, expires_at: day(90) });
    for id in &behind[..3] {
        assert_eq!(story.reserves(), *id);
        story.allow(*id);
    }
    assert_eq!(story.reserves(), behind[3]);
    // A 429 for one that was sent closes the gate as well: the CA has the last word.
    story.tell(behind[1], Event::Refused { at: after(9_000), gate: Some(GateId::new(0)) });
    story.tell(behind[3], Event::Later { at: after(8_000), gate: Some(GateId::new(0)) });
    assert_eq!(story.actions(), []);
    story.now = after(8_000);
    assert_eq!(story.actions(), []);
    story.now = after(9_000);
    assert_eq!(story.reserves(), behind[1], "who was first stays first");
}

#[test]
fn a_certificate_over_two_domains_does_not_hold_up_either() {
    let mut story = Story::new(config());
    let gates = |gates: &[u32]| gates.iter().copied().map(GateId::new).collect::<Vec<_>>();
    let mut add =
        |name, of: &[u32]| story.agent.add(Wanted::new([NameId::new(name)], TenantId::new(0), gates(of)), NOW, 0);
    let both = add(0, &[1, 2, 0]);
    let (one, more) = (add(1, &[1, 0]), add(2, &[1, 0]));
    let two = add(3, &[2, 0]);
    let mut asked = Vec::new();
    let mut answer = |story: &mut Story, closed: &[(u32, i64)]| {
        asked.clear();
        while let Some(action) = story.agent.poll(story.now) {
            let Action::Reserve { certificate, .. } = action else { continue };
            asked.push(certificate);
            let of = story.agent.wanted(certificate).unwrap().gates;
            let shut = closed.iter().filter(|(gate, _)| of.contains(&GateId::new(*gate))).max_by_key(|(_, at)| *at);
            match shut {
                Some((gate, at)) => {
                    story.tell(certificate, Event::Later { at: after(*at), gate: Some(GateId::new(*gate)) });
                }
                None => story.tell(certificate, Event::Allowed(PermitId::new(certificate.number()))),
            }
        }
        asked.clone()
    };
    assert_eq!(answer(&mut story, &[(1, 100), (2, 9_999)]), [both, one]);
    // The first domain opens: the one that needs both still waits, and holds nobody up.
    story.now = after(100);
    assert_eq!(answer(&mut story, &[(2, 9_999)]), [one, more]);
    story.now = after(9_999);
    assert_eq!(answer(&mut story, &[]), [both, two]);
}

#[test]
fn tenants_take_turns() {
    let mut story = Story::new(Config { in_flight_max: 1, ..config() });
    for name in 0..50 {
        story.wants_of(0, &[name]);
    }
    for name in 50..53 {
        story.wants_of(1, &[name]);
    }
    let mut order = Vec::new();
    for step in 0..10 {
        if step == 4 {
            // One that comes later does not have to wait for all that were before.
            story.wants_of(2, &[60]);
        }
        let id = story.reserves();
        order.push(story.agent.tenant(id).number());
        story.issue(id);
    }
    assert_eq!(order, [0, 1, 0, 1, 2, 0, 1, 0, 0, 0]);
}

#[test]
fn urgent_renewals_go_before_new_ones_and_those_before_the_patient() {
    let mut story = Story::new(Config { in_flight_max: 1, ari: false, ..config() });
    let held = |left: i64| Held { renew_at: Some(NOW), ..Held::new(day(left - 90), day(left)) };
    let mut keeps = |name, left| {
        let wanted = Wanted::new([NameId::new(name)], TenantId::new(0), []).held(held(left));
        story.agent.add(wanted, NOW, 0)
    };
    let (patient, just_not, urgent) = (keeps(0, 30), keeps(1, 9), keeps(2, 8));
    let new = story.wants(&[3]);
    let revoked = keeps_revoked(&mut story, 4);
    let order: Vec<_> = (0..5)
        .map(|_| {
            let id = story.reserves();
            story.issue(id);
            id
        })
        .collect();
    assert_eq!(order, [revoked, urgent, new, patient, just_not]);
}

fn keeps_revoked(story: &mut Story, name: u32) -> CertificateId {
    let wanted = Wanted::new([NameId::new(name)], TenantId::new(0), []).held(Held::new(day(-1), day(89)));
    let id = story.agent.add(wanted, NOW, 0);
    story.tell(id, Event::Revoked { deadline: day(5) });
    id
}

#[test]
fn a_renewal_that_waits_too_long_becomes_urgent() {
    let mut story = Story::new(Config { ari: false, ..config() });
    let held = Held { renew_at: Some(NOW), ..Held::new(day(-80), day(10)) };
    let id = story.agent.add(Wanted::new([NameId::new(0)], TenantId::new(0), [GateId::new(0)]).held(held), NOW, 0);
    let new = story.wants(&[1]);
    let actions = story.actions();
    assert!(is_reserve(&actions[0], new, Class::New) && is_reserve(&actions[1], id, Class::Renewal), "{actions:?}");
    for id in [id, new] {
        story.tell(id, Event::Later { at: day(5), gate: Some(GateId::new(0)) });
    }
    story.now = day(5);
    assert!(is_reserve(&story.actions()[0], id, Class::Urgent));
}

#[test]
fn in_an_outage_one_tries_and_the_others_wait() {
    let mut story = Story::new(config());
    let ids: Vec<_> = (0..5).map(|name| story.wants(&[name])).collect();
    assert_eq!(story.actions().len(), 5);
    for id in &ids {
        story.allow(*id);
    }
    for id in &ids {
        story.tell(*id, Event::Unreachable { retry_at: None });
    }
    let mut waits = Vec::new();
    for _ in 0..4 {
        assert_eq!(story.actions(), []);
        let before = story.now;
        story.sleep();
        waits.push(story.now.since(before).nanos() / 1_000_000_000);
        let id = story.reserves();
        assert_eq!(id, ids[0], "it keeps its place");
        story.allow(id);
        story.tell(id, Event::Unreachable { retry_at: None });
    }
    assert_eq!(waits, [60, 600, 6_000, 6_000]);
    story.sleep();
    let id = story.reserves();
    story.allow(id);
    story.tell(id, Event::Accepted);
    assert_eq!(story.actions().len(), 4, "it is over");
    // A 503 says when.
    story.tell(ids[1], Event::Unreachable { retry_at: Some(story.now.plus(Span::from_seconds(7))) });
    assert_eq!(story.actions(), []);
    assert_eq!(story.agent.next_wake(), Some(story.now.plus(Span::from_seconds(7))));
}

#[test]
fn what_got_lost_is_tried_again_and_may_still_come() {
    let mut story = Story::new(config());
    let id = story.wants(&[0]);
    for wait in [60, 600, 6_000, 86_400] {
        assert_eq!(story.reserves(), id);
        story.allow(id);
        story.tell(id, Event::Lost);
        let before = story.now;
        story.sleep();
        assert_eq!(story.now, before.plus(Span::from_seconds(wait)));
    }
    assert_eq!(story.reserves(), id);
    story.tell(id, Event::Later { at: day(9), gate: None });
    story.tell(id, Event::Issued { issued_at: NOW, expires_at: day(90) });
    assert_eq!(story.agent.held(id).unwrap().expires_at, day(90));
    story.now = day(9);
    let actions = story.actions();
    assert!(actions.iter().all(|action| matches!(action, Action::AskRenewalInfo { .. })), "{actions:?}");
}

#[test]
fn what_is_removed_is_given_back_or_left_alone() {
    let mut story = Story::new(config());
    let (asked, ordered, shrunk) = (story.wants(&[0]), story.wants(&[1]), story.wants(&[2, 3]));
    assert_eq!(story.actions().len(), 3);
    story.allow(ordered);
    story.agent.remove(asked, NOW);
    story.agent.remove(ordered, NOW);
    let permit = PermitId::new(5);
    story.tell(asked, Event::Allowed(permit));
    assert_eq!(story.actions(), [Action::Cancel { permit }]);
    story.tell(ordered, Event::Issued { issued_at: NOW, expires_at: day(90) });
    story.agent.remove_name(shrunk, NameId::new(3), NOW);
    story.fail(shrunk, &[2]);
    assert_eq!(story.agent.names(shrunk), [NameId::new(2)]);
    story.agent.remove_name(shrunk, NameId::new(2), NOW);
    assert_eq!((story.actions(), story.agent.next_wake()), (vec![], None));
    assert_eq!(story.agent.wanted(shrunk), None);
}

#[test]
fn a_restart_remembers() {
    let mut story = Story::new(config());
    let (failing, open, held) = (story.wants(&[0]), story.wants(&[1]), story.wants(&[2]));
    assert_eq!(story.actions().len(), 3);
    story.issue(held);
    story.allow(open);
    story.fail(failing, &[0]);
    let kept: Vec<_> = [failing, open, held].iter().map(|id| (story.agent.wanted(*id).unwrap(), HALF)).collect();
    let backoffs = story.agent.backoffs();
    assert_eq!(backoffs, [(NameId::new(0), Backoff { failures: 1, retry_at: after(60), paused: false })]);
    story.now = after(10);
    story.agent = Agent::restore(config(), backoffs, kept.clone(), story.now);
    assert_eq!(story.actions(), [Action::Resume { certificate: open, permit: PermitId::new(open.number()) }]);
    for id in [failing, open, held] {
        assert_eq!(story.agent.wanted(id).unwrap(), kept[id.number() as usize].0);
    }
    story.sleep();
    assert_eq!((story.now, story.reserves()), (after(60), failing));
    story.fail(failing, &[0]);
    assert_eq!(story.agent.next_wake(), Some(after(660)), "the second failure, not the first");
}
