//! The rules of the contract, one by one.

use certpace::clock::{Clock as _, SystemClock, Timescale};
use certpace::gcra::Quota;
use certpace::ledger::{Ask, Bucket, Cell, Motion, Move, Outcome, Step, Store, Version, Write};
use certpace::permits::Tally;
use certpace::time::{Span, Timestamp};

use super::rows::{asking, bucket, hold, holding, moving, step, write, writing};
use super::stores::{
    DONE, REALM, START, ask, at, blocked, cells, documents, mark, moved, outcome, over_all_stores, overdue, records,
};

/// An hour over the bucket's burst: the emission interval of `bucket("…", 4)` is 900 s.
const QUARTER: i64 = 900;

#[test]
fn a_missing_cell_is_a_full_bucket() {
    over_all_stores(|store| {
        assert_eq!(outcome(store, &asking("a", 4, 4), START), DONE);
        assert_eq!(outcome(store, &asking("a", 4, 5), START), blocked([(0, at(QUARTER))]));
    });
}

#[test]
fn a_token_comes_back_at_the_exact_microsecond() {
    over_all_stores(|store| {
        let spend = moving("a", 4, &[Motion::Charge { at: None }; 4]);
        assert_eq!(outcome(store, &spend, START), DONE);
        let early = at(QUARTER).minus(Span::from_nanos(1_000));
        assert_eq!(outcome(store, &asking("a", 4, 1), early), blocked([(0, at(QUARTER))]));
        assert_eq!(outcome(store, &asking("a", 4, 1), at(QUARTER)), DONE);
        assert_eq!(outcome(store, &asking("a", 4, 2), at(QUARTER)), blocked([(0, at(2 * QUARTER))]));
    });
}

#[test]
fn only_a_part_of_a_burst_may_be_used() {
    over_all_stores(|store| {
        let mut step = asking("a", 4, 3);
        step.asks[0].burst = 2;
        assert_eq!(outcome(store, &step, START), blocked([(0, at(QUARTER))]));
    });
}

#[test]
fn every_bucket_in_the_way_is_told_and_nothing_is_done() {
    over_all_stores(|store| {
        let mut spend = moving("a", 1, &[Motion::Charge { at: None }]);
        spend.buckets.push(bucket("b", 2));
        spend.moves.extend([Move { bucket: 1, motion: Motion::Charge { at: None } }; 2]);
        assert_eq!(outcome(store, &spend, START), DONE);
        let (before, rows) = (store.mark().unwrap(), cells(store, REALM));
        let mut all = asking("a", 1, 1);
        all.buckets.extend([bucket("c", 5), bucket("b", 2)]);
        all.asks.extend([1, 2].map(|bucket| Ask { bucket, burst: 9, tokens: 1, asked: true, beside: None }));
        all.moves.push(Move { bucket: 1, motion: Motion::Charge { at: None } });
        all.writes.push(write("x", "x"));
        all.record = Some("no".to_owned());
        assert_eq!(outcome(store, &all, START), blocked([(0, at(3_600)), (2, at(1_800))]));
        assert_eq!((store.mark().unwrap(), cells(store, REALM)), (before, rows));
        assert_eq!((documents(store, REALM, ""), records(store, 0)), (vec![], vec![]));
    });
}

#[test]
fn what_is_held_counts_as_spent() {
    over_all_stores(|store| {
        assert_eq!(outcome(store, &holding("a", 4, 3), START), DONE);
        assert_eq!(outcome(store, &asking("a", 4, 1), START), DONE);
        assert_eq!(outcome(store, &asking("a", 4, 2), START), blocked([(0, at(QUARTER))]));
        // Later too: what is held can be spent at any time.
        assert_eq!(outcome(store, &asking("a", 4, 2), at(9_000)), blocked([(0, at(9_000 + QUARTER))]));
        let spend =
            Step { moves: vec![Move { bucket: 0, motion: Motion::Spend { asked: true } }], ..holding("a", 4, 0) };
        let release = moving("a", 4, &[Motion::Release { asked: true }]);
        assert_eq!((outcome(store, &spend, at(60)), outcome(store, &release, at(60))), (DONE, DONE));
        let tally = Tally { tat: Some(at(60 + QUARTER)), held: 1 };
        assert_eq!(cells(store, REALM), [("a".to_owned(), Cell { tally, asked: 1 })]);
    });
}

#[test]
fn more_given_back_than_was_held_is_nothing() {
    over_all_stores(|store| {
        assert_eq!(outcome(store, &moving("a", 4, &[Motion::Release { asked: true }]), START), DONE);
        assert_eq!(cells(store, REALM), [("a".to_owned(), Cell::default())]);
    });
}

#[test]
fn one_who_does_not_ask_waits_only_for_those_who_do() {
    over_all_stores(|store| {
        let mut unasked = asking("a", 2, 1);
        unasked.asks[0].asked = false;
        assert_eq!(outcome(store, &hold("a", 2, false), START), DONE);
        assert_eq!(outcome(store, &hold("a", 2, false), START), DONE);
        assert_eq!(outcome(store, &unasked, START), DONE);
        assert_eq!(outcome(store, &hold("a", 2, true), START), DONE);
        assert_eq!(outcome(store, &unasked, START), blocked([(0, at(60))]));
    });
}

#[test]
fn what_another_bucket_holds_is_asked_for_too() {
    over_all_stores(|store| {
        assert_eq!(outcome(store, &holding("other", 9, 3), START), DONE);
        let mut beside = asking("a", 4, 1);
        beside.buckets.push(bucket("other", 9));
        beside.asks[0].beside = Some(1);
        assert_eq!(outcome(store, &beside, START), DONE);
        // No more than the burst in all.
        beside.asks[0].tokens = 4;
        assert_eq!(outcome(store, &beside, START), DONE);
        let spend = moving("a", 4, &[Motion::Charge { at: None }]);
        assert_eq!(outcome(store, &spend, START), DONE);
        assert_eq!(outcome(store, &beside, START), blocked([(0, at(QUARTER))]));
    });
}

#[test]
fn a_floor_holds_whatever_the_store_knows() {
    over_all_stores(|store| {
        let mut step = asking("a", 4, 4);
        step.buckets[0].floor = Some(at(100));
        assert_eq!(outcome(store, &step, START), blocked([(0, at(100))]));
        assert_eq!(cells(store, REALM), []);
        step.asks.clear();
        step.moves = vec![Move { bucket: 0, motion: Motion::Hold { asked: false } }];
        assert_eq!(outcome(store, &step, START), DONE);
        let tally = Tally { tat: Some(at(100)), held: 1 };
        assert_eq!(cells(store, REALM), [("a".to_owned(), Cell { tally, asked: 0 })]);
    });
}

#[test]
fn a_token_that_is_tried_for_is_spent_only_if_it_is_there() {
    over_all_stores(|store| {
        let mut tries = moving("a", 2, &[Motion::Try; 3]);
        tries.buckets.push(bucket("b", 1));
        tries.moves.extend([Move { bucket: 1, motion: Motion::Try }; 2]);
        assert_eq!(outcome(store, &tries, START), Outcome::Done { denied: vec![0, 1] });
        assert_eq!(cells(store, REALM)[0].1.tally.tat, Some(at(3_600)));
    });
}

#[test]
fn a_refusal_of_the_ca_raises_a_bucket_and_never_lowers_it() {
    over_all_stores(|store| {
        let raise = |seconds| moving("a", 4, &[Motion::Raise { until: at(seconds) }]);
        assert_eq!(outcome(store, &raise(500), START), DONE);
        assert_eq!(outcome(store, &raise(400), START), DONE);
        assert_eq!(outcome(store, &asking("a", 4, 1), START), blocked([(0, at(500))]));
    });
}

#[test]
fn a_charge_in_the_past_is_made_then() {
    over_all_stores(|store| {
        let charge = moving("a", 4, &[Motion::Charge { at: Some(at(-600)) }]);
        assert_eq!(outcome(store, &charge, START), DONE);
        assert_eq!(cells(store, REALM)[0].1.tally.tat, Some(at(300)));
        // An empty bucket stays empty, but is never less so than now.
        let many = moving("a", 4, &[Motion::Charge { at: None }; 9]);
        assert_eq!(outcome(store, &many, START), DONE);
        assert_eq!(outcome(store, &charge, START), DONE);
        assert_eq!(cells(store, REALM)[0].1.tally.tat, Some(at(3_600)));
    });
}

#[test]
fn documents_are_expected_by_version() {
    over_all_stores(|store| {
        let expecting = |version| Step { expect: vec![("d".to_owned(), version)], ..step() };
        let written = |version| Step { writes: vec![write("d", "text")], ..expecting(version) };
        assert_eq!(outcome(store, &expecting(Version::Absent), START), DONE);
        assert_eq!(outcome(store, &expecting(Version::Unknown), START), moved([("d", 0, "")]));
        assert_eq!(outcome(store, &written(Version::Written(7)), START), moved([("d", 0, "")]));
        assert_eq!(ask(store, &written(Version::Absent), START).mark, mark(1, 1));
        assert_eq!(outcome(store, &written(Version::Absent), START), moved([("d", 1, "text")]));
        assert_eq!(outcome(store, &expecting(Version::Unknown), START), moved([("d", 1, "text")]));
        assert_eq!(outcome(store, &expecting(Version::Written(1)), START), DONE);
        assert_eq!(ask(store, &written(Version::Written(1)), START).mark, mark(1, 2));
        assert_eq!(outcome(store, &written(Version::Written(1)), START), moved([("d", 2, "text")]));
        let gone = Step { writes: vec![Write { name: "d".to_owned(), body: None, lease: None }], ..step() };
        assert_eq!(outcome(store, &gone, START), DONE);
        assert_eq!(outcome(store, &expecting(Version::Written(2)), START), moved([("d", 0, "")]));
        assert_eq!(documents(store, REALM, ""), []);
    });
}

#[test]
fn a_step_is_made_for_a_time() {
    over_all_stores(|store| {
        let timely = Step { valid: (at(10), at(20)), ..step() };
        let early = at(10).minus(Span::from_nanos(1_000));
        let last = at(20).minus(Span::from_nanos(1_000));
        assert_eq!(
            [early, at(10), last, at(20)].map(|at| outcome(store, &timely, at)),
            [moved([]), DONE, DONE, moved([])]
        );
    });
}

#[test]
fn overdue_leases_come_first_where_that_is_asked() {
    over_all_stores(|store| {
        let leased = |name: &str, seconds| Write { lease: Some(at(seconds)), ..write(name, name) };
        let settled = Step { settled: true, ..step() };
        assert_eq!(outcome(store, &settled, at(99)), DONE);
        assert_eq!(outcome(store, &writing(vec![leased("b", 10), leased("a", 20), leased("c", 30)]), START), DONE);
        assert_eq!(outcome(store, &settled, at(9)), DONE);
        assert_eq!(outcome(store, &settled, at(10)), overdue(["b"]));
        assert_eq!(outcome(store, &settled, at(25)), overdue(["a", "b"]));
        assert_eq!(outcome(store, &step(), at(25)), DONE);
        let other_realm = Step { realm: "fedcba9876543210".to_owned(), ..settled.clone() };
        assert_eq!(outcome(store, &other_realm, at(25)), DONE);
        // Whoever writes it again with another lease, with none, or takes it away, has looked after it.
        let mut after = writing(vec![leased("b", 50), write("a", "a")]);
        after.writes.push(Write { name: "c".to_owned(), body: None, lease: None });
        assert_eq!(outcome(store, &after, at(40)), DONE);
        assert_eq!(outcome(store, &settled, at(49)), DONE);
        assert_eq!(outcome(store, &settled, at(50)), overdue(["b"]));
    });
}

#[test]
fn a_step_of_the_same_call_may_look_after_a_lease() {
    over_all_stores(|store| {
        let leased = |seconds| Write { lease: Some(at(seconds)), ..write("a", "a") };
        let settled = Step { settled: true, ..step() };
        let steps = [writing(vec![leased(10)]), settled.clone(), writing(vec![leased(90)]), settled];
        let replies = store.transact(&steps, Timescale::stopped(at(20))).unwrap();
        let outcomes: Vec<_> = replies.into_iter().map(|reply| reply.outcome).collect();
        assert_eq!(outcomes, [DONE, overdue(["a"]), DONE, DONE]);
    });
}

#[test]
fn of_many_overdue_leases_some_are_told() {
    over_all_stores(|store| {
        let leased = |place| Write { lease: Some(at(10)), ..write(&format!("d{place:03}"), "") };
        assert_eq!(outcome(store, &writing((0..200).map(leased).collect()), START), DONE);
        let settled = Step { settled: true, ..step() };
        let Outcome::Moved { overdue, .. } = outcome(store, &settled, at(10)) else { panic!("settled") };
        assert!((1..200).contains(&overdue.len()) && overdue.is_sorted(), "{overdue:?}");
        // Still, after as many have been dealt with in one call as are told at once.
        let gone = |place| Write { name: format!("d{place:03}"), body: None, lease: None };
        let steps = [writing((0..199).map(gone).collect()), settled];
        let replies = store.transact(&steps, Timescale::stopped(at(10))).unwrap();
        assert_eq!(replies[1].outcome, super::stores::overdue(["d199"]));
    });
}

#[test]
fn marks_rise_with_changes_alone() {
    over_all_stores(|store| {
        assert_eq!(ask(store, &step(), START).mark, mark(1, 0));
        let record = Step { record: Some("said".to_owned()), ..step() };
        assert_eq!(ask(store, &record, START).mark, mark(1, 1));
        assert_eq!(ask(store, &holding("a", 4, 1), START).mark, mark(1, 2));
        assert_eq!(ask(store, &writing(vec![write("d", "")]), START).mark, mark(1, 3));
        // A new epoch is above all that can have been lost: it is the second in which it opens.
        let opened = mark(1_800_000_000, 4);
        assert_eq!(ask(store, &Step { opens_epoch: true, ..step() }, START).mark, opened);
        assert_eq!(ask(store, &asking("a", 4, 9), START).mark, opened);
        let again = ask(store, &Step { opens_epoch: true, ..step() }, START).mark;
        assert_eq!(again, mark(1_800_000_001, 5));
        assert_eq!(store.mark().unwrap(), again);
    });
}

#[test]
fn a_ledger_that_is_behind_what_was_seen_of_it_refuses_before_all_else() {
    over_all_stores(|store| {
        assert_eq!(outcome(store, &Step { opens_epoch: true, ..step() }, START), DONE);
        for known in [mark(1_800_000_000, 2), mark(1_800_000_001, 0)] {
            let step = Step { known, valid: (at(1), at(2)), record: Some("no".to_owned()), ..asking("a", 1, 9) };
            assert_eq!(ask(store, &step, START).mark, mark(1_800_000_000, 1));
            assert_eq!(outcome(store, &step, START), Outcome::WentBack);
        }
        for known in [mark(1_800_000_000, 1), mark(1, 99), mark(2, 0)] {
            assert_eq!(outcome(store, &Step { known, ..step() }, START), DONE);
        }
    });
}

#[test]
fn of_an_earlier_epoch_the_caller_knows_no_document() {
    over_all_stores(|store| {
        assert_eq!(outcome(store, &writing(vec![write("d", "x")]), START), DONE);
        assert_eq!(outcome(store, &Step { opens_epoch: true, ..step() }, START), DONE);
        let expecting =
            |known, name: &str, version| Step { known, expect: vec![(name.to_owned(), version)], ..asking("a", 1, 9) };
        // Sequences of a ledger that was made anew begin anew: what bears this number may be another document.
        for (known, version) in [(mark(1, 1), Version::Written(1)), (mark(1_799_999_999, 2), Version::Written(1))] {
            assert_eq!(outcome(store, &expecting(known, "d", version), START), moved([("d", 1, "x")]));
            assert_eq!(outcome(store, &expecting(known, "e", Version::Absent), START), moved([("e", 0, "")]));
        }
        let in_the_way = blocked([(0, at(8 * 4 * QUARTER))]);
        let today = expecting(mark(1_800_000_000, 2), "d", Version::Written(1));
        assert_eq!(outcome(store, &today, START), in_the_way);
    });
}

#[test]
fn what_the_caller_must_know_comes_before_what_is_in_the_way() {
    over_all_stores(|store| {
        let step = Step { expect: vec![("d".to_owned(), Version::Unknown)], ..asking("a", 1, 9) };
        assert_eq!(outcome(store, &step, START), moved([("d", 0, "")]));
    });
}

#[test]
fn the_record_is_read_in_order_and_piece_by_piece() {
    over_all_stores(|store| {
        for said in 0..5 {
            let record = (said != 2).then(|| format!("line {said}"));
            assert_eq!(outcome(store, &Step { record, ..holding("a", 9, 1) }, at(said)), DONE);
        }
        let lines = |store: &mut dyn Store, from, most| {
            let mut lines = Vec::new();
            let more = store.records(from, most, &mut |line| lines.push((line.sequence, line.at, line.body))).unwrap();
            (lines, more)
        };
        let line = |said: i64| (said.unsigned_abs() + 1, at(said), format!("line {said}"));
        assert_eq!(lines(store, 0, 2), (vec![line(0), line(1)], true));
        assert_eq!(lines(store, 3, 9), (vec![line(3), line(4)], false));
        assert_eq!(lines(store, 9, 9), (vec![], false));
        assert_eq!(records(store, 2).iter().map(|line| line.realm.as_str()).collect::<Vec<_>>(), [REALM; 3]);
    });
}

#[test]
fn a_sweep_takes_full_cells_and_old_lines() {
    over_all_stores(|store| {
        let spend =
            |name: &str| Step { record: Some(name.to_owned()), ..moving(name, 4, &[Motion::Charge { at: None }]) };
        assert_eq!(outcome(store, &spend("old"), START), DONE);
        assert_eq!(outcome(store, &spend("new"), at(5_000)), DONE);
        assert_eq!(
            outcome(store, &moving("held", 4, &[Motion::Charge { at: None }, Motion::Hold { asked: false }]), START),
            DONE
        );
        assert_eq!(outcome(store, &moving("never", 4, &[Motion::Release { asked: false }]), START), DONE);
        let other = Step { realm: "fedcba9876543210".to_owned(), ..spend("old") };
        assert_eq!(outcome(store, &other, START), DONE);
        assert_eq!(store.sweep(REALM, at(QUARTER), 0).unwrap(), (1, 0));
        assert_eq!(store.sweep(REALM, at(QUARTER + 1), 2).unwrap(), (1, 1));
        let names: Vec<_> = cells(store, REALM).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["held", "new"]);
        assert_eq!(records(store, 0).iter().map(|line| line.sequence).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(ask(store, &spend("old"), at(6_000)).mark, mark(1, 6));
    });
}

#[test]
fn questions_change_nothing() {
    over_all_stores(|store| {
        let mut question = Step { settled: true, known: mark(1, 0), ..asking("a", 4, 2) };
        question.expect.push(("d".to_owned(), Version::Absent));
        assert_eq!(ask(store, &question, START).mark, mark(1, 0));
        assert_eq!((cells(store, REALM), documents(store, REALM, ""), records(store, 0)), (vec![], vec![], vec![]));
    });
}

#[test]
fn steps_of_one_call_are_decided_one_after_the_other() {
    over_all_stores(|store| {
        let spend =
            |asks: u32| Step { asks: asking("a", 2, asks).asks, ..moving("a", 2, &[Motion::Charge { at: None }]) };
        let replies =
            store.transact(&[spend(2), spend(2), spend(1), asking("a", 2, 1)], Timescale::stopped(START)).unwrap();
        let outcomes: Vec<_> = replies.iter().map(|reply| reply.outcome.clone()).collect();
        assert_eq!(outcomes, [DONE, blocked([(0, at(1_800))]), DONE, blocked([(0, at(1_800))])]);
        assert_eq!(replies.iter().map(|reply| reply.mark.sequence).collect::<Vec<_>>(), [1, 1, 2, 2]);
        assert_eq!(store.transact(&[], Timescale::REAL).unwrap(), []);
    });
}

#[test]
fn realms_are_apart() {
    over_all_stores(|store| {
        assert_eq!(outcome(store, &holding("a", 1, 1), START), DONE);
        assert_eq!(outcome(store, &writing(vec![write("d", "")]), START), DONE);
        let mut other = Step { realm: "fedcba9876543210".to_owned(), ..asking("a", 1, 1) };
        other.expect.push(("d".to_owned(), Version::Absent));
        assert_eq!(outcome(store, &other, START), DONE);
        assert_eq!((cells(store, &other.realm), documents(store, &other.realm, "")), (vec![], vec![]));
    });
}

#[test]
fn one_row_may_be_named_twice() {
    over_all_stores(|store| {
        let mut twice = moving("a", 4, &[Motion::Hold { asked: true }]);
        twice.buckets.push(bucket("a", 2));
        twice.moves.push(Move { bucket: 1, motion: Motion::Spend { asked: true } });
        twice.writes = vec![write("d", "first"), write("d", "second")];
        assert_eq!(outcome(store, &twice, START), DONE);
        let tally = Tally { tat: Some(at(1_800)), held: 0 };
        assert_eq!(cells(store, REALM), [("a".to_owned(), Cell { tally, asked: 0 })]);
        assert_eq!(documents(store, REALM, "").iter().map(|row| row.body.as_str()).collect::<Vec<_>>(), ["second"]);
    });
}

#[test]
fn names_and_bodies_are_any_text() {
    let names =
        ["a b", "it's", "\"quoted\"", "100%", "a\\b", "a:b{c}*?[d]", "a\tb", "-", "NULL", "xn--bcher-kva.example"];
    let body = "line\nbreak, 'quote', \"quote\", \\, %s, Bücher, 書籍, 🔒, 1e308, null";
    over_all_stores(|store| {
        for name in names {
            let step = Step { record: Some(body.to_owned()), writes: vec![write(name, body)], ..holding(name, 4, 1) };
            assert_eq!(outcome(store, &step, START), DONE);
        }
        let mut sorted = names;
        sorted.sort_unstable();
        assert_eq!(cells(store, REALM).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), sorted);
        let rows = documents(store, REALM, "");
        assert_eq!(
            rows.iter().map(|row| (row.name.as_str(), row.body.as_str())).collect::<Vec<_>>(),
            sorted.map(|name| (name, body))
        );
        assert!(records(store, 0).iter().all(|line| line.body == body));
        let unknown = Step { expect: names.map(|name| (name.to_owned(), Version::Unknown)).to_vec(), ..step() };
        let Outcome::Moved { documents, .. } = outcome(store, &unknown, START) else { panic!("known") };
        assert_eq!(
            documents.iter().map(|row| (row.name.as_str(), row.body.as_str())).collect::<Vec<_>>(),
            names.map(|name| (name, body))
        );
    });
}

#[test]
fn documents_are_found_by_what_their_names_begin_with() {
    over_all_stores(|store| {
        let all = ["permit/1", "permit/2", "permit/%", "permits", "Permit/3", "permit", "permit/\u{e4}"];
        assert_eq!(outcome(store, &writing(all.map(|name| write(name, "")).to_vec()), START), DONE);
        let names = |store: &mut dyn Store, prefix| {
            documents(store, REALM, prefix).into_iter().map(|row| row.name).collect::<Vec<_>>()
        };
        assert_eq!(names(store, "permit/"), ["permit/%", "permit/1", "permit/2", "permit/\u{e4}"]);
        assert_eq!(names(store, "permit/%"), ["permit/%"]);
        assert_eq!(names(store, "x"), [""; 0]);
        assert_eq!(names(store, "").len(), 7);
    });
}

#[test]
fn what_a_step_tells_is_rounded_up_to_microseconds_and_the_clock_down() {
    over_all_stores(|store| {
        let past = |at: Timestamp| at.plus(Span::from_nanos(1));
        let up = |at: Timestamp| at.plus(Span::from_nanos(1_000));
        let mut step = moving("raised", 4, &[Motion::Raise { until: past(START) }]);
        step.buckets.extend([bucket("charged", 4), Bucket { floor: Some(past(START)), ..bucket("floor", 4) }]);
        step.moves.push(Move { bucket: 1, motion: Motion::Charge { at: Some(past(START)) } });
        step.moves.push(Move { bucket: 2, motion: Motion::Hold { asked: false } });
        step.writes.push(Write { lease: Some(past(at(60))), ..write("d", "") });
        step.valid = (past(START).minus(Span::from_nanos(2)), past(START));
        let reply = store.transact(&[step], Timescale::stopped(START.plus(Span::from_nanos(999)))).unwrap().remove(0);
        assert_eq!((reply.at, reply.outcome), (START, DONE));
        let tats: Vec<_> = cells(store, REALM).into_iter().map(|(_, cell)| cell.tally.tat.unwrap()).collect();
        assert_eq!(tats, [up(at(QUARTER)), up(START), up(at(3 * QUARTER))]);
        let settled = Step { settled: true, ..super::rows::step() };
        assert_eq!([at(60), up(at(60))].map(|at| outcome(store, &settled, at)), [DONE, overdue(["d"])]);
    });
}

#[test]
fn a_step_may_be_large() {
    over_all_stores(|store| {
        let places = 0..3_000;
        let step = Step {
            buckets: places.clone().map(|place| bucket(&format!("b{place:04}"), 4)).collect(),
            asks: places.clone().map(|bucket| Ask { bucket, burst: 4, tokens: 1, asked: true, beside: None }).collect(),
            moves: places.clone().map(|bucket| Move { bucket, motion: Motion::Charge { at: None } }).collect(),
            expect: places.clone().map(|place| (format!("d{place:04}"), Version::Absent)).collect(),
            writes: places.map(|place| write(&format!("d{place:04}"), "text")).collect(),
            ..step()
        };
        assert_eq!(outcome(store, &step, START), DONE);
        assert_eq!((cells(store, REALM).len(), documents(store, REALM, "").len()), (3_000, 3_000));
        let Outcome::Moved { documents, .. } = outcome(store, &step, START) else { panic!("known") };
        assert_eq!(documents.len(), 3_000);
        assert_eq!(store.sweep(REALM, at(9_999), 0).unwrap(), (3_000, 0));
    });
}

#[test]
fn a_tiny_quota_and_a_huge_one_are_exact() {
    over_all_stores(|store| {
        let day = Span::from_days(1);
        let tiny = Quota::new(1_000_000, 86_400_000_000, day).unwrap();
        let huge = Quota::new(1, 1, Span::from_days(25 * 365)).unwrap();
        let bucket = |name: &str, quota| Bucket { name: name.to_owned(), quota, floor: None };
        let step = Step {
            buckets: vec![bucket("tiny", tiny), bucket("huge", huge)],
            moves: (0..2).map(|bucket| Move { bucket, motion: Motion::Charge { at: None } }).collect(),
            ..step()
        };
        assert_eq!(outcome(store, &step, START), DONE);
        let tats: Vec<_> = cells(store, REALM).into_iter().map(|(_, cell)| cell.tally.tat.unwrap()).collect();
        assert_eq!(tats, [START.plus(Span::from_days(25 * 365)), START.plus(Span::from_nanos(1_000))]);
    });
}

#[test]
fn a_ledger_is_made_once_is_whole_and_has_nothing_to_migrate() {
    over_all_stores(|store| {
        assert!(!store.init().unwrap());
        assert_eq!(store.migrate().unwrap(), None);
        store.check().unwrap();
        assert!(store.notes().iter().all(|note| !note.is_empty()));
    });
}

#[test]
fn the_store_s_clock_decides() {
    over_all_stores(|store| {
        let before = SystemClock.now();
        let reply = store.transact(&[holding("a", 4, 1)], Timescale::REAL).unwrap().remove(0);
        let faster = store.transact(&[step()], Timescale::faster(1_000, before, before)).unwrap().remove(0);
        let after = SystemClock.now();
        assert!(Timestamp::from_unix_micros(before.unix_micros()) <= reply.at && reply.at <= after, "{reply:?}");
        let passed = Span::from_nanos((after.since(before).nanos()) * 1_000);
        assert!(reply.at <= faster.at && faster.at <= before.plus(passed), "{faster:?}");
    });
}
