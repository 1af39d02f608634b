//! Running totals by key, kept as a differential collection.

use std::hash::Hash;

use differential_dataflow::hashable::Hashable;
use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use timely::dataflow::StreamVec;

use super::epoch_changes::{Relation, changes_of_epochs};
use crate::state::{Fold, StateHub};
use crate::tick::Tick;

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
    /// # Errors
    /// No record is one. Saved state that cannot be read ends the run ([`StateHub::failure`]).
    /// # Source
    /// McSherry et al., *Differential dataflow*, CIDR 2013.
    fn total_by_key(self, name: &str, state: &StateHub) -> VecCollection<'scope, Tick, (K, isize), isize>;
}

impl<'scope, K: ExchangeData + Hashable + Hash> TotalByKey<'scope, K> for StreamVec<'scope, Tick, (K, u64)> {
    fn total_by_key(self, name: &str, state: &StateHub) -> VecCollection<'scope, Tick, (K, isize), isize> {
        let relation = Relation {
            name: name.to_owned(),
            fold: Fold::Merge(sum),
            combine: |sum: &mut u64, n| *sum = sum.saturating_add(n).min(LARGEST),
        };
        changes_of_epochs(self, "CountsOfEpoch", state, relation, |at, key, n: u64| {
            // Differential adds up what fits into its differences.
            (key, at, n.min(LARGEST) as isize)
        })
        .as_collection()
        .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::key_hash;
    use crate::state::{Compactions, StateWriter};

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
