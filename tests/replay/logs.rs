//! Records and partitions as Kafka may hold them.

use tidegate::ingest::Interleave;
use tidegate::record::KafkaTime;
use tidegate::source::memory::{MemorySource, OwnedRecord};

use crate::harness::Outcome::{Accepted, Dead};
use crate::harness::{
    SECOND, ZERO_MS, answer_of, event, judge_record, log_of, partitions, plan, record, replayed, replayed_one,
};

fn good() -> OwnedRecord {
    record(1, 0, event(0, "u", "/p", "page_view"))
}

fn header(name: &str, value: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    (name.as_bytes().to_vec(), Some(value.to_vec()))
}

#[test]
fn null_key_is_accepted_and_stays_null() {
    assert_eq!(judge_record(OwnedRecord { key: None, ..good() }), Accepted);
}

#[test]
fn empty_key_is_accepted_and_stays_empty() {
    assert_eq!(judge_record(OwnedRecord { key: Some(Vec::new()), ..good() }), Accepted);
}

#[test]
fn key_of_1_mb_that_is_not_utf8_is_accepted_and_kept() {
    assert_eq!(judge_record(OwnedRecord { key: Some(vec![0xff; 1_000_000]), ..good() }), Accepted);
}

#[test]
fn dead_letter_keeps_a_key_that_is_not_utf8() {
    let bad = OwnedRecord { key: Some(vec![0xff, 0]), ..record(1, 0, "{}") };
    assert_eq!(judge_record(bad), Dead("schema".to_owned()));
}

#[test]
fn duplicate_and_huge_headers_change_nothing() {
    let mut headers = vec![header("trace", b"1"), header("trace", b"2"), (b"trace".to_vec(), None)];
    headers.push(header("blob", &vec![0xff; 1_000_000]));
    headers.push(header("", b""));
    assert_eq!(judge_record(OwnedRecord { headers, ..good() }), Accepted);
}

#[test]
fn ten_thousand_headers_change_nothing() {
    let headers = (0..10_000).map(|n| header(&format!("h{n}"), b"v")).collect();
    assert_eq!(judge_record(OwnedRecord { headers, ..good() }), Accepted);
}

#[test]
fn watermark_header_that_is_no_integer_leaves_the_record_data() {
    let headers = vec![header("tidegate-watermark", b"tomorrow")];
    assert_eq!(judge_record(OwnedRecord { headers, ..good() }), Accepted);
}

#[test]
fn watermark_record_is_nothing_else_and_makes_later_records_late() {
    let wm = ((ZERO_MS + 3_600_000) * 1000).to_string();
    let mut log = log_of(&[(0, "u", "/p", "page_view"); 3]);
    log[1].headers = vec![header("tidegate-watermark", wm.as_bytes())];
    let answer = replayed_one(log);
    assert_eq!((answer.counts.read, answer.counts.accepted), (2, 2));
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 1"]);
    assert_eq!(answer.judged("page_view_counts"), [1, 0, 1]);
    assert_eq!(answer.late[0].header("late_by_ms"), "3600000");
    assert_eq!(answer.late[0].header("offset"), "2");
}

#[test]
fn holes_of_compaction_and_control_records_lose_nothing() {
    let mut log = log_of(&[(0, "u", "/p", "page_view"); 5]);
    for (record, offset) in log.iter_mut().zip([0, 1, 7, 1 << 33, i64::MAX]) {
        record.offset = offset;
    }
    let answer = replayed_one(log);
    assert_eq!((answer.counts.read, answer.counts.accepted, answer.counts.duplicate_offsets), (5, 5, 0));
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 5"]);
}

#[test]
fn lower_and_equal_offsets_are_counted_and_skipped() {
    let mut log = log_of(&[(0, "u", "/p", "page_view"); 5]);
    for (record, offset) in log.iter_mut().zip([3, 3, 2, 4, 0]) {
        record.offset = offset;
    }
    let answer = replayed_one(log);
    assert_eq!((answer.counts.read, answer.counts.accepted, answer.counts.duplicate_offsets), (5, 2, 3));
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 2"]);
    assert!(answer.dead.is_empty());
}

#[test]
fn an_unusable_record_takes_its_offset() {
    let mut log = log_of(&[(0, "u", "/p", "page_view"); 2]);
    log[0] = record(0, 0, "garbage");
    log[1].offset = 0;
    let answer = replayed_one(log);
    assert_eq!((answer.counts.accepted, answer.counts.duplicate_offsets), (0, 1));
    assert_eq!(answer.reasons(), ["not_json"]);
}

#[test]
fn the_same_event_at_another_offset_counts_again() {
    let answer = replayed_one(log_of(&[(0, "u", "/p", "page_view"); 2]));
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 2"]);
    assert!(answer.table("active_users").contains(&"0s 300s 1"));
    assert_eq!(answer.table("session_history"), ["u 0s 0s 0 0 open 2 2"]);
}

#[test]
fn empty_partitions_hold_nothing_back() {
    let log = log_of(&[(0, "u", "/p", "page_view")]);
    let answer = replayed(vec![Vec::new(), log, Vec::new()]);
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /p 1"]);
}

#[test]
fn a_log_without_a_record_gives_nothing() {
    let answer = replayed(vec![Vec::new(), Vec::new()]);
    assert_eq!(answer.counts.read, 0);
    assert!(answer.tallies.iter().all(|(rows, _)| *rows == 0));
}

#[test]
fn a_log_of_nothing_but_poison_gives_dead_letters_only() {
    let answer = replayed_one((0..50).map(|offset| record(offset, 0, "garbage")).collect());
    assert_eq!(answer.reasons(), ["not_json"; 50]);
    assert_eq!(answer.tallies.iter().map(|(rows, _)| rows).sum::<u64>(), 50);
}

#[test]
fn create_time_and_log_append_time_are_both_the_kafka_timestamp() {
    let value = event(7200 * SECOND, "u", "/p", "click");
    for kafka_time in [KafkaTime::Create(ZERO_MS), KafkaTime::LogAppend(ZERO_MS)] {
        let judged = judge_record(OwnedRecord { kafka_time, ..record(1, 0, value.clone()) });
        assert_eq!(judged, Dead("ahead".to_owned()));
    }
}

#[test]
fn a_record_without_a_timestamp_is_never_ahead() {
    let value = event(7200 * SECOND, "u", "/p", "click");
    let record = OwnedRecord { kafka_time: KafkaTime::None, ..record(0, 0, value) };
    let answer = replayed_one(vec![record]);
    assert_eq!(answer.counts.accepted, 1);
    let enriched = String::from_utf8(answer.enriched[0].payload.clone().expect("a payload")).expect("UTF-8");
    assert!(enriched.ends_with(r#","processing_time":null}"#), "{enriched}");
}

#[test]
fn processing_time_is_the_kafka_timestamp_and_replaces_what_is_there() {
    let value = event(0, "u", "/p", "click").replacen('{', r#"{"processing_time":"then","#, 1);
    let record = OwnedRecord { kafka_time: KafkaTime::LogAppend(ZERO_MS + 1500), ..record(0, 0, value) };
    let answer = replayed_one(vec![record]);
    let enriched: serde_json::Value =
        serde_json::from_slice(answer.enriched[0].payload.as_deref().expect("a payload")).expect("JSON");
    assert_eq!(enriched["processing_time"], "2026-01-01T00:00:01.500000Z");
    assert_eq!(enriched.as_object().expect("an object").len(), 5);
}

#[test]
fn one_hot_key_with_nine_in_ten_records_is_counted_exactly() {
    let page = |n: i64| if n % 10 == 0 { "/cold" } else { "/hot" };
    let event = |n: i64| record(n, 0, event(n % 60 * SECOND, "u", page(n), "page_view"));
    let log = |from: i64| (from..from + 3000).map(event).collect();
    let source = MemorySource::new(partitions(vec![log(0), log(3000), log(6000)]));
    let answer = answer_of(std::sync::Arc::new(source), &plan(2, Interleave::Aligned, 64));
    assert_eq!(answer.table("page_view_counts"), ["0s 60s /cold 900", "0s 60s /hot 8100"]);
}

#[test]
fn every_key_a_new_one_is_counted_exactly() {
    let event = |n: i64| record(n, 0, event(0, &format!("u{n}"), &format!("/{n}"), "page_view"));
    let answer = replayed_one((0..20_000).map(event).collect());
    assert_eq!(answer.table("page_view_counts").len(), 20_000);
    assert!(answer.table("active_users").contains(&"0s 300s 20000"));
    assert_eq!(answer.table("user_sessions").len(), 20_000);
}
