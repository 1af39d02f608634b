//! Events on their way to the worker that owns their key.
//!
//! Windows combine before the exchange: what crosses are partial aggregates by (class, pane, key), however many
//! records are in each ([`super::keyed_window`]). Sessions and exact distinct counts are sent every event instead.
//! A session needs each of its events, and takes them in order ([`super::session`]). Exact distinct counts
//! ([`super::distinct`]) could do with less, but share the blocks of sessions, so that an event travels once.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::ingest::Edge;
use crate::keys::{KeyColumn, key_owner};
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

/// Extension trait for sharing keyed events among the operators of their owner.
pub trait ToOwners<'scope, P> {
    /// Exchanges blocks by target, once, for any number of consumers on the receiving side.
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
    /// None.
    /// # Errors
    /// None.
    /// # Source
    /// Graefe, *Encapsulation of Parallelism in the Volcano Query Processing System*, SIGMOD 1990 (exchange).
    fn to_owners(self) -> StreamVec<'scope, Tick, Rc<KeyedBlock<P>>>;
}

impl<'scope, P: ExchangeData> ToOwners<'scope, P> for StreamVec<'scope, Tick, KeyedBlock<P>> {
    fn to_owners(self) -> StreamVec<'scope, Tick, Rc<KeyedBlock<P>>> {
        let by_target = Exchange::new(|block: &KeyedBlock<P>| u64::from(block.target));
        self.unary(by_target, "ToOwners", |_capability, _info| {
            |input, output| {
                input.for_each(|time, blocks| {
                    output.session(&time).give_iterator(blocks.drain(..).map(Rc::new));
                });
            }
        })
    }
}
