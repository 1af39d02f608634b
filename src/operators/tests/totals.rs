//! Running totals by key, and their net changes, as dataflows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use timely::dataflow::operators::vec::Map;

use super::{Step, run};
use crate::operators::net_changes::NetChanges;
use crate::operators::totals::TotalByKey;
use crate::state::StateHub;
use crate::tick::Tick;

/// A key and how much it counts.
type Counted = (u8, u64);

/// A record: the worker that reads it, the epoch in which it does, the key and its count.
type Record = (usize, u64, Counted);

/// Most records that a log has.
const MOST: usize = 60;

/// The total up to which the operator promises to be right.
const LARGEST: u64 = i64::MAX as u64;

/// Records in any order, and how many a worker sends together.
fn log() -> impl Strategy<Value = (Vec<Record>, Vec<usize>)> {
    // A key has none but zeros now and then, and all records together come up to the largest total.
    let count = prop_oneof![2 => Just(0), 4 => 1_u64..5, 1 => 0..=LARGEST / MOST as u64];
    let record = (0_usize..6, Tick::FIRST_EPOCH..Tick::FIRST_EPOCH + 5, (0_u8..5, count));
    (prop::collection::vec(record, 0..=MOST), prop::collection::vec(1_usize..8, 1..6))
}

/// What each worker sends: epoch by epoch, in batches, with time moving on between them.
fn scripts(records: &[Record], batches: &[usize], peers: usize) -> Vec<Vec<Step<Vec<Counted>>>> {
    let worker = |index| {
        let mut mine = BTreeMap::<u64, Vec<Counted>>::new();
        for (_, epoch, counted) in records.iter().filter(|(worker, ..)| worker % peers == index) {
            mine.entry(*epoch).or_default().push(*counted);
        }
        let (mut steps, mut batches) = (Vec::new(), batches.iter().cycle());
        for (epoch, mut counted) in mine {
            steps.push(Step::To(Tick::new(epoch, steps.len() as i64)));
            while !counted.is_empty() {
                let many = batches.next().map_or(1, |many| counted.len().min(*many));
                steps.push(Step::Send(counted.drain(..many).collect()));
                steps.push(Step::To(Tick::new(epoch, steps.len() as i64)));
            }
        }
        steps
    };
    (0..peers).map(worker).collect()
}

/// The totals at the end of an epoch, record by record; a key that has counted nothing has none.
fn naive(records: &[Record], until: u64) -> BTreeSet<(u8, isize)> {
    let mut totals = BTreeMap::<u8, u64>::new();
    for (_, _, (key, count)) in records.iter().filter(|(_, epoch, _)| *epoch <= until) {
        *totals.entry(*key).or_default() += count;
    }
    let counted = totals.into_iter().filter(|(_, total)| *total > 0);
    counted.map(|(key, total)| (key, isize::try_from(total).expect("MOST records stay below"))).collect()
}

/// All epochs, and one after the last, in which nothing comes.
const EPOCHS: std::ops::RangeInclusive<u64> = Tick::FIRST_EPOCH..=Tick::FIRST_EPOCH + 5;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The changes add up to the totals: at the end of every epoch, and so in the end.
    #[test]
    fn at_the_end_of_every_epoch_the_relation_has_the_total_of_each_key((records, batches) in log()) {
        for peers in 1..=3 {
            let (given, _) = run(&scripts(&records, &batches, peers), |counts, _ledger| {
                counts.flat_map(|batch| batch).total_by_key("Totals", &StateHub::none()).inner
            });
            for until in EPOCHS {
                let mut relation = BTreeMap::<(u8, isize), isize>::new();
                for given in &given {
                    let (total, at, diff) = given.item;
                    prop_assert_eq!(at.time_us, i64::MAX, "a total changes at the last instant of an epoch");
                    if at.epoch <= until {
                        *relation.entry(total).or_default() += diff;
                    }
                }
                relation.retain(|_, diff| *diff != 0);
                let expected = naive(&records, until).into_iter().map(|total| (total, 1));
                let expected: BTreeMap<_, _> = expected.collect();
                prop_assert_eq!(relation, expected, "{} workers, epoch {}", peers, until);
            }
        }
    }

    /// Folded by epoch, which is what a sink is given: what a new total takes the place of is given with it, and a total
    /// that has not changed is not given again.
    #[test]
    fn each_epoch_gives_the_totals_that_it_changed((records, batches) in log()) {
        let mut expected = BTreeSet::new();
        for epoch in EPOCHS {
            let (before, after) = (naive(&records, epoch - 1), naive(&records, epoch));
            expected.extend(after.difference(&before).map(|total| (epoch, (*total, 1))));
            expected.extend(before.difference(&after).map(|total| (epoch, (*total, -1))));
        }
        for peers in 1..=3 {
            let (given, _) = run(&scripts(&records, &batches, peers), |counts, _ledger| {
                counts.flat_map(|batch| batch).total_by_key("Totals", &StateHub::none()).net_changes()
            });
            let mut changes = BTreeSet::new();
            for given in given {
                prop_assert_eq!(given.at.time_us, i64::MAX, "at the last instant of its epoch");
                prop_assert!(changes.insert((given.at.epoch, given.item)), "a total is given twice");
            }
            prop_assert_eq!(&changes, &expected, "{} workers", peers);
        }
    }
}
