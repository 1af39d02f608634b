//! Same log, same answer: what does not change results, changed.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate::ingest::{Counts, Interleave};
use tidegate::source::memory::{MemorySource, OwnedRecord};

use crate::harness::{SECOND, ZERO_US, answer_of, event, log_of, partitions, plan, record, replayed};

const KINDS: [&str; 4] = ["page_view", "click", "session_start", "session_end"];

/// Calls `visit` with every order of `items`.
fn permutations<T: Clone>(items: &mut Vec<T>, from: usize, visit: &mut dyn FnMut(&[T])) {
    if from == items.len() {
        return visit(items);
    }
    for at in from..items.len() {
        items.swap(from, at);
        permutations(items, from + 1, visit);
        items.swap(from, at);
    }
}

#[test]
fn every_order_of_a_small_log_over_two_partitions_gives_one_answer() {
    let mut events = vec![
        (0, "u", "/a", "session_start"),
        (10 * SECOND, "u", "/a", "page_view"),
        (60 * SECOND, "u", "/a", "page_view"),
        (90 * SECOND, "u", "/b", "session_end"),
    ];
    permutations(&mut events, 0, &mut |order| {
        for cut in 0..=order.len() {
            // All within the delay of 2 minutes: nothing is late, however they are ordered.
            let answer = replayed(vec![log_of(&order[..cut]), log_of(&order[cut..])]);
            assert_eq!(answer.table("page_view_counts"), ["0s 60s /a 1", "60s 120s /a 1"]);
            assert_eq!(answer.table("active_users").len(), 6);
            assert_eq!(answer.table("session_history"), ["u 0s 90s 90 0 ended 4 2"]);
            assert!(answer.late.is_empty());
        }
    });
}

/// A record somewhere in a log: what it holds, and how far its offset is from the one before.
#[derive(Clone, Debug)]
struct Step {
    time_s: i64,
    jitter_us: i64,
    user: u8,
    page: u8,
    kind: usize,
    form: u8,
    offset_step: i64,
}

fn any_step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![6 => 0..400i64, 2 => 0..7200i64, 1 => (0..120i64).prop_map(|minute| minute * 60)];
    let jitter = prop_oneof![2 => Just(0), 1 => -1..=1i64];
    let offset_step = prop_oneof![9 => Just(1i64), 1 => Just(5), 1 => Just(0), 1 => Just(-1)];
    (time, jitter, 0..5u8, 0..4u8, 0..4usize, 0..24u8, offset_step).prop_map(
        |(time_s, jitter_us, user, page, kind, form, offset_step)| Step {
            time_s,
            jitter_us,
            user,
            page,
            kind,
            form,
            offset_step,
        },
    )
}

/// The log of one partition; about a sixth of its records are unusable, ahead, or watermarks.
fn log(steps: &[Step]) -> Vec<OwnedRecord> {
    let mut offset = 100;
    let one = |step: &Step| {
        offset += step.offset_step;
        let us = step.time_s * SECOND + step.jitter_us;
        let good = event(us, &format!("u{}", step.user), &format!("/{}", step.page), KINDS[step.kind]);
        let mut record = match step.form {
            0 => record(offset, us, "garbage"),
            1 => OwnedRecord { value: None, ..record(offset, us, "") },
            2 => record(offset, us - 7200 * SECOND, good),
            3 => record(offset, us, good.replace('}', r#","extra":[1]}"#)),
            _ => record(offset, us, good),
        };
        if step.form == 4 {
            let stated = (ZERO_US + us - 60 * SECOND).to_string().into_bytes();
            record.headers = vec![(b"tidegate-watermark".to_vec(), Some(stated))];
        }
        record
    };
    steps.iter().map(one).collect()
}

/// What must agree: the counts, and rows and digest of every output.
fn facts(
    logs: &[Vec<OwnedRecord>],
    workers: usize,
    order: Interleave,
    batch: usize,
) -> (Counts, Vec<(u64, String)>) {
    let source = MemorySource::new(partitions(logs.to_vec()));
    let answer = answer_of(Arc::new(source), &plan(workers, order, batch));
    (answer.counts, answer.tallies)
}

/// The same logs every time; new ones where somebody asks for more of them. (`proptest!` itself takes the number, and
/// a seed, from the environment.)
fn seed() -> RngSeed {
    match std::env::var_os("PROPTEST_CASES") {
        None => RngSeed::Fixed(0x7469_6465),
        Some(_) => RngSeed::Random,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: seed(),
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    })]

    #[test]
    fn workers_interleaving_and_batch_size_change_nothing(
        steps in vec(vec(any_step(), 0..40), 1..=4),
        seed in any::<u64>(),
    ) {
        let logs: Vec<Vec<OwnedRecord>> = steps.iter().map(|steps| log(steps)).collect();
        let expected = facts(&logs, 1, Interleave::Aligned, 4096);
        for workers in [1, 2, 3, 8] {
            for order in [Interleave::Aligned, Interleave::Shuffled(seed)] {
                for batch in [1, 7, 4096] {
                    let found = facts(&logs, workers, order, batch);
                    prop_assert_eq!(&found, &expected, "{} workers, {:?}, batches of {}", workers, order, batch);
                }
            }
        }
    }
}
