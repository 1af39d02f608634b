//! The latest entry of each key, kept as a differential collection.
//!
//! A collection that changes, with exact retractions, is what differential dataflow is for (McSherry et
//! al., *Differential dataflow*, CIDR 2013). An entry is not kept as data but as a **difference** in a
//! semigroup whose addition is the maximum: the arrangement then holds one entry a key, however long the
//! history, where an ordinary `reduce` would keep every entry for ever.

use std::hash::Hash;

use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::hashable::Hashable;
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

use super::epoch_changes::{Relation, changes_of_epochs};
use crate::state::{Fold, StateHub};
use crate::tick::Tick;

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
    /// At the end of every epoch the collection holds one entry for each key seen by then: the largest, whatever the
    /// workers and the order.
    /// # State
    /// One entry a key, for good: the relation itself, saved as `name` by what each epoch changed; and one a key changed
    /// in an open epoch.
    /// # Errors
    /// No record is one. Saved state that cannot be read ends the run ([`StateHub::failure`]).
    /// # Source
    /// McSherry et al., *Differential dataflow*, CIDR 2013.
    fn latest_by_key(self, name: &str, state: &StateHub) -> VecCollection<'scope, Tick, (K, V), isize>;
}

impl<'scope, K, V> LatestByKey<'scope, K, V> for StreamVec<'scope, Tick, (K, V)>
where
    K: ExchangeData + Hashable + Hash,
    V: ExchangeData,
{
    fn latest_by_key(self, name: &str, state: &StateHub) -> VecCollection<'scope, Tick, (K, V), isize> {
        let relation = Relation {
            name: name.to_owned(),
            fold: Fold::Keep(larger::<V>),
            combine: |known: &mut V, value| {
                if value > *known {
                    *known = value;
                }
            },
        };
        changes_of_epochs(self, "LargestOfEpoch", state, relation, |at, key, value| {
            ((key, ()), at, Largest(value))
        })
        .as_collection()
        .reduce_named("LatestByKey", |_key, largest, latest| latest.push((largest[0].1.0.clone(), 1)))
    }
}
