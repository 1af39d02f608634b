//! Exact distinct keys as a dataflow.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;

use super::{Pace, Step, pace, run, script};
use crate::ingest::Edge;
use crate::keys::key_hash;
use crate::operators::distinct::{DistinctCount, DistinctCounter, DistinctKeys};
use crate::operators::keyed::{KeyedBlock, KeyedRouter, OwnedBlock, SharedKeys, ToOwners};
use crate::operators::keyed_window::Mode;
use crate::state::StateHub;
use crate::window::tests::{Event, limit, log, windows};
use crate::window::{Firing, WindowSpec};

pub(super) type Run = Option<(i64, i64)>;

/// Distinct keys by start of window.
pub(super) fn naive(events: &[Event], (size, slide): (i64, i64)) -> BTreeMap<i64, u64> {
    let mut seen = BTreeMap::<i64, BTreeSet<u8>>::new();
    for event in events {
        for start in event.windows(size, slide) {
            seen.entry(start).or_default().insert(event.key);
        }
    }
    seen.into_iter().map(|(start, keys)| (start, keys.len() as u64)).collect()
}

/// The run of windows, by number, that an event counts in.
pub(super) fn run_of(event: &Event, (size, slide): (i64, i64)) -> Run {
    let starts = event.windows(size, slide);
    Some((starts.last()?.div_euclid(slide), starts.first()?.div_euclid(slide)))
}

pub(super) fn scripts(
    events: &[Event],
    peers: usize,
    windows: (i64, i64),
    pace: &Pace,
) -> Vec<Vec<Step<KeyedBlock<Run>>>> {
    let worker = |index| {
        let mine: Vec<_> =
            events.iter().filter(|event| event.partition as usize % peers == index).cloned().collect();
        let mut router = KeyedRouter::new(peers);
        let pack = |events: &[Event]| {
            for event in events {
                router.push(key_hash(&[event.key]), &[event.key], run_of(event, windows));
            }
            let mut blocks = Vec::new();
            router.drain(Edge::Flush, &mut |block| blocks.push(block));
            blocks
        };
        let may = |pending: &[Event]| (!pending.is_empty()).then(|| limit(pending, windows.0, windows.1));
        script(&mine, pace, pack, may)
    };
    (0..peers).map(worker).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_to_three_workers_count_the_naive_sets(events in log(), windows in windows(), pace in pace()) {
        let expected = naive(&events, windows);
        let spec = WindowSpec::sliding(windows.0, windows.1).expect("valid");
        for peers in 1..=3 {
            let (given, _) = run(&scripts(&events, peers, windows, &pace), move |blocks, _ledger| {
                blocks.to_owners().distinct_keys("Distinct", spec, Mode::Final, &StateHub::none(), |run| *run)
            });
            let mut counts = BTreeMap::new();
            for given in given {
                let DistinctCount { window, keys, firing } = given.item;
                prop_assert!(firing.is_final());
                prop_assert_eq!(given.at.time_us, spec.end(window) - 1);
                prop_assert_eq!(counts.insert(spec.start(window), keys), None, "a window is given twice");
            }
            prop_assert_eq!(&counts, &expected, "{} workers", peers);
        }
    }

    /// Two that share their keys, and see the same blocks at different times: whichever is first, whatever the other has forgotten
    /// meanwhile, and whoever has been given its numbers.
    #[test]
    fn counters_that_share_their_keys_count_the_same(
        blocks in prop::collection::vec((prop::collection::vec((0_u32..40, 0_i64..6), 1..30), 0_i64..300, any::<bool>()), 1..20),
    ) {
        let spec = WindowSpec::tumbling(1).expect("valid");
        let (shared, alone) = (SharedKeys::default(), SharedKeys::default);
        let mut counters = [Rc::clone(&shared), shared, alone()].map(|keys| DistinctCounter::new(spec, keys));
        let mut counted: [BTreeMap<i64, u64>; 3] = Default::default();
        for (events, first_open, swap) in &blocks {
            let mut router = KeyedRouter::new(1);
            for (key, window) in events {
                let key = key.to_le_bytes();
                // Some that only one of them wants.
                router.push(key_hash(&key), &key, first_open + window);
            }
            let mut sent = Vec::new();
            router.drain(Edge::Flush, &mut |block: KeyedBlock<i64>| sent.push(block));
            let [shared, alone] = [(); 2].map(|()| sent.iter().cloned().map(OwnedBlock::new).collect::<Vec<_>>());
            for index in if *swap { [1, 0, 2] } else { [0, 1, 2] } {
                for block in if index < 2 { &shared } else { &alone } {
                    let wanted = |window: &i64| index == 0 || window % 2 == 0;
                    counters[index].observe_all(block, |window| wanted(window).then_some((*window, *window)));
                }
                let counted = &mut counted[index];
                counters[index].close(Some(first_open + 3), &mut |window, count| {
                    *counted.entry(window).or_default() += count;
                });
            }
        }
        for (counter, counted) in counters.iter_mut().zip(&mut counted) {
            counter.close(None, &mut |window, count| *counted.entry(window).or_default() += count);
        }
        prop_assert_eq!(&counted[1], &counted[2]);
        prop_assert!(counted[0].iter().filter(|(window, _)| *window % 2 == 0).eq(&counted[1]));
        prop_assert_eq!(counters.map(|counter| counter.keys()), [0; 3], "all is freed");
    }

    /// Thousands of keys and runs of hundreds of windows: all forms of the tables of bits.
    #[test]
    fn many_keys_in_long_runs_are_counted_once_a_window(
        events in prop::collection::vec((0_u32..3_000, -500_i64..500, 0_i64..300), 0..3_000),
        closes in prop::collection::vec(0_i64..200, 0..10),
    ) {
        let spec = WindowSpec::tumbling(1).expect("valid");
        let mut counter = DistinctCounter::new(spec, SharedKeys::default());
        let (mut model, mut counted) = (BTreeMap::<i64, BTreeSet<u32>>::new(), BTreeMap::new());
        let mut first_open = -600;
        for part in events.chunks(events.len() / (closes.len() + 1) + 1) {
            for (key, first, length) in part {
                let (first, last) = ((*first).max(first_open), first + length);
                counter.observe(key_hash(&key.to_le_bytes()), &key.to_le_bytes(), first, last);
                for window in first..=last {
                    model.entry(window).or_default().insert(*key);
                }
            }
            // What has changed is what is given before the close, once within an epoch and once at its end.
            let [early, changed] = [Firing::Early, Firing::Epoch].map(|firing| {
                let mut changed = BTreeMap::new();
                counter.changed(firing, &mut |window, count| assert!(changed.insert(window, count).is_none()));
                counter.changed(firing, &mut |window, _| panic!("window {window} has not changed"));
                changed
            });
            prop_assert_eq!(early, changed.clone());
            for (window, count) in changed {
                prop_assert_eq!(count, model[&window].len() as u64);
            }
            counter.changed(Firing::Early, &mut |window, _| panic!("window {window} has not changed"));
            first_open += closes.get(counted.len() % 7).copied().unwrap_or(50);
            counter.close(Some(first_open), &mut |window, count| {
                assert!(window < first_open && counted.insert(window, count).is_none());
            });
        }
        counter.close(None, &mut |window, count| assert!(counted.insert(window, count).is_none()));
        let model = model.into_iter().map(|(window, keys)| (window, keys.len() as u64));
        prop_assert_eq!(counted, model.collect::<BTreeMap<_, _>>());
        prop_assert_eq!(counter.keys(), 0, "closed windows are freed");
    }
}
