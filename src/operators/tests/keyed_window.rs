//! Keyed windows as a dataflow.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Pace, Step, pace, run, script};
use crate::keys::{KeyColumn, key_hash, key_owner};
use crate::operators::keyed_window::{CloseWindows, Mode};
use crate::runtime::{ManualClock, Trigger};
use crate::state::StateHub;
use crate::window::tests::{All, Event, Table, blocks, insert_new, limit, log, naive_table, rows, windows};
use crate::window::{PaneBlock, WindowSpec};

/// Cuts blocks by the owner of their keys.
pub(super) fn route(blocks: Vec<PaneBlock<All>>, peers: usize) -> Vec<PaneBlock<All>> {
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

fn scripts(
    events: &[Event],
    peers: usize,
    (size, slide): (i64, i64),
    pace: &Pace,
) -> Vec<Vec<Step<PaneBlock<All>>>> {
    let spec = WindowSpec::sliding(size, slide).expect("valid");
    let worker = |index| {
        let mine: Vec<_> =
            events.iter().filter(|event| event.partition as usize % peers == index).cloned().collect();
        let pack = |events: &[Event]| route(blocks(&spec, events), peers);
        let may = |pending: &[Event]| (!pending.is_empty()).then(|| limit(pending, size, slide));
        script(&mine, pace, pack, may)
    };
    (0..peers).map(worker).collect()
}

fn closed_by(events: &[Event], peers: usize, windows: (i64, i64), pace: &Pace) -> Table {
    let spec = WindowSpec::sliding(windows.0, windows.1).expect("valid");
    let (given, _) = run(&scripts(events, peers, windows, pace), move |blocks, _ledger| {
        blocks.close_windows("Windows", spec, Mode::Final, &StateHub::none())
    });
    let mut table = Table::new();
    for given in given {
        assert!(given.item.is_final);
        assert_eq!(given.at.time_us, given.item.end_us - 1, "a result is at its window's last instant");
        for (hash, _) in given.item.keys.iter() {
            assert_eq!(given.worker, key_owner(hash, peers), "a result leaves at the owner of its key");
        }
        insert_new(&mut table, rows(given.item, &spec));
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_to_three_workers_close_the_naive_rows(events in log(), windows in windows(), pace in pace()) {
        let expected = naive_table(&events, windows.0, windows.1);
        for peers in 1..=3 {
            prop_assert_eq!(&closed_by(&events, peers, windows, &pace), &expected, "{} workers", peers);
        }
    }

    /// A replay has no epochs, and so nothing is wanted before the close.
    #[test]
    fn without_epochs_update_mode_is_final_mode(events in log(), windows in windows(), pace in pace()) {
        let spec = WindowSpec::sliding(windows.0, windows.1).expect("valid");
        let (given, _) = run(&scripts(&events, 2, windows, &pace), move |blocks, _ledger| {
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
