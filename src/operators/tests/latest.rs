//! The latest entry of each key, and the net changes of an epoch, as dataflows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Step, run};
use crate::operators::latest::LatestByKey;
use crate::operators::net_changes::NetChanges;
use crate::state::StateHub;
use crate::tick::Tick;

type Entry = (u8, i32);

/// For each worker what it sends when: at first (epoch, time) rises by what is given, then the entry is sent.
type Log = Vec<Vec<((u64, i64), Entry)>>;

fn log(peers: usize) -> impl Strategy<Value = Log> {
    let entry = ((prop_oneof![4 => Just(0_u64), 1 => 1_u64..3], 0_i64..5), (0_u8..5, -50_i32..50));
    prop::collection::vec(prop::collection::vec(entry, 0..25), peers)
}

fn scripts(log: &Log) -> Vec<Vec<Step<Entry>>> {
    let worker = |entries: &Vec<((u64, i64), Entry)>| {
        let mut at = Tick::new(1, -100);
        let mut steps = vec![Step::To(at)];
        for ((epochs, time_us), entry) in entries {
            at = Tick::new(at.epoch + epochs, at.time_us + time_us);
            steps.extend([Step::To(at), Step::Send(*entry)]);
        }
        steps
    };
    log.iter().map(worker).collect()
}

/// For each epoch the entries that are in the relation at its end and were not at the end of the one before (1), and the
/// reverse (-1).
fn naive(log: &Log) -> BTreeSet<(u64, (Entry, isize))> {
    let mut sent = Vec::new();
    for entries in log {
        let mut epoch = 1;
        for ((epochs, _), entry) in entries {
            epoch += epochs;
            sent.push((epoch, *entry));
        }
    }
    let relation = |until: u64| {
        let mut latest = BTreeMap::new();
        for (_, (key, value)) in sent.iter().filter(|(epoch, _)| *epoch <= until) {
            let kept = latest.entry(*key).or_insert(*value);
            *kept = (*kept).max(*value);
        }
        latest
    };
    let last = sent.iter().map(|(epoch, _)| *epoch).max().unwrap_or(0);
    let changed = |epoch: u64| {
        let (before, after) = (relation(epoch - 1), relation(epoch));
        let added = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
        let gone = before.iter().filter(|(key, value)| after.get(*key) != Some(value));
        let added = added.map(|(key, value)| ((*key, *value), 1));
        added.chain(gone.map(|(key, value)| ((*key, *value), -1))).collect::<Vec<_>>()
    };
    (1..=last).flat_map(|epoch| changed(epoch).into_iter().map(move |entry| (epoch, entry))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_epoch_gives_the_entries_that_it_changed(log in (1_usize..=3).prop_flat_map(log)) {
        let (given, _) =
            run(&scripts(&log), |entries, _ledger| entries.latest_by_key("Latest", &StateHub::none()).net_changes());
        let mut changes = BTreeSet::new();
        for given in given {
            prop_assert_eq!(given.at.time_us, i64::MAX, "at the last instant of its epoch");
            prop_assert!(changes.insert((given.at.epoch, given.item)), "an entry is given twice");
        }
        prop_assert_eq!(changes, naive(&log));
    }

    /// Without the epochs' folding: the changes themselves retract what they replace.
    #[test]
    fn at_the_end_of_every_epoch_the_relation_has_the_largest_entry_of_each_key(log in (1_usize..=2).prop_flat_map(log)) {
        let (given, _) = run(&scripts(&log), |entries, _ledger| entries.latest_by_key("Latest", &StateHub::none()).inner);
        let end = |given: &super::Given<(Entry, Tick, isize)>| given.item.1;
        let times: BTreeSet<Tick> = given.iter().map(end).collect();
        for until in times {
            prop_assert_eq!(until.time_us, i64::MAX);
            let mut relation = BTreeMap::<Entry, isize>::new();
            for given in &given {
                let (entry, at, diff) = given.item;
                if at.epoch <= until.epoch && at.time_us <= until.time_us {
                    *relation.entry(entry).or_default() += diff;
                }
            }
            relation.retain(|_, count| *count != 0);
            let mut expected = BTreeMap::new();
            for entries in &log {
                let (mut epoch, mut time_us) = (1, -100);
                for ((epochs, later), (key, value)) in entries {
                    (epoch, time_us) = (epoch + epochs, time_us + later);
                    if epoch <= until.epoch && time_us <= until.time_us {
                        let kept = expected.entry(*key).or_insert(*value);
                        *kept = (*kept).max(*value);
                    }
                }
            }
            prop_assert_eq!(relation, expected.into_iter().map(|entry| (entry, 1)).collect::<BTreeMap<_, _>>());
        }
    }
}
