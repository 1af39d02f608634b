//! Running totals by key, kept as a differential collection.

use std::hash::Hash;

use differential_dataflow::hashable::Hashable;
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::tick::Tick;

/// Extension trait for running totals.
pub trait TotalByKey<'scope, K> {
    /// Maintains, for each key, the sum of the counts so far; a new total retracts the one before.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | `(K, count)` | any | any |
    /// | out | `((K, total), Tick, ±1)` | the epoch, at its last instant | key |
    /// # Guarantees
    /// At the end of every epoch the collection holds one entry for each key counted by then, whatever the
    /// workers and the order. A total is right up to `i64::MAX`; keys whose counts are all 0 have none.
    /// # State
    /// One total a key, for good; counts of open epochs, combined.
    fn total_by_key(self) -> VecCollection<'scope, Tick, (K, isize), isize>;
}

impl<'scope, K: ExchangeData + Hashable + Hash> TotalByKey<'scope, K> for StreamVec<'scope, Tick, (K, u64)> {
    fn total_by_key(self) -> VecCollection<'scope, Tick, (K, isize), isize> {
        self.unary(Pipeline, "CountsOfEpoch", |_capability, _info| {
            |input, output| {
                input.for_each(|time, counts| {
                    let at = Tick::new(time.time().epoch, i64::MAX);
                    let changes =
                        counts.drain(..).map(|(key, n)| (key, at, isize::try_from(n).unwrap_or(isize::MAX)));
                    output.session(&time).give_iterator(changes);
                });
            }
        })
        .as_collection()
        .count()
    }
}
