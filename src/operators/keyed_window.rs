//! Keyed tumbling and sliding windows: combined in the source, merged and closed behind the exchange.
//!
//! ```text
//! source worker: record ─► pane of (window class, key) ──┐ one block a pane and target, when the worker's
//!                                                        │ event time reaches the window's end
//! owner of key:  merge ─► close when the frontier reaches the window's end ─► one result a (window, key)
//! ```

use std::marker::PhantomData;

use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, CapabilitySet};
use timely::scheduling::Activator;

use crate::aggregate::{Aggregate, Retract};
use crate::ingest::{Decode, Edge, Front, Ledger, Position, Verdict, Verdicts};
use crate::keys::{KeyColumn, key_hash, key_owner};
use crate::runtime::Trigger;
use crate::state::{Saver, StateHub};
use crate::tick::{Tick, open_epoch, watermark_us};
use crate::window::{ClosedWindow, Firing, PaneBlock, PaneStore, WindowCloser, WindowSpec};

/// A block of partials is cut at this many keys.
const BLOCK_KEYS: usize = 16 << 10;

/// What a window takes from an event: its key and the aggregate's input.
pub trait Measure<D: Decode>: 'static {
    /// The aggregate.
    type Aggregate: Aggregate;

    /// The key and the input, or `None` when the event is not of this output's kind.
    fn measure<'e>(
        &self,
        at: &Position<'_>,
        event: &'e D::Event<'_>,
    ) -> Option<(&'e [u8], <Self::Aggregate as Aggregate>::Input<'e>)>;
}

/// The near end of keyed windows: judges, and combines into panes.
pub struct WindowFront<D, M: Measure<D>>
where
    D: Decode,
{
    measure: M,
    output: usize,
    peers: usize,
    store: PaneStore<M::Aggregate>,
    /// Counted records by the number of their table.
    counted: Vec<u64>,
    /// The ends of the first windows of records that have left, and how many records those are.
    left: Vec<(i64, u64)>,
    decoder: PhantomData<fn(D)>,
}

impl<D: Decode, M: Measure<D>> WindowFront<D, M> {
    /// Windows of `spec` over what `measure` takes; verdicts are filed under `output`.
    pub fn new(spec: WindowSpec, measure: M, output: usize, peers: usize) -> Self {
        let (store, counted, left) = (PaneStore::new(spec), Vec::new(), Vec::new());
        WindowFront { measure, output, peers, store, counted, left, decoder: PhantomData }
    }

    #[inline(always)]
    fn count(&mut self, slot: u32) {
        match self.counted.get_mut(slot as usize) {
            Some(counted) => *counted += 1,
            None => self.count_in_new(slot),
        }
    }

    #[cold]
    fn count_in_new(&mut self, slot: u32) {
        self.counted.resize(slot as usize + 1, 0);
        self.counted[slot as usize] += 1;
    }
}

impl<D: Decode, M: Measure<D>> Front<D> for WindowFront<D, M>
where
    M::Aggregate: ExchangeData,
{
    type Item = PaneBlock<M::Aggregate>;

    #[inline(always)]
    fn observe(&mut self, at: &Position<'_>, event: &D::Event<'_>, verdicts: &mut Verdicts<'_>) {
        let Some((key, input)) = self.measure.measure(at, event) else {
            verdicts.give(self.output, Verdict::Filtered);
            return;
        };
        let Some(slot) = self.store.reach(at.time_us, at.bound_us()) else {
            let spec = self.store.spec();
            let verdict = at.too_late(|watermark_us| spec.eligible(at.time_us, watermark_us).is_none());
            verdicts.give(self.output, verdict);
            return;
        };
        self.store.update(slot, || key_hash(key), key, |partial| partial.add(input));
        self.count(slot);
        verdicts.give(self.output, Verdict::Counted);
    }

    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(Self::Item)) {
        while let Some((at, slot)) = self.store.first_slot() {
            if let Edge::Advance(time_us) = edge
                && self.store.spec().end(at.class) > time_us
            {
                break;
            }
            let Some(table) = self.store.take(at) else { break };
            let counted = self.counted.get_mut(slot as usize).map_or(0, std::mem::take);
            self.left.push((self.store.spec().end(at.class), counted));
            let room = (table.len() / self.peers).min(BLOCK_KEYS);
            let bytes = self.store.keys.byte_len_of(room);
            let empty = |target| PaneBlock {
                target,
                at,
                keys: KeyColumn::with_capacity(room, bytes),
                partials: Vec::with_capacity(room),
            };
            let mut blocks: Vec<_> = (0..self.peers as u32).map(empty).collect();
            let (keys, peers) = (&mut self.store.keys, self.peers);
            table.for_each(|id, partial| {
                let hash = keys.hash(id);
                let block = &mut blocks[key_owner(hash, peers)];
                block.keys.push(hash, keys.key(id));
                block.partials.push(partial.clone());
                keys.release(id);
                if block.partials.len() == BLOCK_KEYS {
                    send(std::mem::replace(block, empty(block.target)));
                }
            });
            blocks.into_iter().filter(|block| !block.partials.is_empty()).for_each(&mut *send);
        }
    }

    fn note_open(&mut self, ledger: &Ledger) {
        self.left.drain(..).for_each(|(end_us, counted)| ledger.open_until(self.output, end_us, counted));
    }
}

/// When results leave a window.
#[derive(Clone)]
pub enum Mode {
    /// Once, when the window closes.
    Final,
    /// Also where the trigger fires, at the ends of epochs and perhaps within them, for the keys that changed; the final result
    /// still comes at the close.
    Update(Trigger),
}

impl Mode {
    /// Whether results may be wanted within epochs.
    fn is_early(&self) -> bool {
        matches!(self, Mode::Update(trigger) if trigger.is_early())
    }

    /// Whether results are wanted within the epoch that is `open`, of an operator that has some; where they are but not yet, it is
    /// scheduled for then.
    pub(super) fn fires_early(&mut self, open: Option<u64>, activator: &Activator) -> bool {
        let (Mode::Update(trigger), Some(open)) = (self, open) else { return false };
        match trigger.fires_early_in(open) {
            Some(wait) if !wait.is_zero() => {
                activator.activate_after(wait);
                false
            }
            fires => fires.is_some(),
        }
    }
}

/// What is given of open windows at the end of an epoch, in order: what has come since the last early results does not wait until the
/// epoch is decided.
pub(super) fn given_at_end(trigger: &Trigger) -> impl Iterator<Item = Firing> + use<> {
    trigger.is_early().then_some(Firing::Early).into_iter().chain([Firing::Epoch])
}

/// Extension trait for closing keyed windows.
pub trait CloseWindows<'scope, A: Retract> {
    /// Merges partial aggregates by key and closes windows by the frontier.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | [`PaneBlock`] | at most the end of its class − 1 µs | the block's target |
    /// | out | [`ClosedWindow`] | the window's end − 1 µs | key |
    /// # Guarantees
    /// * A window's final results leave when the frontier has reached its end, once.
    /// * They are a function of the multiset of records, whatever the batches and workers.
    /// * A result carries the event time of the window's last instant, so that windows can be chained.
    /// * What is given early, within an epoch, is given again at its end if the trigger fires there.
    /// # State
    /// One partial aggregate per (class, pane, key), freed after the pane's last window; saved as `name`, where it
    /// has changed.
    /// # Errors
    /// No record is one: they come judged. State that cannot be read back, from a checkpoint or from the disk that it
    /// was spilt to, ends the run ([`StateHub::failure`]).
    /// # Source
    /// Akidau et al., *The Dataflow Model*, VLDB 2015; Li et al., *No Pane, No Gain*, SIGMOD Record 2005.
    fn close_windows(
        self,
        name: &str,
        spec: WindowSpec,
        mode: Mode,
        state: &StateHub,
    ) -> StreamVec<'scope, Tick, ClosedWindow<A::Output>>;
}

impl<'scope, A> CloseWindows<'scope, A> for StreamVec<'scope, Tick, PaneBlock<A>>
where
    A: Retract + ExchangeData,
    A::Output: Clone + 'static,
{
    fn close_windows(
        self,
        name: &str,
        spec: WindowSpec,
        mut mode: Mode,
        state: &StateHub,
    ) -> StreamVec<'scope, Tick, ClosedWindow<A::Output>> {
        let by_target = Exchange::new(|block: &PaneBlock<A>| u64::from(block.target));
        let scope = self.scope();
        self.unary_frontier(by_target, name, move |capability, info| {
            let mut held = CapabilitySet::from_elem(capability);
            let mut closer = WindowCloser::new(spec, matches!(mode, Mode::Update(_)));
            if mode.is_early() {
                closer = closer.with_early();
            }
            closer = closer.within(state.budget());
            if state.is_kept() {
                closer = closer.saved();
            }
            let hub = state.clone();
            let activator = scope.activator_for(info.address);
            let name = name.to_owned();
            let (mut saver, has_moved) = (Saver::new(state, &name), state.has_moved());
            state.restore_latest(&name, |hash, place, partial| {
                closer.restore(hash, place, partial, |rank| state.rank(rank), has_moved);
            });
            if let Some(us) = state.restored_watermark_us() {
                closer.restored(us);
            }
            move |(input, frontier), output| {
                input.for_each(|_time, blocks| blocks.iter().for_each(|block| closer.merge(block)));
                let frontier = frontier.frontier();
                let more = closer.close(watermark_us(frontier), &mut |closed| {
                    let at = capability_at(&held, closed.end_us - 1);
                    output.session(&at).give(closed);
                });
                if more {
                    // Whoever takes the rows goes first, so that they do not pile up before it.
                    activator.activate();
                    return;
                }
                let windows = saver.windows();
                let open = open_epoch(frontier);
                saver.passed(open, |written| {
                    windows(closer.open_windows());
                    if let Mode::Update(trigger) = &mut mode
                        && open.is_some_and(|open| trigger.fires(open - 1))
                    {
                        for firing in given_at_end(trigger) {
                            closer.changed(firing, &mut |changed| {
                                let at = capability_at(&held, changed.end_us - 1);
                                output.session(&at).give(changed);
                            });
                        }
                    }
                    closer.save(&mut |hash, place, until_us, partial| match partial {
                        Some(partial) => written.put(hash, place, until_us, partial),
                        None => written.remove(hash, place),
                    });
                });
                if let Some(error) = closer.failure() {
                    hub.fail(&name, error);
                }
                held.downgrade(frontier.iter());
                if closer.has_early() && mode.fires_early(open, &activator) {
                    closer.changed(Firing::Early, &mut |changed| {
                        let at = capability_at(&held, changed.end_us - 1);
                        output.session(&at).give(changed);
                    });
                }
            }
        })
    }
}

/// A capability for event time `time_us` in the oldest epoch that is still open there.
///
/// # Panics
/// When none of the held capabilities is early enough: an operator would send into the past.
pub fn capability_at(held: &CapabilitySet<Tick>, time_us: i64) -> Capability<Tick> {
    let oldest = held.iter().filter(|c| c.time().time_us <= time_us).min_by_key(|c| c.time().epoch);
    let oldest = oldest.expect("a result is never earlier than the capabilities held for it");
    oldest.delayed(&oldest.time().at(time_us))
}
