//! Windows, watermarks, and clocks that are wrong.

use crate::harness::{SECOND, event, log_of, record, replayed, replayed_one};

const YEAR: i64 = 365 * 86_400 * SECOND;
const DAY: i64 = 86_400 * SECOND;
const ALL: &str = "page_view_counts,active_users,user_sessions";

/// A page view of `/p` by `u`.
fn view(us: i64) -> (i64, &'static str, &'static str, &'static str) {
    (us, "u", "/p", "page_view")
}

#[test]
fn windows_are_half_open() {
    let answer = replayed_one(log_of(&[view(0), view(60 * SECOND - 1), view(60 * SECOND)]));
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 2", "60s 120s /p 1"]);
}

#[test]
fn windows_before_the_epoch_are_half_open_too() {
    let epoch = -crate::harness::ZERO_US;
    let answer = replayed_one(log_of(&[view(epoch - 1), view(epoch)]));
    let seconds = epoch / SECOND;
    let row = |from: i64| format!("{}s {}s /p 1", seconds + from, seconds + from + 60);
    assert_eq!(answer.table("page_view_counts"), [row(0), row(-60)]);
}

#[test]
fn an_event_is_in_five_sliding_windows_and_windows_without_one_give_no_row() {
    let answer = replayed_one(log_of(&[(0, "u", "/p", "click"), (0, "v", "/p", "click")]));
    let expected = ["-120s 180s 2", "-180s 120s 2", "-240s 60s 2", "-60s 240s 2", "0s 300s 2"];
    assert_eq!(answer.table("active_users"), expected);
}

#[test]
fn a_window_that_ends_at_the_watermark_is_closed() {
    // After 180 s the watermark is 60 s, the end of the first minute.
    let answer = replayed_one(log_of(&[view(180 * SECOND), view(60 * SECOND - 1), view(60 * SECOND)]));
    assert_eq!(answer.judged("page_view_counts"), [2, 0, 1]);
    assert_eq!(answer.table("page_view_counts"), ["180s 240s /p 1", "60s 120s /p 1"]);
    // The older sliding windows are closed for it, the newer ones not.
    assert_eq!(answer.judged("active_users"), [3, 0, 0]);
    assert_eq!(answer.judged("user_sessions"), [2, 0, 1]);
    assert_eq!(answer.late[0].header("outputs"), "page_view_counts,user_sessions");
    assert_eq!(answer.late[0].header("late_by_ms"), "1");
}

#[test]
fn a_window_that_ends_a_microsecond_after_the_watermark_is_open() {
    let answer = replayed_one(log_of(&[view(180 * SECOND - 1), view(60 * SECOND - 2)]));
    assert_eq!(answer.judged("page_view_counts"), [2, 0, 0]);
    // Outside windows lateness is exact: the watermark is a microsecond ahead of it.
    assert_eq!(answer.judged("user_sessions"), [1, 0, 1]);
    assert_eq!(answer.late[0].header("outputs"), "user_sessions");
}

#[test]
fn an_event_at_the_watermark_is_on_time_for_sessions() {
    let answer = replayed_one(log_of(&[view(180 * SECOND), view(60 * SECOND)]));
    assert_eq!(answer.judged("user_sessions"), [2, 0, 0]);
    assert!(answer.lake.iter().all(|row| !row.late));
}

#[test]
fn a_late_record_counts_in_the_sliding_windows_that_are_still_open() {
    // The watermark is 60 s: of the windows that hold 0 s, the one that ends at 60 s is closed.
    let answer = replayed_one(log_of(&[(180 * SECOND, "u", "/p", "click"), (0, "v", "/p", "click")]));
    let rows = answer.table("active_users");
    for row in ["-60s 240s 2", "0s 300s 2", "-120s 180s 1", "-180s 120s 1"] {
        assert!(rows.contains(&row), "{row} is not in {rows:?}");
    }
    assert!(!rows.iter().any(|row| row.starts_with("-240s")));
}

#[test]
fn lateness_is_judged_in_the_records_own_partition() {
    let ahead = log_of(&[view(3000 * SECOND)]);
    let behind = log_of(&[view(0), view(SECOND)]);
    let answer = replayed(vec![ahead, behind]);
    assert_eq!(answer.judged("page_view_counts"), [3, 0, 0]);
    assert!(answer.late.is_empty());
}

#[test]
fn a_partition_one_hour_behind_loses_nothing() {
    let minutes = |from: i64| (0..60).map(|m| view((from + m * 60) * SECOND)).collect::<Vec<_>>();
    let answer = replayed(vec![log_of(&minutes(3600)), log_of(&minutes(0))]);
    assert_eq!(answer.judged("page_view_counts"), [120, 0, 0]);
    assert_eq!(answer.table("page_view_counts").len(), 120);
}

#[test]
fn an_event_a_year_late_is_late_for_everything_and_kept() {
    let mut log = log_of(&[view(0), view(0), view(SECOND)]);
    log[1] = record(1, 0, event(-YEAR, "u", "/old", "page_view"));
    let answer = replayed_one(log);
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 2"]);
    for output in ALL.split(',') {
        assert_eq!(answer.judged(output), [2, 0, 1], "{output}");
    }
    assert_eq!(answer.late.len(), 1);
    assert_eq!(answer.late[0].header("reason"), "late");
    assert_eq!(answer.late[0].header("outputs"), ALL);
    // A year less the delay of 2 minutes.
    assert_eq!(answer.late[0].header("late_by_ms"), (YEAR / 1000 - 120_000).to_string());
    assert_eq!(answer.lake.iter().map(|row| row.late).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(answer.enriched.len(), 3);
}

#[test]
fn late_by_is_rounded_up_to_a_millisecond() {
    let answer = replayed_one(log_of(&[view(180 * SECOND + 1), view(0)]));
    assert_eq!(answer.late[0].header("late_by_ms"), "60001");
}

#[test]
fn an_event_a_day_or_ten_years_ahead_is_dead_and_makes_nobody_late() {
    for ahead in [DAY, 10 * YEAR] {
        let mut log = log_of(&[view(0), view(0), view(SECOND)]);
        log[1] = record(1, 0, event(ahead, "u", "/future", "page_view"));
        let answer = replayed_one(log);
        assert_eq!(answer.reasons(), ["ahead"]);
        assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 2"]);
        assert!(answer.late.is_empty());
    }
}

#[test]
fn an_event_is_ahead_a_microsecond_beyond_the_hour() {
    let hour = 3600 * SECOND;
    let at = |us: i64| replayed_one(vec![record(0, 0, event(us, "u", "/p", "click"))]);
    assert_eq!(at(hour).counts.accepted, 1);
    assert_eq!(at(hour + 1).reasons(), ["ahead"]);
}

#[test]
fn seconds_and_microseconds_among_milliseconds_hurt_only_themselves() {
    let with_time = |offset, time: &str| {
        let value =
            format!(r#"{{"event_time":{time},"user_id":"u","page_url":"/p","event_type":"page_view"}}"#);
        record(offset, 0, value)
    };
    let answer = replayed_one(vec![
        with_time(0, "1767225600000"),
        with_time(1, "1767225600"),
        with_time(2, "1767225600000000"),
        with_time(3, "1767225600001"),
    ]);
    // Seconds are read as milliseconds of January 1970: late. Microseconds are of no year up to 9999.
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 2"]);
    assert_eq!(answer.judged("page_view_counts"), [2, 0, 1]);
    assert_eq!(answer.reasons(), ["time"]);
}

#[test]
fn the_first_and_the_last_year_are_windows_like_others() {
    let first =
        r#"{"event_time":"0001-01-01T00:00:00Z","user_id":"u","page_url":"/p","event_type":"page_view"}"#;
    let last = first.replace("0001-01-01T00:00:00Z", "9999-12-31T23:59:00Z");
    let at = |offset, value: &str| tidegate::source::memory::OwnedRecord::of_value(offset, value);
    let answer = replayed_one(vec![at(0, first), at(1, &last), at(2, first)]);
    assert_eq!(answer.judged("page_view_counts"), [2, 0, 1]);
    assert_eq!(answer.table("page_view_counts").len(), 2);
    assert_eq!(answer.table("session_history").len(), 2);
    // Each of the five windows around the first and the last instant has a row of its own.
    assert_eq!(answer.table("active_users").len(), 10);
}
