//! Ordered state by key: a state machine that meets each key's items in event-time order, never in arrival
//! order.
//!
//! Whatever looks at neighbours (rates of change, rolling baselines, cooldowns, numbering) depends on order.
//! Items therefore wait until the frontier has passed them, and are then applied in (event time, order) to the
//! state of their key, so that the outcome is a function of the log.
//!
//! ```text
//! item at t ─► owner of key: waits ─► frontier beyond t ─► Machine::apply, in (t, order) ─► outputs, at t
//! ```
//!
//! [`OrderedState`] is all of it but timely: plain data, serialisable by key.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

use super::keyed_window::capability_at;
use crate::keys::{key_hash, key_owner};
use crate::state::{Saver, StateHub};
use crate::tick::{Tick, open_epoch, watermark_us};

/// State by key, as a checkpoint keeps it.
pub type ByKey<K, S> = BTreeMap<K, S>;

/// What happens to the items of a key, one after the other.
pub trait Machine: 'static {
    /// What is ordered by itself.
    type Key: ExchangeData + Ord + Clone;
    /// What comes in.
    type Item: ExchangeData + Clone;
    /// The order of a key's items that have the same event time; no two of them may be equal in it.
    type Order: Ord + Clone + 'static;
    /// What is remembered of a key.
    type State: Default + Clone + Serialize + DeserializeOwned + 'static;
    /// What goes out.
    type Output: Clone + 'static;

    /// The item's key.
    fn key(&self, item: &Self::Item) -> Self::Key;
    /// The item's place among those of its key and event time.
    fn order(&self, item: &Self::Item) -> Self::Order;
    /// Meets the next item of a key. Must be a function of its arguments.
    fn apply(
        &self,
        key: &Self::Key,
        state: &mut Self::State,
        time_us: i64,
        item: Self::Item,
        emit: &mut dyn FnMut(Self::Output),
    );
}

/// A key's share of the state: what it remembers, and its items that wait with their event times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyState<S, I> {
    /// What [`Machine::apply`] has made; `None` before the first item was met.
    pub state: Option<S>,
    /// What the frontier has not passed.
    pub waiting: Vec<(i64, I)>,
}

/// The keys of one worker: their states, and the items that the frontier has not passed.
pub struct OrderedState<M: Machine> {
    machine: M,
    states: BTreeMap<M::Key, M::State>,
    waiting: BTreeMap<(i64, M::Key, M::Order), M::Item>,
    /// The keys whose share has changed since it was saved; `None` where nothing is saved.
    changed: Option<BTreeSet<M::Key>>,
}

impl<M: Machine> OrderedState<M> {
    /// No key has been met.
    pub fn new(machine: M) -> Self {
        OrderedState { machine, states: BTreeMap::new(), waiting: BTreeMap::new(), changed: None }
    }

    /// The same, for a state of which [`OrderedState::save`] is to tell what has changed.
    pub fn saved(machine: M) -> Self {
        OrderedState { changed: Some(BTreeSet::new()), ..OrderedState::new(machine) }
    }

    /// Takes an item; it waits until the frontier has passed `time_us`.
    pub fn take(&mut self, time_us: i64, item: M::Item) {
        let key = self.machine.key(&item);
        self.changes(&key);
        self.wait(time_us, key, item);
    }

    fn wait(&mut self, time_us: i64, key: M::Key, item: M::Item) {
        let place = (time_us, key, self.machine.order(&item));
        self.waiting.insert(place, item);
    }

    fn changes(&mut self, key: &M::Key) {
        if let Some(changed) = self.changed.as_mut().filter(|changed| !changed.contains(key)) {
            changed.insert(key.clone());
        }
    }

    /// Applies all items before `watermark_us`, or all when there is no more input. `emit` gets each output with
    /// the event time of the item that made it.
    pub fn pass(&mut self, watermark_us: Option<i64>, emit: &mut impl FnMut(i64, M::Output)) {
        while let Some(first) = self.waiting.first_entry() {
            if !is_due(first.key().0, watermark_us) {
                break;
            }
            let ((time_us, key, _), item) = first.remove_entry();
            self.changes(&key);
            let state = self.states.entry(key.clone()).or_default();
            self.machine.apply(&key, state, time_us, item, &mut |output| emit(time_us, output));
        }
    }

    /// How many keys have been met.
    pub fn keys(&self) -> usize {
        self.states.len()
    }

    /// How many items wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// All there is of each key whose share has changed since this was called last, for a checkpoint;
    /// [`OrderedState::restore`] takes it back.
    pub fn save(&mut self) -> ByKey<M::Key, KeyState<M::State, M::Item>> {
        let share = |key| {
            let state = self.states.get(&key).cloned();
            (key, KeyState { state, waiting: Vec::new() })
        };
        let changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        let mut saved: ByKey<M::Key, KeyState<M::State, M::Item>> = changed.into_iter().map(share).collect();
        for ((time_us, key, _), item) in &self.waiting {
            if let Some(share) = saved.get_mut(key) {
                share.waiting.push((*time_us, item.clone()));
            }
        }
        saved
    }

    /// Takes back a key's share.
    pub fn restore(&mut self, key: M::Key, share: KeyState<M::State, M::Item>) {
        let KeyState { state, waiting } = share;
        for (time_us, item) in waiting {
            self.wait(time_us, key.clone(), item);
        }
        if let Some(state) = state {
            self.states.insert(key, state);
        }
    }
}

/// Whether a frontier has passed an instant: nothing at or before it can come. `None`: the input has ended.
pub(super) fn is_due(time_us: i64, watermark_us: Option<i64>) -> bool {
    watermark_us.is_none_or(|watermark_us| time_us < watermark_us)
}

/// The worker that owns `key`: by its group, as everywhere, so that state moves with the other state of a group.
pub(super) fn owner_of<K: Serialize>(key: &K, peers: usize) -> u64 {
    key_owner(key_hash(&bytes_of(key)), peers) as u64
}

/// A key as bytes.
pub(super) fn bytes_of<K: Serialize>(key: &K) -> Vec<u8> {
    // Keys are plain data, which bincode always writes.
    bincode::serialize(key).unwrap_or_default()
}

/// Extension trait for ordered state.
pub trait Ordered<'scope, I> {
    /// Applies `machine` to the items of each key in the order of (event time, [`Machine::order`]).
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | `I` | its event time | any |
    /// | out | [`Machine::Output`] | that of the item that made it | key |
    /// # Guarantees
    /// Outputs, and the state of every key, are a function of the multiset of items, whatever the batches,
    /// workers and arrival. Within a worker outputs leave in the order of (event time, key, order).
    /// # State
    /// The items that the frontier has not passed; a [`Machine::State`] for every key met, for good. Saved as
    /// `name`, by key, where it has changed.
    /// # Errors
    /// No record is one: what is late has been left out by the caller. Saved state that cannot be read ends the run
    /// ([`StateHub::failure`]).
    /// # Source
    /// Srivastava and Widom, *Flexible Time Management in Data Stream Systems*, PODS 2004 (what comes out of order
    /// waits for a bound on time); the bound is the frontier of Murray et al., *Naiad*, SOSP 2013.
    fn ordered<M: Machine<Item = I>>(
        self,
        name: &str,
        machine: M,
        state: &StateHub,
    ) -> StreamVec<'scope, Tick, M::Output>;
}

impl<'scope, I: ExchangeData + Clone> Ordered<'scope, I> for StreamVec<'scope, Tick, I> {
    fn ordered<M: Machine<Item = I>>(
        self,
        name: &str,
        machine: M,
        state: &StateHub,
    ) -> StreamVec<'scope, Tick, M::Output> {
        let peers = self.scope().peers();
        let machine = std::rc::Rc::new(machine);
        let route = std::rc::Rc::clone(&machine);
        let by_key = Exchange::new(move |item: &I| owner_of(&route.key(item), peers));
        self.unary_frontier(by_key, name, move |capability, _info| {
            let mut held = CapabilitySet::from_elem(capability);
            let machine = Shared(machine);
            let mut ordered = match state.is_kept() {
                true => OrderedState::saved(machine),
                false => OrderedState::new(machine),
            };
            let mut saver = Saver::new(state, name);
            state.restore_latest(name, |_hash, _key, (key, share)| ordered.restore(key, share));
            move |(input, frontier), output| {
                input.for_each(|time, items| {
                    items.drain(..).for_each(|item| ordered.take(time.time().time_us, item));
                });
                let frontier = frontier.frontier();
                ordered.pass(watermark_us(frontier), &mut |time_us, made| {
                    let at = capability_at(&held, time_us);
                    output.session(&at).give(made);
                });
                saver.passed(open_epoch(frontier), |written| {
                    for (key, share) in ordered.save() {
                        let bytes = bytes_of(&key);
                        written.put(key_hash(&bytes), &bytes, i64::MAX, &(key, share));
                    }
                });
                held.downgrade(frontier.iter());
            }
        })
    }
}

/// A machine that the exchange asks for keys too.
struct Shared<M>(std::rc::Rc<M>);

impl<M: Machine> Machine for Shared<M> {
    type Key = M::Key;
    type Item = M::Item;
    type Order = M::Order;
    type State = M::State;
    type Output = M::Output;

    fn key(&self, item: &M::Item) -> M::Key {
        self.0.key(item)
    }
    fn order(&self, item: &M::Item) -> M::Order {
        self.0.order(item)
    }
    fn apply(
        &self,
        key: &M::Key,
        state: &mut M::State,
        time_us: i64,
        item: M::Item,
        emit: &mut dyn FnMut(M::Output),
    ) {
        self.0.apply(key, state, time_us, item, emit);
    }
}
