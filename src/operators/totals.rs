//! Running totals by key, kept as a differential collection.

use std::collections::BTreeMap;
use std::hash::Hash;

use differential_dataflow::hashable::Hashable;
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use hashbrown::HashMap;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

use super::ordered::bytes_of;
use crate::keys::key_hash;
use crate::state::{Fold, StateHub, StateWriter};
use crate::tick::{Tick, open_epoch};

/// Counts up to here can be added to others in differential's sums.
const LARGEST: u64 = isize::MAX as u64;

/// The sum of two saved counts of a key, each in front of it.
fn sum(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let (old_count, key) = old.split_first_chunk()?;
    let (new_count, _) = new.split_first_chunk()?;
    let sum = u64::from_le_bytes(*old_count).saturating_add(u64::from_le_bytes(*new_count)).min(LARGEST);
    Some([&sum.to_le_bytes(), key].concat())
}

/// Extension trait for running totals.
pub trait TotalByKey<'scope, K> {
    /// Maintains, for each key, the sum of the counts so far; a new total retracts the one before.
    ///
    /// Counts are added up within an epoch before they are exchanged: that is when totals become visible.
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
    /// One total a key, for good: the relation itself, saved as `name` by what each epoch counted; counts of open epochs,
    /// combined.
    fn total_by_key(self, name: &str, state: &StateHub) -> VecCollection<'scope, Tick, (K, isize), isize>;
}

impl<'scope, K: ExchangeData + Hashable + Hash> TotalByKey<'scope, K> for StreamVec<'scope, Tick, (K, u64)> {
    fn total_by_key(self, name: &str, state: &StateHub) -> VecCollection<'scope, Tick, (K, isize), isize> {
        state.register(name, Fold::Merge(sum));
        self.unary_frontier(Pipeline, "CountsOfEpoch", |capability, _info| {
            let mut held = CapabilitySet::from_elem(capability);
            let mut epochs = BTreeMap::<u64, HashMap<K, u64>>::new();
            let (name, state) = (name.to_owned(), state.clone());
            fn count<K: Eq + Hash>(counts: &mut HashMap<K, u64>, key: K, n: u64) {
                let sum = counts.entry(key).or_default();
                *sum = sum.saturating_add(n).min(LARGEST);
            }
            // The totals as they were go in as the counts of the first epoch, in which nothing is read.
            state.restore(&name, |_hash, _key, (n, key): (u64, K)| {
                count(epochs.entry(Tick::FIRST_EPOCH).or_default(), key, n);
            });
            move |(input, frontier), output| {
                input.for_each(|time, counts| {
                    let of_epoch = epochs.entry(time.time().epoch).or_default();
                    counts.drain(..).for_each(|(key, n)| count(of_epoch, key, n));
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
                        for (key, n) in first.get() {
                            let bytes = bytes_of(key);
                            // The count first, so that entries can be added up without the key's type.
                            written.push(key_hash(&bytes), &bytes, &(n, key));
                        }
                        state.save(at.epoch, written);
                    }
                    // At most `LARGEST`, so it fits.
                    let changes = first.remove().into_iter().map(|(key, n)| (key, at, n as isize));
                    output.session(&capability).give_iterator(changes);
                }
                held.downgrade(frontier.iter());
            }
        })
        .as_collection()
        .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Compactions;

    #[test]
    fn folded_counts_are_their_sum() {
        let compactions = Compactions::default();
        compactions.register("Totals", Fold::Merge(sum));
        let blocks = |counts: &[(&str, u64)]| {
            let mut written = StateWriter::delta("Totals");
            for (key, n) in counts {
                written.push(key_hash(key.as_bytes()), key.as_bytes(), &(n, key));
            }
            written.into_blocks()
        };
        let deltas =
            [blocks(&[("a", 2), ("b", 1)]), blocks(&[("a", 5)]), blocks(&[("a", u64::MAX)])].concat();
        let folded = compactions.fold(deltas, 0, true);
        assert_eq!(folded, blocks(&[("a", LARGEST), ("b", 1)]));
    }
}
