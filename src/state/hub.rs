//! Where a worker's operators take their state from and give it to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Compactions, Keep, StateBlock, StateError};
use crate::tick::Tick;

/// The state that a run begins with.
#[derive(Debug)]
pub struct Restored {
    watermark_us: i64,
    /// From a partition's rank when the state was saved to its present rank.
    ranks: Vec<u32>,
    blocks: Vec<StateBlock>,
}

impl Restored {
    /// State saved when the dataflow's event time stood at `watermark_us`; `ranks` maps the ranks of partitions then to
    /// their ranks now.
    pub fn new(watermark_us: i64, ranks: Vec<u32>, blocks: Vec<StateBlock>) -> Self {
        Restored { watermark_us, ranks, blocks }
    }
}

struct Inner {
    restored: Option<Arc<Restored>>,
    index: usize,
    peers: usize,
    /// The first epoch that is read: what is saved of one before is what was restored.
    first: u64,
    compactions: Arc<Compactions>,
    saved: RefCell<BTreeMap<u64, Vec<StateBlock>>>,
    failure: RefCell<Option<StateError>>,
}

/// A worker's state: shared by its operators and the loop that drives it.
#[derive(Clone)]
pub struct StateHub(Option<Rc<Inner>>);

impl StateHub {
    /// Nothing is restored and nothing saved: a replay.
    pub fn none() -> Self {
        StateHub(None)
    }

    /// The state of worker `index` of `peers`; `first` is the dataflow's first epoch that is read.
    pub fn new(
        restored: Option<Arc<Restored>>,
        index: usize,
        peers: usize,
        first: u64,
        compactions: Arc<Compactions>,
    ) -> Self {
        let (saved, failure) = (RefCell::default(), RefCell::default());
        StateHub(Some(Rc::new(Inner { restored, index, peers, first, compactions, saved, failure })))
    }

    /// Calls `each` with every entry of `operator` whose key this worker owns. One that cannot be read is kept as the
    /// hub's failure, and ends the run.
    pub fn restore<V: DeserializeOwned>(&self, operator: &str, mut each: impl FnMut(u64, &[u8], V)) {
        let Some(inner) = &self.0 else { return };
        let blocks = inner.restored.iter().flat_map(|restored| &restored.blocks);
        for block in blocks.filter(|block| block.operator() == operator) {
            if let Err(error) = block.read(inner.index, inner.peers, &mut each) {
                inner.failure.borrow_mut().get_or_insert(error);
            }
        }
    }

    /// The dataflow's event time when the restored state was saved; `None` where none is.
    pub fn restored_watermark_us(&self) -> Option<i64> {
        Some(self.0.as_ref()?.restored.as_ref()?.watermark_us)
    }

    /// The present rank of the partition that had `rank` when the state was saved.
    pub fn rank(&self, rank: u32) -> u32 {
        let restored = self.0.as_ref().and_then(|inner| inner.restored.as_ref());
        restored.and_then(|restored| restored.ranks.get(rank as usize).copied()).unwrap_or(rank)
    }

    /// States how an operator's deltas are folded.
    pub fn register(&self, operator: &str, keep: Keep) {
        if let Some(inner) = &self.0 {
            inner.compactions.register(operator, keep);
        }
    }

    /// Whether what operators hold at the end of `epoch` is to be saved.
    pub fn wants(&self, epoch: u64) -> bool {
        self.0.as_ref().is_some_and(|inner| epoch >= inner.first)
    }

    /// Keeps a block for the checkpoint of `epoch`.
    pub fn save(&self, epoch: u64, block: StateBlock) {
        if let Some(inner) = self.0.as_ref().filter(|_| self.wants(epoch)) {
            inner.saved.borrow_mut().entry(epoch).or_default().push(block);
        }
    }

    /// Takes out what was saved for `epoch`.
    pub fn take(&self, epoch: u64) -> Vec<StateBlock> {
        self.0.as_ref().and_then(|inner| inner.saved.borrow_mut().remove(&epoch)).unwrap_or_default()
    }

    /// What could not be restored, if anything.
    pub fn failure(&self) -> Option<StateError> {
        self.0.as_ref().and_then(|inner| inner.failure.borrow().clone())
    }
}

/// Notices for an operator when its frontier passes an epoch.
pub struct Saver {
    hub: StateHub,
    operator: String,
    epoch: u64,
}

impl Saver {
    /// For the operator called `operator`, whose name is its state's.
    pub fn new(hub: &StateHub, operator: &str) -> Self {
        Saver { hub: hub.clone(), operator: operator.to_owned(), epoch: Tick::FIRST_EPOCH }
    }

    /// To be called before the operator lets go of what its frontier has passed, with the oldest open epoch: calls
    /// `save` to fill a block with all that the operator holds, where an epoch has just ended. Nothing is saved at the
    /// end of the input.
    pub fn passed(&mut self, open: Option<u64>, save: impl FnOnce(&mut StateBlock)) {
        let Some(open) = open.filter(|open| *open > self.epoch) else { return };
        self.epoch = open;
        if self.hub.wants(open - 1) {
            let mut block = StateBlock::whole(&self.operator);
            save(&mut block);
            self.hub.save(open - 1, block);
        }
    }
}
