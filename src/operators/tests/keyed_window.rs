//! Keyed windows as a dataflow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use timely::ExchangeData;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Pace, Step, pace, run, script};
use crate::aggregate::{Aggregate, DistinctApprox, Hll, Retract};
use crate::keys::{KeyColumn, key_hash, key_owner};
use crate::operators::keyed_window::{CloseWindows, Mode};
use crate::runtime::{ManualClock, Trigger};
use crate::state::StateHub;
use crate::window::tests::{
    Event, Table, add_all, blocks_of, insert_new, limit, log, naive_table, rows, windows,
};
use crate::window::{PaneBlock, WindowSpec};

/// Cuts blocks by the owner of their keys.
pub(super) fn route<A: Clone>(blocks: Vec<PaneBlock<A>>, peers: usize) -> Vec<PaneBlock<A>> {
    let mut routed = Vec::new();
    for block in blocks {
        for target in 0..peers {
            let (mut keys, mut partials) = (KeyColumn::default(), Vec::new());
            for ((hash, key), partial) in block.keys.iter().zip(&block.partials) {
                if key_owner(hash, peers) == target {
                    keys.push(hash, key);
                    partials.push(partial.clone());
                }
            }
            if !keys.is_empty() {
                routed.push(PaneBlock { target: target as u32, at: block.at, keys, partials });
            }
        }
    }
    routed
}

fn scripts<A: Aggregate>(
    events: &[Event],
    peers: usize,
    (size, slide): (i64, i64),
    pace: &Pace,
    add: impl Fn(&mut A, &Event),
) -> Vec<Vec<Step<PaneBlock<A>>>> {
    let spec = WindowSpec::sliding(size, slide).expect("valid");
    let worker = |index| {
        let mine: Vec<_> =
            events.iter().filter(|event| event.partition as usize % peers == index).cloned().collect();
        let pack = |events: &[Event]| route(blocks_of(&spec, events, &add), peers);
        let may = |pending: &[Event]| (!pending.is_empty()).then(|| limit(pending, size, slide));
        script(&mine, pace, pack, may)
    };
    (0..peers).map(worker).collect()
}

/// The rows that the operator closes, by (window's start, key), of an aggregate to which `add` adds an event.
pub(super) fn closed_by<A>(
    events: &[Event],
    peers: usize,
    windows: (i64, i64),
    pace: &Pace,
    add: impl Fn(&mut A, &Event),
) -> BTreeMap<(i64, u8), A::Output>
where
    A: Retract + ExchangeData + Sync,
    A::Output: Clone + Send,
{
    let spec = WindowSpec::sliding(windows.0, windows.1).expect("valid");
    let (given, _) = run(&scripts(events, peers, windows, pace, add), move |blocks, _ledger| {
        blocks.close_windows("Windows", spec, Mode::Final, &StateHub::none())
    });
    let mut table = BTreeMap::new();
    for given in given {
        assert!(given.item.firing.is_final());
        assert_eq!(given.at.time_us, given.item.end_us - 1, "a result is at its window's last instant");
        for (hash, _) in given.item.keys.iter() {
            assert_eq!(given.worker, key_owner(hash, peers), "a result leaves at the owner of its key");
        }
        insert_new(&mut table, rows(given.item, &spec));
    }
    table
}

/// Another of the orders in which the partitions of a log can be read together: each stays in its own order, and
/// `picks` says whose record comes next.
fn interleaved(events: &[Event], picks: &[usize]) -> Vec<Event> {
    let of = |rank| events.iter().filter(move |event| event.partition == rank).cloned();
    let mut partitions: Vec<VecDeque<Event>> = (0..3).map(|rank| of(rank).collect()).collect();
    let next = |pick: &usize| {
        partitions.retain(|partition| !partition.is_empty());
        let partition = pick.checked_rem(partitions.len())?;
        partitions[partition].pop_front()
    };
    picks.iter().cycle().map_while(next).collect()
}

/// Two sketches of the events' names: one is dense from its second register on, so that it is merged in both of its
/// forms; the other is as large as in a pipeline, and lists the few registers that are set here.
type Sketches = (DistinctApprox<4>, DistinctApprox);

/// There are 40 of them.
fn name(value: i8) -> String {
    format!("user_{value}")
}

fn add_name((small, large): &mut Sketches, event: &Event) {
    let name = name(event.value);
    small.add(name.as_bytes());
    large.add(name.as_bytes());
}

/// The estimate of a sketch that sees each name of a group once, and the number of names. Of these names the large
/// sketch is right to the last one: that is what `the_large_sketch_tells_the_names_apart` is for.
fn naive_sketches(events: &[Event], (size, slide): (i64, i64)) -> BTreeMap<(i64, u8), (u64, u64)> {
    let mut groups = BTreeMap::<(i64, u8), BTreeSet<i8>>::new();
    for event in events {
        for start in event.windows(size, slide) {
            groups.entry((start, event.key)).or_default().insert(event.value);
        }
    }
    let estimates = |names: BTreeSet<i8>| {
        let mut sketch = Hll::<4>::default();
        names.iter().for_each(|value| sketch.insert(name_hash(*value)));
        (sketch.estimate(), names.len() as u64)
    };
    groups.into_iter().map(|(group, names)| (group, estimates(names))).collect()
}

/// The hash of a name in a sketch. Its seed is written down a second time: another would give another answer of the
/// same log.
fn name_hash(value: i8) -> u64 {
    xxh3_64_with_seed(name(value).as_bytes(), u64::from_be_bytes(*b"tidegate"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_to_three_workers_close_the_naive_rows(events in log(), windows in windows(), pace in pace()) {
        let expected = naive_table(&events, windows.0, windows.1);
        for peers in 1..=3 {
            let table = closed_by(&events, peers, windows, &pace, add_all);
            prop_assert_eq!(&table, &expected, "{} workers", peers);
        }
    }

    /// An estimate is a function of the log as any other result is: however its names are grouped into panes, blocks
    /// and workers, and in whatever order its partitions are read.
    #[test]
    fn sketches_of_panes_estimate_what_one_sketch_of_the_window_does(
        events in log(), windows in windows(), pace in pace(), picks in prop::collection::vec(0_usize..6, 1..20),
    ) {
        let expected = naive_sketches(&events, windows);
        for events in [interleaved(&events, &picks), events] {
            for peers in 1..=3 {
                let table = closed_by(&events, peers, windows, &pace, add_name);
                prop_assert_eq!(&table, &expected, "{} workers", peers);
            }
        }
    }

    /// A replay has no epochs, and so nothing is wanted before the close.
    #[test]
    fn without_epochs_update_mode_is_final_mode(events in log(), windows in windows(), pace in pace()) {
        let spec = WindowSpec::sliding(windows.0, windows.1).expect("valid");
        let (given, _) = run(&scripts(&events, 2, windows, &pace, add_all), move |blocks, _ledger| {
            let mode = Mode::Update(Trigger::new(Duration::ZERO, Arc::new(ManualClock::default()), 0));
            blocks.close_windows("Windows", spec, mode, &StateHub::none())
        });
        let mut table = Table::new();
        given.into_iter().for_each(|given| insert_new(&mut table, rows(given.item, &spec)));
        prop_assert_eq!(table, naive_table(&events, windows.0, windows.1));
    }
}

/// `key_hash` of the tests' keys spreads them over workers, so that the routing above is put to use.
#[test]
fn the_test_keys_have_different_owners() {
    let owners: Vec<_> = (0_u8..4).map(|key| key_owner(key_hash(&[key]), 3)).collect();
    assert!(owners.iter().any(|owner| *owner != owners[0]), "{owners:?}");
}

#[test]
fn the_large_sketch_tells_the_names_apart() {
    let registers: BTreeSet<_> = (-20_i8..20).map(|value| name_hash(value) >> (64 - 14)).collect();
    assert_eq!(registers.len(), 40, "names that share a register are counted as one");
}
