//! Sessions whose markers are missing or repeated.

use crate::harness::{Answer, SECOND, log_of, replayed, replayed_one};

const GAP: i64 = 1800 * SECOND;

/// What became of one user's events, given as (time in µs, type).
fn of(events: &[(i64, &'static str)]) -> Answer {
    let events: Vec<_> = events.iter().map(|&(us, kind)| (us, "u", "/p", kind)).collect();
    replayed_one(log_of(&events))
}

fn assert_history(answer: &Answer, history: &[&str], filtered: u64) {
    assert_eq!(answer.table("session_history"), history);
    assert_eq!(answer.judged("user_sessions")[1], filtered);
}

#[test]
fn start_and_end_make_a_session() {
    let answer = of(&[(0, "session_start"), (5 * SECOND, "page_view"), (9_999_999, "session_end")]);
    assert_history(&answer, &["u 0s 9999999us 9 0 ended 3 1"], 0);
    assert_eq!(answer.table("user_sessions"), ["u 0s 9999999us 9"]);
}

#[test]
fn start_without_end_stays_open_at_its_last_event() {
    let answer = of(&[(0, "session_start"), (60 * SECOND, "page_view")]);
    assert_history(&answer, &["u 0s 60s 60 0 open 2 1"], 0);
}

#[test]
fn end_without_start_is_ignored() {
    let answer = of(&[(0, "session_end")]);
    assert_history(&answer, &[], 1);
    assert_eq!(answer.table("user_sessions"), [""; 0]);
}

#[test]
fn two_starts_make_two_sessions() {
    let answer = of(&[(0, "session_start"), (10 * SECOND, "click"), (20 * SECOND, "session_start")]);
    assert_history(&answer, &["u 0s 10s 10 0 restart 2 0", "u 20s 20s 0 0 open 1 0"], 0);
    assert_eq!(answer.table("user_sessions"), ["u 20s 20s 0"]);
}

#[test]
fn two_starts_at_one_instant_are_told_apart_by_seq() {
    let answer = of(&[(0, "session_start"), (0, "session_start")]);
    assert_history(&answer, &["u 0s 0s 0 0 restart 1 0", "u 0s 0s 0 1 open 1 0"], 0);
}

#[test]
fn two_ends_close_one_session() {
    let answer = of(&[(0, "session_start"), (SECOND, "session_end"), (2 * SECOND, "session_end")]);
    assert_history(&answer, &["u 0s 1s 1 0 ended 2 0"], 1);
}

#[test]
fn an_event_without_start_opens_a_session() {
    let answer = of(&[(0, "click"), (SECOND, "session_end")]);
    assert_history(&answer, &["u 0s 1s 1 0 ended 2 0"], 0);
}

#[test]
fn silence_of_the_gap_ends_a_session_and_a_microsecond_less_does_not() {
    let answer = of(&[(0, "click"), (GAP, "session_end")]);
    assert_history(&answer, &["u 0s 0s 0 0 timeout 1 0"], 1);
    let answer = of(&[(0, "click"), (GAP - 1, "session_end")]);
    assert_history(&answer, &["u 0s 1799999999us 1799 0 ended 2 0"], 0);
}

#[test]
fn the_last_session_times_out_when_any_partition_has_passed_its_gap() {
    let user = || log_of(&[(0, "u", "/p", "click")]);
    // The final watermark is the time of the other partition's event less 2 minutes.
    let other = |us| log_of(&[(us, "v", "/p", "click")]);
    let reached = replayed(vec![user(), other(GAP + 120 * SECOND)]);
    assert!(reached.table("session_history").contains(&"u 0s 0s 0 0 timeout 1 0"));
    let short = replayed(vec![user(), other(GAP + 120 * SECOND - 1)]);
    assert!(short.table("session_history").contains(&"u 0s 0s 0 0 open 1 0"));
}

#[test]
fn a_late_end_leaves_the_session_open() {
    let answer = replayed_one(log_of(&[
        (0, "u", "/p", "session_start"),
        (300 * SECOND, "v", "/p", "click"),
        (60 * SECOND, "u", "/p", "session_end"),
    ]));
    assert!(answer.table("session_history").contains(&"u 0s 0s 0 0 open 1 0"));
    assert_eq!(answer.judged("user_sessions"), [2, 0, 1]);
}

#[test]
fn one_instant_is_ordered_by_partition_then_offset() {
    let start = log_of(&[(0, "u", "/p", "session_start")]);
    let end = log_of(&[(0, "u", "/p", "session_end")]);
    let started_first = replayed(vec![start.clone(), end.clone()]);
    assert_eq!(started_first.table("session_history"), ["u 0s 0s 0 0 ended 2 0"]);
    let ended_first = replayed(vec![end, start]);
    assert_eq!(ended_first.table("session_history"), ["u 0s 0s 0 0 open 1 0"]);
    assert_eq!(ended_first.judged("user_sessions"), [1, 1, 0]);
}
