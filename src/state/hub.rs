//! Where a worker's operators take their state from and give it to.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::de::DeserializeOwned;

use super::block::{UNSOUND, until_us, value_of};
use super::compaction::{is_of_account, last_era};
use super::restored::{Blocks, Restored};
use super::{Compactions, Fold, StateBlock, StateError, StateWriter};
use crate::keys::key_owner;
use crate::spill::Budget;
use crate::tick::Tick;

struct Inner {
    restored: RefCell<Option<Arc<Restored>>>,
    index: usize,
    peers: usize,
    /// The first epoch that is read: what is saved of one before is what was restored.
    first: u64,
    compactions: Arc<Compactions>,
    budget: Budget,
    saved: RefCell<BTreeMap<u64, Vec<StateBlock>>>,
    /// How many windows of an operator were open when it saved last.
    windows: RefCell<BTreeMap<String, u64>>,
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
        let (saved, windows, failure) = (RefCell::default(), RefCell::default(), RefCell::default());
        let budget = Budget::unlimited();
        let restored = RefCell::new(restored);
        let inner = Inner { restored, index, peers, first, compactions, budget, saved, windows, failure };
        StateHub(Some(Rc::new(inner)))
    }

    /// The same with a memory limit. To be called before the hub is shared.
    pub fn within(mut self, budget: Budget) -> Self {
        if let Some(inner) = self.0.as_mut().and_then(Rc::get_mut) {
            inner.budget = budget;
        }
        self
    }

    /// What the worker's state may take in memory.
    pub fn budget(&self) -> Budget {
        self.0.as_ref().map(|inner| inner.budget.clone()).unwrap_or_default()
    }

    /// The state of `operator` is lost, for `cause`: the run ends.
    pub fn fail(&self, operator: &str, cause: impl ToString) {
        if let Some(inner) = &self.0 {
            let error = || StateError { operator: operator.to_owned(), cause: cause.to_string() };
            inner.failure.borrow_mut().get_or_insert_with(error);
        }
    }

    /// Calls `each` with every entry of `operator` whose key this worker owns. One that cannot be read is kept as the
    /// hub's failure, and ends the run.
    pub fn restore<V: DeserializeOwned>(&self, operator: &str, mut each: impl FnMut(u64, &[u8], V)) {
        let (Some(inner), Some(restored)) = (&self.0, self.restored()) else { return };
        for block in restored.blocks.of(operator) {
            if let Err(error) = block.and_then(|block| block.read(inner.index, inner.peers, &mut each)) {
                inner.failure.borrow_mut().get_or_insert(error);
            }
        }
    }

    /// Calls `each` with every entry of `operator` that is of account, as it was last, whose key this worker owns: see
    /// [`StateBlock::put`]. One that cannot be read is kept as the hub's failure, and ends the run.
    pub fn restore_latest<V: DeserializeOwned>(&self, operator: &str, each: impl FnMut(u64, &[u8], V)) {
        if let Some(inner) = &self.0 {
            self.restore_latest_of(operator, |hash| key_owner(hash, inner.peers) == inner.index, each);
        }
    }

    /// The same with the entries of all workers' keys, for state that does not belong to keys.
    pub fn restore_latest_of_all<V: DeserializeOwned>(
        &self,
        operator: &str,
        each: impl FnMut(u64, &[u8], V),
    ) {
        self.restore_latest_of(operator, |_| true, each);
    }

    fn restore_latest_of<V: DeserializeOwned>(
        &self,
        operator: &str,
        wanted: impl Fn(u64) -> bool,
        mut each: impl FnMut(u64, &[u8], V),
    ) {
        let Some(restored) = self.restored() else { return };
        // What is on disk is parted, so that not all of it is in memory at once.
        let shares = restored.blocks.shares_of(operator);
        for share in 0..shares {
            let parts = restored.blocks.of(operator).map(|block| match shares {
                1 => block,
                _ => Ok(Cow::Owned(block?.share(share, shares, share == 0))),
            });
            let parts: Vec<_> = match parts.collect::<Result<_, _>>() {
                Ok(parts) => parts,
                Err(error) => return self.fail(operator, error.cause),
            };
            let mut latest = HashMap::<&[u8], (u64, &[u8])>::new();
            for block in &parts {
                if !block.is_sound() {
                    return self.fail(operator, UNSOUND);
                }
                if !block.is_delta() {
                    return self.fail(operator, "it was saved whole, by an earlier version");
                }
                for (hash, key, value) in block.raw().filter(|(hash, ..)| wanted(*hash)) {
                    latest.insert(key, (hash, value));
                }
            }
            for (key, (hash, value)) in latest {
                match until_us(value) {
                    Some(until_us) if until_us <= restored.watermark_us => {}
                    _ => match value_of::<(i64, V)>(value) {
                        Ok((_, value)) => each(hash, key, value),
                        Err(error) => return self.fail(operator, error),
                    },
                }
            }
        }
    }

    /// Calls `each` with every entry of `operator` that is of account, whose key this worker owns and beside which others may stand:
    /// see [`StateBlock::append`]. Gives the era that new entries are of: another one where ranks have moved, so that all that is still
    /// of account is to be appended again. One that cannot be read is kept as the hub's failure, and ends the run.
    pub fn restore_appended<V: DeserializeOwned>(
        &self,
        operator: &str,
        mut each: impl FnMut(u64, &[u8], V),
    ) -> u32 {
        let (Some(inner), Some(restored)) = (&self.0, self.restored()) else { return 0 };
        let mut last = 0;
        for block in restored.blocks.of(operator) {
            match block {
                Ok(block) if block.is_sound() => last = last.max(last_era(&block)),
                Ok(_) => self.fail(operator, UNSOUND),
                Err(error) => self.fail(operator, error.cause),
            }
        }
        let is_mine = |hash| key_owner(hash, inner.peers) == inner.index;
        for block in restored.blocks.of(operator).filter_map(Result::ok).filter(|block| block.is_sound()) {
            let of_account = |value: &[u8]| is_of_account(value, last, restored.watermark_us);
            for (hash, key, value) in
                block.raw().filter(|(hash, _, value)| is_mine(*hash) && of_account(value))
            {
                match value_of::<(i64, u32, V)>(value) {
                    Ok((_, _, value)) => each(hash, key, value),
                    Err(error) => self.fail(operator, error),
                }
            }
        }
        last + u32::from(self.has_moved())
    }

    fn restored(&self) -> Option<Arc<Restored>> {
        self.0.as_ref()?.restored.borrow().clone()
    }

    /// To be called when all operators have taken back what is theirs: the checkpoint's bytes are let go of.
    pub fn forget_restored(&self) {
        if let Some(inner) = &self.0 {
            let known = |restored: &Arc<Restored>| {
                Arc::new(Restored::new(restored.watermark_us, restored.ranks.clone(), Blocks::default()))
            };
            let light = inner.restored.borrow().as_ref().map(known);
            *inner.restored.borrow_mut() = light;
        }
    }

    /// Whether anything is saved at all: where it is not, nobody need remember what has changed.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Whether partitions have other ranks than when the state was saved, so that what holds ranks is to be saved anew.
    pub fn has_moved(&self) -> bool {
        self.restored().is_some_and(|restored| (0..).zip(&restored.ranks).any(|(then, now)| then != *now))
    }

    /// The dataflow's event time when the restored state was saved; `None` where none is.
    pub fn restored_watermark_us(&self) -> Option<i64> {
        Some(self.restored()?.watermark_us)
    }

    /// The present rank of the partition that had `rank` when the state was saved.
    pub fn rank(&self, rank: u32) -> u32 {
        self.restored().and_then(|restored| restored.ranks.get(rank as usize).copied()).unwrap_or(rank)
    }

    /// States how an operator's deltas are folded.
    pub fn register(&self, operator: &str, fold: Fold) {
        if let Some(inner) = &self.0 {
            inner.compactions.register(operator, fold);
        }
    }

    /// Whether what operators hold at the end of `epoch` is to be saved.
    pub fn wants(&self, epoch: u64) -> bool {
        self.0.as_ref().is_some_and(|inner| epoch >= inner.first)
    }

    /// Keeps what was written for the checkpoint of `epoch`.
    pub fn save(&self, epoch: u64, written: StateWriter) {
        if let Some(inner) = self.0.as_ref().filter(|_| self.wants(epoch)) {
            inner.saved.borrow_mut().entry(epoch).or_default().extend(written.into_blocks());
        }
    }

    /// Takes out what was saved for `epoch`.
    pub fn take(&self, epoch: u64) -> Vec<StateBlock> {
        self.0.as_ref().and_then(|inner| inner.saved.borrow_mut().remove(&epoch)).unwrap_or_default()
    }

    /// How many windows of each operator that has windows were open here when it saved last.
    pub fn open_windows(&self) -> Vec<(String, u64)> {
        let windows = self.0.as_ref().map(|inner| inner.windows.borrow().clone());
        windows.unwrap_or_default().into_iter().collect()
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
    /// For the operator called `operator`, whose name is its state's, and whose later entries take the place of earlier
    /// ones.
    pub fn new(hub: &StateHub, operator: &str) -> Self {
        Self::folding(hub, operator, Fold::Replace)
    }

    /// For state that is called `operator`, whose entries add up.
    pub fn appending(hub: &StateHub, operator: &str) -> Self {
        Self::folding(hub, operator, Fold::Append)
    }

    fn folding(hub: &StateHub, operator: &str, fold: Fold) -> Self {
        hub.register(operator, fold);
        Saver { hub: hub.clone(), operator: operator.to_owned(), epoch: Tick::FIRST_EPOCH }
    }

    /// To be called before the operator lets go of what its frontier has passed, with the oldest open epoch: calls
    /// `save` to write what has changed since it was last called, where an epoch has just ended. Nothing is saved at
    /// the end of the input.
    pub fn passed(&mut self, open: Option<u64>, save: impl FnOnce(&mut StateWriter)) {
        let Some(open) = open.filter(|open| *open > self.epoch) else { return };
        self.epoch = open;
        if self.hub.wants(open - 1) {
            let mut written = StateWriter::delta(&self.operator);
            save(&mut written);
            self.hub.save(open - 1, written);
        }
    }

    /// To be called within [`Saver::passed`]'s `save` by an operator that has windows: states how many are open, for those
    /// who watch.
    pub fn windows(&self) -> impl FnOnce(u64) + use<> {
        let (hub, operator) = (self.hub.clone(), self.operator.clone());
        move |open| {
            if let Some(inner) = &hub.0 {
                inner.windows.borrow_mut().insert(operator, open);
            }
        }
    }
}
