//! What is known of epochs and checkpoints; on the process that leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conservation::Conservation;
use super::histogram::{Histogram, HistogramView, LATENCY_SECONDS, WORK_SECONDS};
use super::snapshot::OperatorView;
use crate::state::StateBlock;

#[derive(Debug, Default)]
struct Facts {
    open: u64,
    decided: Option<u64>,
    decided_us: Option<i64>,
    bytes: u64,
    failures: u64,
    waited: f64,
    operators: BTreeMap<String, OperatorView>,
    /// The operators that save what has changed.
    by_changes: BTreeSet<String>,
    ledger: Option<Conservation>,
}

impl Facts {
    fn operator(&mut self, name: &str) -> &mut OperatorView {
        let new = || OperatorView { operator: name.to_owned(), ..OperatorView::default() };
        self.operators.entry(name.to_owned()).or_insert_with(new)
    }
}

/// The facts of a run's epochs, stated by worker 0 and by the committer.
#[derive(Debug)]
pub(super) struct EpochBoard {
    facts: Mutex<Facts>,
    duration: Histogram,
    checkpoint: Histogram,
    latency: Histogram,
}

impl Default for EpochBoard {
    fn default() -> Self {
        EpochBoard {
            facts: Mutex::default(),
            duration: Histogram::new(WORK_SECONDS),
            checkpoint: Histogram::new(WORK_SECONDS),
            latency: Histogram::new(LATENCY_SECONDS),
        }
    }
}

impl EpochBoard {
    fn state(&self, change: impl FnOnce(&mut Facts)) {
        if let Ok(mut facts) = self.facts.lock() {
            change(&mut facts);
        }
    }

    pub(super) fn began(&self, epoch: u64) {
        self.state(|facts| facts.open = epoch);
    }

    pub(super) fn ended(&self, took: Duration, waited: Duration) {
        self.duration.observe(took.as_secs_f64(), 1);
        self.state(|facts| facts.waited += waited.as_secs_f64());
    }

    pub(super) fn decided(&self, now_us: i64, took: Duration, bytes: u64, ledger: Conservation) {
        self.checkpoint.observe(took.as_secs_f64(), 1);
        self.state(|facts| {
            facts.decided = Some(ledger.epoch);
            facts.decided_us = Some(now_us);
            facts.bytes = bytes;
            facts.ledger = Some(ledger);
        });
    }

    /// Changes are added to what is known, everything else takes its place.
    pub(super) fn saved(&self, blocks: &[StateBlock], folded: bool) {
        self.state(|facts| {
            for block in blocks {
                match block.is_delta() {
                    true => {
                        facts.by_changes.insert(block.operator().to_owned());
                    }
                    false => facts.operator(block.operator()).forget(),
                }
            }
            if folded {
                // Also those of which nothing is left.
                let Facts { operators, by_changes, .. } = facts;
                for name in &*by_changes {
                    operators.entry(name.clone()).and_modify(OperatorView::forget);
                }
            }
            for block in blocks {
                let view = facts.operator(block.operator());
                view.keys += block.len() as u64;
                view.bytes += block.byte_len() as u64;
            }
        });
    }

    /// Workers share windows by key: what is open on one is, but for rare keys, open on all.
    pub(super) fn open_windows(&self, windows: &[(String, u64)]) {
        self.state(|facts| {
            for (name, _) in windows {
                facts.operator(name).open_windows = Some(0);
            }
            for (name, open) in windows {
                let view = facts.operator(name);
                view.open_windows = view.open_windows.max(Some(*open));
            }
        });
    }

    pub(super) fn failed(&self) {
        self.state(|facts| facts.failures += 1);
    }

    pub(super) fn latency(&self, seconds: f64, records: u64) {
        self.latency.observe(seconds, records);
    }

    pub(super) fn view(&self) -> (EpochView, Vec<OperatorView>, Option<Conservation>) {
        let Ok(facts) = self.facts.lock() else { return Default::default() };
        let view = EpochView {
            open: Some(facts.open).filter(|open| *open > 0),
            decided: facts.decided,
            decided_us: facts.decided_us,
            seconds: self.duration.view(),
            checkpoint_seconds: self.checkpoint.view(),
            checkpoint_bytes: facts.bytes,
            failures: facts.failures,
            waited_seconds: facts.waited,
            latency_seconds: self.latency.view(),
        };
        (view, facts.operators.values().cloned().collect(), facts.ledger.clone())
    }
}

/// Epochs and checkpoints as they stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochView {
    /// The epoch under way.
    pub open: Option<u64>,
    /// The last epoch that is decided and visible.
    pub decided: Option<u64>,
    /// When it became so, in microseconds since the epoch.
    pub decided_us: Option<i64>,
    /// How long epochs were open.
    pub seconds: HistogramView,
    /// How long it took to decide them and to make them visible.
    pub checkpoint_seconds: HistogramView,
    /// The size of the newest checkpoint: manifest and state.
    pub checkpoint_bytes: u64,
    /// Failed tries to write a checkpoint, each tried again.
    pub failures: u64,
    /// How much longer than wanted epochs were open because the one before was not decided: back-pressure.
    pub waited_seconds: f64,
    /// From a record's event time until the epoch in which it was read was visible.
    pub latency_seconds: HistogramView,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(operator: &str, entries: u64, delta: bool) -> StateBlock {
        let mut block = if delta { StateBlock::delta(operator) } else { StateBlock::whole(operator) };
        (0..entries).for_each(|n| block.push(n, b"key", &n));
        block
    }

    fn keys(board: &EpochBoard) -> Vec<(String, u64)> {
        board.view().1.into_iter().map(|view| (view.operator, view.keys)).collect()
    }

    #[test]
    fn changes_add_up_until_they_are_folded_and_whole_state_takes_the_place_of_the_former() {
        let board = EpochBoard::default();
        for _ in 0..2 {
            board
                .saved(&[block("Changes", 2, true), block("Gone", 1, true), block("Whole", 3, false)], false);
        }
        let named = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
            pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
        };
        assert_eq!(keys(&board), named(&[("Changes", 4), ("Gone", 2), ("Whole", 3)]));
        board.saved(&[block("Changes", 2, true)], true);
        assert_eq!(keys(&board), named(&[("Changes", 2), ("Gone", 0), ("Whole", 3)]));
    }

    #[test]
    fn windows_are_those_of_the_worker_that_has_most() {
        let board = EpochBoard::default();
        board.open_windows(&[("Views".to_owned(), 3), ("Views".to_owned(), 4)]);
        board.open_windows(&[("Views".to_owned(), 1), ("Views".to_owned(), 2)]);
        assert_eq!(board.view().1[0].open_windows, Some(2));
    }
}
