//! Renewals, step by step.

use super::*;
use certpace::agent::Held;

/// An agent that has just got its one certificate.
fn holding(config: Config, life: Span) -> (Story, CertificateId) {
    let mut story = Story::new(config);
    let id = story.wants(&[0]);
    story.reserves();
    story.issue_for(id, life);
    (story, id)
}

#[test]
fn without_ari_it_renews_at_two_thirds_of_the_life_or_half_of_a_short_one() {
    for (hours, expected) in [(90 * 24, 60 * 24), (45 * 24, 30 * 24), (160, 80)] {
        let (mut story, id) = holding(Config { ari: false, ..config() }, Span::from_hours(hours));
        assert_eq!(story.next_actions().len(), 1);
        assert_eq!(story.now, NOW.plus(Span::from_hours(expected)), "the middle of the window, by its draw");
        assert_eq!(story.agent.held(id).unwrap().window, None);
    }
}

#[test]
fn the_ca_is_asked_as_often_as_it_says_and_twice_a_day_at_least() {
    let (mut story, id) = holding(config(), Span::from_days(90));
    let mut asked = Vec::new();
    for retry_after in [Some(Span::from_hours(6)), Some(Span::from_days(3)), Some(Span::from_seconds(1)), None, None] {
        assert_eq!(story.next_actions(), [Action::AskRenewalInfo { certificate: id }]);
        asked.push(story.now);
        story.tell(id, Event::RenewalInfo { window: hours(1_400, 1_440), retry_after });
    }
    assert!(asked[0].since(NOW) < Span::from_hours(6));
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert_eq!(waits, [Span::from_hours(6), Span::from_hours(12), Span::from_seconds(60), Span::from_hours(6)]);
}

#[test]
fn inside_the_window_it_replaces_and_the_draw_stays() {
    let (mut story, id) = holding(config(), Span::from_days(90));
    assert_eq!(story.next_actions(), [Action::AskRenewalInfo { certificate: id }]);
    let window = hours(100, 140);
    story.agent.handle(id, Event::RenewalInfo { window, retry_after: None }, story.now, HALF);
    // Asked again and again, always with another draw: the time stands.
    let actions = loop {
        let actions = story.next_actions();
        if actions != [Action::AskRenewalInfo { certificate: id }] {
            break actions;
        }
        story.agent.handle(id, Event::RenewalInfo { window, retry_after: None }, story.now, 0);
    };
    assert_eq!(story.now, after(120 * 3_600));
    assert_eq!(actions, [Action::Reserve { certificate: id, class: Class::Renewal, replaces: Some(window) }]);
    let permit = PermitId::new(3);
    story.tell(id, Event::Allowed(permit));
    assert_eq!(story.actions(), [Action::Order { certificate: id, permit, replaces: true }]);
    // Another one has replaced it: again, without.
    story.tell(id, Event::AlreadyReplaced);
    assert_eq!(story.actions(), [Action::Reserve { certificate: id, class: Class::Renewal, replaces: None }]);
}

#[test]
fn outside_the_window_it_does_not_claim_to_be_inside() {
    let (mut story, id) = holding(config(), Span::from_days(90));
    story.next_actions();
    story.tell(id, Event::RenewalInfo { window: hours(20, 30), retry_after: Some(Span::from_hours(12)) });
    story.now = after(25 * 3_600);
    let actions = story.actions();
    assert!(matches!(actions[..], [.., Action::Reserve { replaces: Some(_), .. }]), "{actions:?}");
    story.tell(id, Event::Later { at: after(30 * 3_600), gate: None });
    story.now = after(30 * 3_600);
    let actions = story.actions();
    assert!(matches!(actions[..], [.., Action::Reserve { replaces: None, .. }]), "{actions:?}");
}

#[test]
fn a_window_in_the_past_means_now() {
    let (mut story, id) = holding(config(), Span::from_days(90));
    assert_eq!(story.next_actions(), [Action::AskRenewalInfo { certificate: id }]);
    story.tell(id, Event::RenewalInfo { window: hours(-40, -10), retry_after: None });
    assert_eq!(story.actions(), [Action::Reserve { certificate: id, class: Class::Renewal, replaces: None }]);
}

#[test]
fn a_window_that_ends_before_it_starts_is_no_answer() {
    let (mut story, id) = holding(config(), Span::from_days(90));
    story.next_actions();
    story.tell(id, Event::RenewalInfo { window: hours(2, 2), retry_after: None });
    assert_eq!(story.agent.held(id).unwrap().renew_at, Some(day(60)));
    let asked = story.now;
    assert_eq!(story.next_actions(), [Action::AskRenewalInfo { certificate: id }]);
    assert_eq!(story.now.since(asked), Span::from_hours(6));
}

#[test]
fn where_the_ca_does_not_answer_it_asks_again_and_renews_in_time() {
    let (mut story, id) = holding(config(), Span::from_days(90));
    let mut asked = Vec::new();
    let last = loop {
        let actions = story.next_actions();
        if actions != [Action::AskRenewalInfo { certificate: id }] {
            break actions;
        }
        asked.push(story.now);
        story.tell(id, Event::NoRenewalInfo { lasting: asked.len() > 4 });
    };
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].since(pair[0]).nanos() / 60_000_000_000).collect();
    assert_eq!(waits[..6], [1, 10, 100, 360, 360, 360]);
    assert_eq!((story.now, last.len()), (day(60), 1));
}

#[test]
fn after_a_restart_the_ca_is_asked_before_anything_is_renewed() {
    let mut story = Story::new(config());
    let held = Held::new(day(-70), day(20));
    let id = story.agent.add(Wanted::new([NameId::new(0)], TenantId::new(0), []).held(held), NOW, HALF);
    assert_eq!(story.actions(), [Action::AskRenewalInfo { certificate: id }]);
    assert_eq!(story.agent.next_wake(), None, "nothing before the answer");
    story.tell(id, Event::NoRenewalInfo { lasting: false });
    assert_eq!(story.reserves(), id);
}

#[test]
fn a_revoked_certificate_is_replaced_at_once() {
    let (mut story, id) = holding(config(), Span::from_days(90));
    story.now = after(60);
    story.tell(id, Event::Revoked { deadline: day(5) });
    assert_eq!(story.actions(), [Action::Reserve { certificate: id, class: Class::Urgent, replaces: None }]);
    story.issue(id);
    assert_eq!(story.agent.held(id).unwrap().deadline, None);
}

#[test]
fn a_renewal_stays_whole_for_three_tries() {
    let mut story = Story::new(Config { ari: false, ..config() });
    let id = story.wants(&[0, 1]);
    story.reserves();
    story.issue(id);
    story.sleep();
    let due = story.now;
    for wait in [60, 660, 6_660] {
        assert_eq!(story.reserves(), id);
        story.fail(id, &[1]);
        story.sleep();
        assert_eq!(story.now, due.plus(Span::from_seconds(wait)));
        assert_eq!(story.agent.names(id).len(), 2);
    }
    story.reserves();
    story.fail(id, &[1]);
    let actions = story.actions();
    assert!(matches!(actions[..], [Action::Split { .. }, Action::Reserve { .. }]), "{actions:?}");
    assert_eq!(story.agent.names(id), [NameId::new(0)]);
}
