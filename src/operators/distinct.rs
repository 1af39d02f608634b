//! Exact distinct keys per tumbling or sliding window, over all events.
//!
//! Every key has one bit per window, kept in words of 64 windows. An event covers a run of windows (from
//! its class to the last one of its pane): setting the run costs a word or two whatever the ratio of size
//! and slide, and each bit that was not set before adds one to its window's count.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, CapabilitySet};

use super::keyed::{Owned, OwnedBlock, SharedKeys, share_bytes};
use super::keyed_window::{Mode, capability_at, given_at_end};
use crate::aggregate::Aggregate;
use crate::keys::KeyTable;
use crate::state::{Saver, StateHub};
use crate::tick::{Tick, open_epoch, watermark_us};
use crate::window::{Firing, Slots, WindowSpec};

/// Windows of one word of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen(u64);

impl Aggregate for Seen {
    type Input<'a> = u64;
    type Output = u64;
    #[inline(always)]
    fn is_identity(&self) -> bool {
        self.0 == 0
    }
    #[inline(always)]
    fn add(&mut self, windows: u64) {
        self.0 |= windows;
    }
    fn merge(&mut self, other: &Self) {
        self.0 |= other.0;
    }
    fn output(&self) -> u64 {
        self.0
    }
}

struct Word {
    seen: Slots<Seen>,
    counts: [u64; 64],
    /// The counts that were given before the windows' close: at the end of an epoch, and last of all.
    given: [[u64; 64]; 2],
}

/// How many distinct keys a window has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DistinctCount {
    /// The window's number.
    pub window: i64,
    /// The keys in it.
    pub keys: u64,
    /// Which of the window's counts this is.
    pub firing: Firing,
}

/// The open windows' distinct keys on one worker.
pub struct DistinctCounter {
    spec: WindowSpec,
    keys: SharedKeys,
    words: BTreeMap<i64, Word>,
    /// The keys' numbers whose bits in a word have changed since they were saved; `None` where nothing is saved.
    unsaved: Option<BTreeMap<i64, Vec<u32>>>,
    /// Of a block: its events' key numbers and windows.
    found: Vec<(u32, (i64, i64))>,
}

impl DistinctCounter {
    /// No key seen yet; it uses those of `keys`.
    pub fn new(spec: WindowSpec, keys: SharedKeys) -> Self {
        let (words, found) = (BTreeMap::new(), Vec::new());
        DistinctCounter { spec, keys, words, unsaved: None, found }
    }

    /// Changes are remembered for [`DistinctCounter::save`].
    pub fn saved(mut self) -> Self {
        self.unsaved = Some(BTreeMap::new());
        self
    }

    /// Notes `key` in the windows `first..=last`; in none when `last` is before `first`.
    pub fn observe(&mut self, hash: u64, key: &[u8], first: i64, last: i64) {
        if first <= last {
            let keys = Rc::clone(&self.keys);
            let keys = &mut *keys.borrow_mut();
            let id = keys.intern(|| hash, key);
            self.set_run(keys, id, first, last);
        }
    }

    /// Notes the keys of a block's events, each in the run of windows that `windows` gives.
    ///
    /// First all numbers are found, then all bits are set: what waits for memory then waits together, where a branch that
    /// depends on the bits of one key would keep the search for the next from beginning.
    pub fn observe_all<P>(&mut self, block: &OwnedBlock<P>, windows: impl Fn(&P) -> Option<(i64, i64)>) {
        let mut found = std::mem::take(&mut self.found);
        let keys = Rc::clone(&self.keys);
        let keys = &mut *keys.borrow_mut();
        block.find_all(keys, |event| windows(event).filter(|(first, last)| first <= last), &mut found);
        found.drain(..).for_each(|(id, (first, last))| self.set_run(keys, id, first, last));
        self.found = found;
    }

    #[inline]
    fn set_run(&mut self, keys: &mut KeyTable, id: u32, first: i64, last: i64) {
        for index in first >> 6..=last >> 6 {
            let low = first.max(index << 6) & 63;
            let high = last.min(index << 6 | 63) & 63;
            if self.set(keys, id, index, (u64::MAX >> (63 - high)) & (u64::MAX << low))
                && let Some(unsaved) = &mut self.unsaved
            {
                unsaved.entry(index).or_default().push(id);
            }
        }
    }

    /// Sets the bits `run` of key `id` in the word `index`; says whether one of them was not set.
    #[inline]
    fn set(&mut self, keys: &mut KeyTable, id: u32, index: i64, run: u64) -> bool {
        let bound = keys.bound();
        let word = self.words.entry(index).or_insert_with(|| Word {
            seen: Slots::new(bound),
            counts: [0; 64],
            given: [[0; 64]; 2],
        });
        let mut fresh = 0;
        let new_here = word.seen.update(id, |seen| {
            fresh = run & !seen.0;
            seen.add(run);
        });
        let changed = fresh != 0;
        while fresh != 0 {
            word.counts[fresh.trailing_zeros() as usize] += 1;
            fresh &= fresh - 1;
        }
        if new_here {
            keys.retain(id);
            if word.seen.len().is_power_of_two() {
                word.seen.settle(keys.bound());
            }
        }
        changed
    }

    /// Calls `each` with every (key, word) that has changed since this was called last: the key's hash, its place, until
    /// when it is of any account, and its bits.
    pub fn save(&mut self, each: &mut impl FnMut(u64, &[u8], i64, u64)) {
        let (mut place, keys) = (Vec::new(), self.keys.borrow());
        for (index, mut ids) in self.unsaved.as_mut().map(std::mem::take).unwrap_or_default() {
            let Some(word) = self.words.get(&index) else { continue };
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                if let Some(seen) = word.seen.get(id) {
                    place.clear();
                    place.extend_from_slice(&index.to_le_bytes());
                    place.extend_from_slice(keys.key(id));
                    each(keys.hash(id), &place, self.spec.end(index << 6 | 63), seen.0);
                }
            }
        }
    }

    /// Gives (window, distinct keys) of every window that is not closed and has changed since this was called last for the end of an
    /// epoch; or, by [`Firing::Early`], since it was called last at all.
    pub fn changed(&mut self, firing: Firing, each: &mut impl FnMut(i64, u64)) {
        for (index, word) in &mut self.words {
            let [at_end, last] = &mut word.given;
            for (window, ((count, at_end), last)) in
                (index << 6..).zip(word.counts.iter().zip(at_end).zip(last))
            {
                let before = if firing == Firing::Early { *last } else { std::mem::replace(at_end, *count) };
                *last = *count;
                if before != *count && *count > 0 {
                    each(window, *count);
                }
            }
        }
    }

    /// Bytes held: by bits, and a part of the keys, which others share.
    pub fn heap_bytes(&self) -> usize {
        let bits: usize = self.words.values().map(|word| word.seen.heap_bytes() + size_of::<Word>()).sum();
        bits + share_bytes(&self.keys)
    }

    /// How many windows that end after `watermark_us` have a key.
    pub fn open_windows(&self, watermark_us: i64) -> u64 {
        let open = |(index, word): (&i64, &Word)| {
            let is_open =
                |(bit, count): (i64, &u64)| *count > 0 && self.spec.end((index << 6) + bit) > watermark_us;
            (0..).zip(&word.counts).filter(|each| is_open(*each)).count() as u64
        };
        self.words.iter().map(open).sum()
    }

    /// Takes back what was saved at a place, without the windows that had closed when event time was at `watermark_us`.
    pub fn restore(&mut self, hash: u64, place: &[u8], bits: u64, watermark_us: i64) {
        let Some((index, key)) = place.split_first_chunk() else { return };
        let index = i64::from_le_bytes(*index);
        let is_open = |bit: &i64| self.spec.end((index << 6) + bit) > watermark_us;
        let bits = bits & (0..64).filter(is_open).fold(0, |open, bit| open | 1 << bit);
        if bits != 0 {
            let keys = Rc::clone(&self.keys);
            let keys = &mut *keys.borrow_mut();
            let id = keys.intern(|| hash, key);
            self.set(keys, id, index, bits);
        }
    }

    /// Closes every window that ends at or before `watermark_us`, or all when there is no more input: gives
    /// (window, distinct keys) where there is one.
    pub fn close(&mut self, watermark_us: Option<i64>, emit: &mut impl FnMut(i64, u64)) {
        let is_open = |window: i64| watermark_us.is_some_and(|us| self.spec.end(window) > us);
        while let Some(mut entry) = self.words.first_entry() {
            let base = entry.key() << 6;
            for (window, count) in (base..).zip(&mut entry.get_mut().counts) {
                if is_open(window) {
                    return;
                }
                if *count > 0 {
                    emit(window, std::mem::take(count));
                }
            }
            if let Some(unsaved) = &mut self.unsaved {
                unsaved.remove(entry.key());
            }
            let word = entry.remove();
            let keys = &mut *self.keys.borrow_mut();
            word.seen.for_each(|id, _| keys.release(id));
        }
    }

    /// How many keys are in use, by others that share them too.
    pub fn keys(&self) -> usize {
        self.keys.borrow().len()
    }
}

/// Extension trait for counting distinct keys per window.
pub trait DistinctKeys<'scope, P> {
    /// Counts the distinct keys of each window exactly; a window without an event gives nothing.
    ///
    /// `windows` gives the run of windows that an event counts in, `None` where it counts in none.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | [`Owned`] | at most the end of each event's first window − 1 µs | key |
    /// | out | [`DistinctCount`] | the window's end − 1 µs | window |
    /// # Guarantees
    /// One final result a window, when the frontier has reached its end; a function of the set of events. In update mode what
    /// has changed is given before, at the ends of epochs; and within them, where what the owners of different keys add may be
    /// of different moments.
    /// # State
    /// A bit per (key, open window), in words of 64 windows, freed when all windows of a word have closed; saved as
    /// `name`, by word, where it has changed.
    /// # Errors
    /// No record is one: events come judged. Saved state that cannot be read ends the run
    /// ([`StateHub::failure`]).
    /// # Source
    /// Akidau et al., *The Dataflow Model*, VLDB 2015 (windows); a bit a window is ours.
    fn distinct_keys<W>(
        self,
        name: &str,
        spec: WindowSpec,
        mode: Mode,
        state: &StateHub,
        windows: W,
    ) -> StreamVec<'scope, Tick, DistinctCount>
    where
        W: Fn(&P) -> Option<(i64, i64)> + 'static;
}

impl<'scope, P: 'static> DistinctKeys<'scope, P> for Owned<'scope, P> {
    fn distinct_keys<W>(
        self,
        name: &str,
        spec: WindowSpec,
        mode: Mode,
        state: &StateHub,
        windows: W,
    ) -> StreamVec<'scope, Tick, DistinctCount>
    where
        W: Fn(&P) -> Option<(i64, i64)> + 'static,
    {
        let mut early = mode.clone();
        let Owned { blocks, keys } = self;
        let scope = blocks.scope();
        let worker = scope.index() as u32;
        let parts = blocks.unary_frontier(Pipeline, name, move |capability, info| {
            let activator = scope.activator_for(info.address);
            let mut is_changed = false;
            let mut held = CapabilitySet::from_elem(capability);
            let mut counter = DistinctCounter::new(spec, keys);
            if state.is_kept() {
                counter = counter.saved();
            }
            let (budget, mut accounted_bytes) = (state.budget(), 0);
            let mut saver = Saver::new(state, name);
            let restored_us = state.restored_watermark_us().unwrap_or(i64::MIN);
            state.restore_latest(name, |hash, place, bits| counter.restore(hash, place, bits, restored_us));
            move |(input, frontier), output| {
                input.for_each(|_time, blocks| {
                    is_changed = true;
                    for block in blocks.iter() {
                        counter.observe_all(block, &windows);
                    }
                });
                let frontier = frontier.frontier();
                let mut give = |held: &CapabilitySet<Tick>, window, keys, firing| {
                    let count = DistinctCount { window, keys, firing };
                    output.session(&capability_at(held, spec.end(window) - 1)).give((worker, count));
                };
                counter.close(watermark_us(frontier), &mut |window, keys| {
                    give(&held, window, keys, Firing::Final);
                });
                if budget.directory().is_some() {
                    budget.account(&mut accounted_bytes, counter.heap_bytes());
                }
                let windows = saver.windows();
                let open = open_epoch(frontier);
                saver.passed(open, |written| {
                    windows(counter.open_windows(watermark_us(frontier).unwrap_or(i64::MAX)));
                    // Always of the same epoch as the others: a row is the sum of what all have at its end.
                    if let Mode::Update(trigger) = &early
                        && open.is_some()
                    {
                        for firing in given_at_end(trigger) {
                            counter.changed(firing, &mut |window, keys| give(&held, window, keys, firing));
                        }
                    }
                    counter
                        .save(&mut |hash, place, until_us, bits| written.put(hash, place, until_us, &bits));
                });
                held.downgrade(frontier.iter());
                if is_changed && early.fires_early(open, &activator) {
                    is_changed = false;
                    counter.changed(Firing::Early, &mut |window, keys| {
                        give(&held, window, keys, Firing::Early);
                    });
                }
            }
        });
        // Whoever is restored gives all that it holds at the end of its first epoch.
        let whole_from = Tick::FIRST_EPOCH + if state.restored_watermark_us().is_some() { 2 } else { 0 };
        add_parts(parts, spec, mode, whole_from)
    }
}

/// Adds the counts that the owners of different keys found for the same window. Nothing of it is saved: final counts come with
/// the frontier that closes their window, so none waits here when an epoch of aligned sources ends; and after a restart each
/// owner gives the counts of all open windows again, so that from the epoch `whole_from` on there is nothing that is not known here.
fn add_parts<'scope>(
    parts: StreamVec<'scope, Tick, (u32, DistinctCount)>,
    spec: WindowSpec,
    mut mode: Mode,
    whole_from: u64,
) -> StreamVec<'scope, Tick, DistinctCount> {
    let by_window = Exchange::new(|(_, count): &(u32, DistinctCount)| count.window as u64);
    parts.unary_frontier(by_window, "AddParts", move |capability, _info| {
        let mut held = CapabilitySet::from_elem(capability);
        // What each owner gave last.
        let mut open = BTreeMap::<i64, BTreeMap<u32, u64>>::new();
        // Windows of which something new is to be given, and the capability to do it in the epoch that it came in.
        let mut changed = BTreeMap::<i64, Option<Capability<Tick>>>::new();
        let (mut epoch, mut gave_early) = (Tick::FIRST_EPOCH, false);
        move |(input, frontier), output| {
            let mut early = BTreeSet::new();
            input.for_each(|_time, counts| {
                for (owner, DistinctCount { window, keys, firing }) in counts.drain(..) {
                    open.entry(window).or_default().insert(owner, keys);
                    match firing {
                        Firing::Early => early.extend([window]),
                        Firing::Epoch => {
                            changed.insert(window, Some(capability_at(&held, spec.end(window) - 1)));
                        }
                        Firing::Final => {}
                    }
                }
            });
            let mut give = |at: &Capability<Tick>, window, parts: &BTreeMap<u32, u64>, firing| {
                output.session(at).give(DistinctCount { window, keys: parts.values().sum(), firing });
            };
            let frontier = frontier.frontier();
            let watermark = watermark_us(frontier);
            let is_open = |window: i64| watermark.is_some_and(|us| spec.end(window) > us);
            let of_window = |window| capability_at(&held, spec.end(window) - 1);
            changed.retain(|window, _| is_open(*window));
            if let Some(now) = open_epoch(frontier).filter(|now| *now > epoch) {
                epoch = now;
                if let Mode::Update(trigger) = &mut mode
                    && (trigger.fires(now - 1) | std::mem::take(&mut gave_early))
                {
                    for (window, at) in std::mem::take(&mut changed) {
                        if let Some(parts) = open.get(&window) {
                            give(&at.unwrap_or_else(|| of_window(window)), window, parts, Firing::Epoch);
                        }
                    }
                }
                // The epoch is over: nothing may keep it open.
                changed.values_mut().for_each(|at| *at = None);
            }
            while let Some(first) = open.first_entry().filter(|first| !is_open(*first.key())) {
                give(&of_window(*first.key()), *first.key(), first.get(), Firing::Final);
                first.remove();
            }
            // Whoever gave it has a pace.
            for window in early.into_iter().filter(|window| is_open(*window) && epoch >= whole_from) {
                if let Some(parts) = open.get(&window) {
                    gave_early = true;
                    give(&of_window(window), window, parts, Firing::Early);
                }
            }
            held.downgrade(frontier.iter());
        }
    })
}
