//! Events on their way to the worker that owns their key.
//!
//! Windows combine before the exchange: what crosses are partial aggregates by (class, pane, key), however many
//! records are in each ([`super::keyed_window`]). Sessions and exact distinct counts are sent every event instead.
//! A session needs each of its events, and takes them in order ([`super::session`]). Exact distinct counts
//! ([`super::distinct`]) could do with less, but share the blocks of sessions, so that an event travels once.
//! Where they arrive, all that know the keys share one table of them too, so that a key is looked for once an event.

use std::cell::RefCell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::ingest::Edge;
use crate::keys::{KeyColumn, KeyTable, key_owner};
use crate::tick::Tick;

/// Events with their keys, for one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyedBlock<P> {
    /// The worker that owns the keys.
    pub target: u32,
    /// The keys.
    pub keys: KeyColumn,
    /// The events, one a key.
    pub events: Vec<P>,
    /// Set in the last block of a source worker whose input has ended: the largest final watermark of its
    /// partitions.
    pub final_watermark_us: Option<i64>,
}

impl<P> KeyedBlock<P> {
    fn new(target: u32) -> Self {
        KeyedBlock { target, keys: KeyColumn::default(), events: Vec::new(), final_watermark_us: None }
    }
}

/// A block is sent when it has grown to this many events.
const BLOCK_EVENTS: usize = 8 << 10;

/// Sorts events into blocks by the owner of their key.
pub struct KeyedRouter<P> {
    open: Vec<KeyedBlock<P>>,
    sent_until_us: i64,
}

impl<P> KeyedRouter<P> {
    /// For `peers` workers.
    pub fn new(peers: usize) -> Self {
        KeyedRouter { open: (0..peers as u32).map(KeyedBlock::new).collect(), sent_until_us: i64::MIN }
    }

    /// Adds an event.
    #[inline]
    pub fn push(&mut self, hash: u64, key: &[u8], event: P) {
        let owner = key_owner(hash, self.open.len());
        let block = &mut self.open[owner];
        block.keys.push(hash, key);
        block.events.push(event);
    }

    /// Sends all events when event time moves, and full blocks at any time; at the end of input every worker
    /// is told the final watermark.
    pub fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(KeyedBlock<P>)) {
        let all = match edge {
            Edge::Advance(time_us) => std::mem::replace(&mut self.sent_until_us, time_us) != time_us,
            Edge::Trigger | Edge::Flush | Edge::End(_) => true,
        };
        for block in &mut self.open {
            if !all && block.events.len() < BLOCK_EVENTS {
                continue;
            }
            if let Edge::End(watermark_us) = edge {
                block.final_watermark_us = Some(watermark_us);
            }
            if !block.events.is_empty() || block.final_watermark_us.is_some() {
                let room = block.events.len();
                let mut fresh = KeyedBlock::new(block.target);
                fresh.events.reserve(room);
                send(std::mem::replace(block, fresh));
            }
        }
    }
}

/// The keys of all events that one exchange brings to a worker: whoever has state of a key uses it.
pub type SharedKeys = Rc<RefCell<KeyTable>>;

/// The part of the bytes of shared keys that each of those who share them takes.
pub(super) fn share_bytes(keys: &SharedKeys) -> usize {
    keys.borrow().heap_bytes() / Rc::strong_count(keys)
}

/// A block where its keys are owned.
pub struct OwnedBlock<P> {
    block: KeyedBlock<P>,
    numbers: RefCell<Numbers>,
}

/// The numbers of a block's keys, as far as somebody has looked for them.
#[derive(Default)]
struct Numbers {
    of_rows: Vec<u32>,
    /// How many keys had been forgotten by then: as long as it is as many, numbers stay what they are.
    forgotten: u64,
}

/// Nobody has looked for the key of this row.
const UNKNOWN: u32 = u32::MAX;

impl<P> OwnedBlock<P> {
    pub(super) fn new(block: KeyedBlock<P>) -> Self {
        OwnedBlock { block, numbers: RefCell::default() }
    }

    /// The block as it came.
    pub fn block(&self) -> &KeyedBlock<P> {
        &self.block
    }

    /// Puts into `found` what `wanted` gives for an event, with the number of the event's key; events for which it gives none
    /// are left out. A key that was unknown is used by nobody: who wants it retains it before anything else is released.
    ///
    /// Whoever is first looks for the keys, all others take the numbers over: `keys` is always the same table, that of the exchange.
    #[inline]
    pub(super) fn find_all<T>(
        &self,
        keys: &mut KeyTable,
        wanted: impl Fn(&P) -> Option<T>,
        found: &mut Vec<(u32, T)>,
    ) {
        let KeyedBlock { keys: column, events, .. } = &self.block;
        let numbers = &mut *self.numbers.borrow_mut();
        if numbers.of_rows.len() != events.len() || numbers.forgotten != keys.forgotten() {
            numbers.forgotten = keys.forgotten();
            numbers.of_rows.clear();
            numbers.of_rows.resize(events.len(), UNKNOWN);
        }
        found.clear();
        found.reserve(events.len());
        found.extend((0..).zip(events).filter_map(|(row, event)| Some((row, wanted(event)?))));
        let numbers = &mut numbers.of_rows;
        let unknown: Vec<u32> =
            found.iter().map(|(row, _)| *row).filter(|row| numbers[*row as usize] == UNKNOWN).collect();
        keys.intern_rows(column, unknown, numbers);
        found.iter_mut().for_each(|(row, _)| *row = numbers[*row as usize]);
    }
}

/// Keyed events on the worker that owns their keys, for any number of operators.
pub struct Owned<'scope, P> {
    /// The events.
    pub blocks: StreamVec<'scope, Tick, Rc<OwnedBlock<P>>>,
    /// Their keys, as far as an operator uses them.
    pub keys: SharedKeys,
}

impl<P: 'static> Clone for Owned<'_, P> {
    fn clone(&self) -> Self {
        Owned { blocks: self.blocks.clone(), keys: Rc::clone(&self.keys) }
    }
}

/// Extension trait for sharing keyed events among the operators of their owner.
pub trait ToOwners<'scope, P> {
    /// Exchanges blocks by target, once, for any number of consumers on the receiving side, which share a table of keys.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | [`KeyedBlock`] | at most the event times in it | the block's target |
    /// | out | the same, shared | as it came | key |
    /// # Guarantees
    /// A block reaches the worker that it names, once, and all events of a key meet on one worker. In which order
    /// blocks come is nobody's promise.
    /// # State
    /// The keys that the consumers use; they save them with what they have of them.
    /// # Errors
    /// None.
    /// # Source
    /// Graefe, *Encapsulation of Parallelism in the Volcano Query Processing System*, SIGMOD 1990 (exchange).
    fn to_owners(self) -> Owned<'scope, P>;
}

impl<'scope, P: ExchangeData> ToOwners<'scope, P> for StreamVec<'scope, Tick, KeyedBlock<P>> {
    fn to_owners(self) -> Owned<'scope, P> {
        let by_target = Exchange::new(|block: &KeyedBlock<P>| u64::from(block.target));
        let blocks = self.unary(by_target, "ToOwners", |_capability, _info| {
            |input, output| {
                input.for_each(|time, blocks| {
                    let owned = blocks.drain(..).map(|block| Rc::new(OwnedBlock::new(block)));
                    output.session(&time).give_iterator(owned);
                });
            }
        });
        Owned { blocks, keys: SharedKeys::default() }
    }
}
