//! Random logs, clocks, crashes and workers: whatever was decided live, the decisions explain the answer.

use proptest::prelude::*;

use crate::harness::{Place, same};

#[derive(Clone, Debug)]
enum Step {
    /// Records for a partition, by seconds.
    Append(usize, Vec<i64>),
    /// Time passes.
    Pass(i64),
    /// All that is there has been read and decided; time passes until then, since a partition that has no record holds back the
    /// others until it is released.
    Settle,
    /// The run ends where it stands; the newest state may be lost too. It goes on with so many workers.
    Crash { damaged: bool, workers: usize },
    /// It is asked to stop, and goes on.
    Stop { workers: usize },
}

const PARTITIONS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..PARTITIONS, prop::collection::vec(0..2_000i64, 1..6)).prop_map(|(p, seconds)| Step::Append(p, seconds)),
        6 => (1..60i64).prop_map(Step::Pass),
        5 => Just(Step::Settle),
        1 => (any::<bool>(), 1..4usize).prop_map(|(damaged, workers)| Step::Crash { damaged, workers }),
        1 => (1..4usize).prop_map(|workers| Step::Stop { workers }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_decisions_explain_the_answer(
        workers in 1..4usize, steps in prop::collection::vec(step(), 4..24), again in 1..4usize,
    ) {
        let place = Place::new(PARTITIONS);
        let mut live = place.start(workers);
        for step in steps {
            match step {
                Step::Append(partition, seconds) => place.views(partition, &seconds),
                Step::Pass(seconds) => place.clock.pass(seconds),
                Step::Settle => {
                    let all: usize = place.logs.iter().map(|log| log.records().len()).sum();
                    place.decided("all records", |manifest| {
                        place.clock.pass(1);
                        manifest.counts.read == all as u64
                    });
                    // Two epochs later everything has been seen by everybody.
                    let epoch = place.decided("an epoch", |_| true).epoch;
                    place.decided("later epochs", |manifest| manifest.epoch >= epoch + 2);
                }
                Step::Crash { damaged, workers } => {
                    live.crash();
                    if damaged {
                        place.damage();
                    }
                    live = place.start(workers);
                }
                Step::Stop { workers } => {
                    live.stop();
                    live = place.start(workers);
                }
            }
        }
        place.logs.iter().for_each(|log| log.close());
        let summary = live.finished();
        prop_assert_eq!(same(place.replayed(again)), same(summary));
    }
}
