//! The latest entry of each key, kept as a differential collection.
//!
//! A collection that changes, with exact retractions, is what differential dataflow is for (McSherry et
//! al., *Differential dataflow*, CIDR 2013). An entry is not kept as data but as a **difference** in a
//! semigroup whose addition is the maximum: the arrangement then holds one entry a key, however long the
//! history, where an ordinary `reduce` would keep every entry for ever.

use std::collections::BTreeMap;
use std::hash::Hash;

use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::hashable::Hashable;
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use hashbrown::HashMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

use crate::keys::key_hash;
use crate::state::{Fold, StateHub, StateWriter};
use crate::tick::{Tick, open_epoch};

/// A difference whose sum is the largest of the summands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Largest<V>(pub V);

impl<V> IsZero for Largest<V> {
    fn is_zero(&self) -> bool {
        false
    }
}

impl<V: Ord + Clone> Semigroup for Largest<V> {
    fn plus_equals(&mut self, other: &Self) {
        if other.0 > self.0 {
            self.0.clone_from(&other.0);
        }
    }
}

fn offer<K: Eq + Hash, V: Ord>(largest: &mut HashMap<K, V>, key: K, value: V) {
    match largest.get_mut(&key) {
        Some(known) if *known >= value => {}
        Some(known) => *known = value,
        None => drop(largest.insert(key, value)),
    }
}

/// Of two saved entries the one with the larger value stays.
fn larger<V: Ord + DeserializeOwned>(old: &[u8], new: &[u8]) -> bool {
    let value = |entry: &[u8]| bincode::deserialize::<V>(entry).ok();
    value(new) > value(old)
}

/// Extension trait for the latest entry of each key.
pub trait LatestByKey<'scope, K, V> {
    /// Maintains, for each key, the largest entry so far: a larger one retracts it and takes its place.
    ///
    /// Changes are combined within an epoch before they are exchanged: that is when they become visible.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | `(K, V)` | any | any |
    /// | out | `((K, V), Tick, ±1)` | the epoch, at its last instant | key |
    /// # Guarantees
    /// At the end of every epoch the collection holds one entry for each key seen by then: the largest.
    /// # State
    /// One entry a key, for good: the relation itself, saved as `name` by what each epoch changed; and one a key changed
    /// in an open epoch.
    /// # Errors
    /// None.
    fn latest_by_key(self, name: &str, state: &StateHub) -> VecCollection<'scope, Tick, (K, V), isize>;
}

impl<'scope, K, V> LatestByKey<'scope, K, V> for StreamVec<'scope, Tick, (K, V)>
where
    K: ExchangeData + Hashable + Hash,
    V: ExchangeData,
{
    fn latest_by_key(self, name: &str, state: &StateHub) -> VecCollection<'scope, Tick, (K, V), isize> {
        state.register(name, Fold::Keep(larger::<V>));
        self.unary_frontier(Pipeline, "LargestOfEpoch", |capability, _info| {
            let mut held = CapabilitySet::from_elem(capability);
            let mut epochs = BTreeMap::<u64, HashMap<K, V>>::new();
            let (name, state) = (name.to_owned(), state.clone());
            // The relation as it was goes in as the changes of the first epoch, in which nothing is read.
            state.restore(&name, |_hash, _key, (value, key): (V, K)| {
                offer(epochs.entry(Tick::FIRST_EPOCH).or_default(), key, value);
            });
            move |(input, frontier), output| {
                input.for_each(|time, entries| {
                    let largest = epochs.entry(time.time().epoch).or_default();
                    entries.drain(..).for_each(|(key, value)| offer(largest, key, value));
                });
                let frontier = frontier.frontier();
                let open = open_epoch(frontier);
                while let Some(first) =
                    epochs.first_entry().filter(|e| open.is_none_or(|open| *e.key() < open))
                {
                    let at = Tick::new(*first.key(), i64::MAX);
                    let capability = held.delayed(&at);
                    if state.wants(at.epoch) {
                        let mut written = StateWriter::delta(&name);
                        for (key, value) in first.get() {
                            let bytes = bincode::serialize(key).unwrap_or_default();
                            // The value first, so that entries can be compared without the key's type.
                            written.push(key_hash(&bytes), &bytes, &(value, key));
                        }
                        state.save(at.epoch, written);
                    }
                    let changes =
                        first.remove().into_iter().map(|(key, value)| ((key, ()), at, Largest(value)));
                    output.session(&capability).give_iterator(changes);
                }
                held.downgrade(frontier.iter());
            }
        })
        .as_collection()
        .reduce_named("LatestByKey", |_key, largest, latest| latest.push((largest[0].1.0.clone(), 1)))
    }
}
