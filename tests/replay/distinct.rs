//! Active users by HyperLogLog (`distinct: hll`) against the exact count.

use std::sync::Arc;

use tidegate::ingest::Interleave;
use tidegate::source::memory::{MemorySource, OwnedRecord};
use tidegate_dataflows::activity::{Config, DistinctMode, Selection};

use crate::harness::{Answer, SECOND, answer_with, event, partitions, plan, record};

/// Three partitions of half an hour, in each full window some 2,200 of 4,001 users. Records are up to 200 s out of
/// order, so that many are late for their older windows.
fn logs() -> Vec<Vec<OwnedRecord>> {
    let of = |partition: i64| {
        let one = |n: i64| {
            let us = n * SECOND / 5 - n % 11 * 20 * SECOND;
            // 4,001 is a prime: users come in an order that is nothing like their numbers'.
            let user = (3 * n + partition) / 2 * 1_237 % 4_001;
            record(n, us, event(us, &format!("user-{user}"), "/p", "click"))
        };
        (0..9_000).map(one).collect()
    };
    (0..3).map(of).collect()
}

fn replayed(distinct: DistinctMode, workers: usize) -> Answer {
    let outputs = Selection { lake: false, enriched: false, ..Selection::default() };
    let config = Config { distinct, outputs, ..Config::default() };
    let source = MemorySource::new(partitions(logs()));
    answer_with(config, Arc::new(source), &plan(workers, Interleave::Aligned, 256))
}

/// The windows of `active_users` as they are written, and how many users each has.
fn windows(answer: &Answer) -> Vec<(&str, u64)> {
    let split = |row| {
        let (window, users) = str::rsplit_once(row, ' ').expect("three columns");
        (window, users.parse().expect("a number"))
    };
    answer.table("active_users").into_iter().map(split).collect()
}

#[test]
fn approximate_users_are_the_same_for_all_workers_and_near_the_exact_ones() {
    let exact = replayed(DistinctMode::Exact, 1);
    let one = replayed(DistinctMode::Hll, 1);
    let three = replayed(DistinctMode::Hll, 3);
    assert_eq!(one.table("active_users"), three.table("active_users"));
    assert_eq!(one.tallies, three.tallies, "bit for bit");
    assert_eq!(one.judged("active_users"), exact.judged("active_users"));

    let (found, expected) = (windows(&one), windows(&exact));
    assert_eq!((found.len(), expected.len()), (36, 36));
    for ((window, users), (same_window, exactly)) in found.iter().zip(&expected) {
        assert_eq!(window, same_window);
        // Five standard errors of 0.81 %, or two users.
        let apart = users.abs_diff(*exactly);
        assert!(apart <= 2 || apart * 10_000 <= exactly * 405, "{users} for {exactly} in {window}");
    }
    assert_ne!(found, expected, "an estimate is not always right");
}
