//! The net change of a collection over an epoch: what an upsert sink needs of a relation that changes.

use differential_dataflow::VecCollection;
use differential_dataflow::consolidation::consolidate;
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

use crate::tick::{Tick, open_epoch};

/// Changes are consolidated when they have doubled since the last time, and are at least so many.
const CONSOLIDATE_AT: usize = 64 << 10;

/// Extension trait for net changes.
pub trait NetChanges<'scope, D> {
    /// Gives, for each epoch, the entries that the epoch added (`1`) and took back (`-1`), net.
    ///
    /// A relation with one entry a key yields each changed key with its value at the end of the epoch, and with the value
    /// that this replaced.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | `(D, Tick, ±1)` | of the change | any |
    /// | out | `(D, ±1)` | the epoch, at its last instant | as the input |
    /// # Guarantees
    /// An entry leaves once an epoch, when the frontier has passed it, with the sum of its differences there; not at
    /// all where that is 0. It is the sum of one worker: net of all where one holds each entry, as behind a `reduce`.
    /// # State
    /// The changes of the epochs that are open, consolidated as they double. Not saved: none is left when an epoch of
    /// aligned sources has ended.
    /// # Errors
    /// None.
    /// # Source
    /// McSherry et al., *Differential dataflow*, CIDR 2013 (differences, and their consolidation).
    fn net_changes(self) -> StreamVec<'scope, Tick, (D, isize)>;
}

impl<'scope, D: ExchangeData + Ord + Clone> NetChanges<'scope, D> for VecCollection<'scope, Tick, D, isize> {
    fn net_changes(self) -> StreamVec<'scope, Tick, (D, isize)> {
        self.inner.unary_frontier(Pipeline, "NetChanges", |capability, _info| {
            let mut held = CapabilitySet::from_elem(capability);
            let mut changes: Vec<((u64, D), isize)> = Vec::new();
            let mut limit = CONSOLIDATE_AT;
            move |(input, frontier), output| {
                input.for_each(|_time, batch| {
                    changes.extend(batch.drain(..).map(|(entry, at, diff)| ((at.epoch, entry), diff)));
                });
                if changes.len() > limit {
                    consolidate(&mut changes);
                    limit = CONSOLIDATE_AT.max(2 * changes.len());
                }
                let frontier = frontier.frontier();
                let open = open_epoch(frontier);
                if held.iter().any(|c| open.is_none_or(|open| c.time().epoch < open)) && !changes.is_empty() {
                    // Consolidated changes are sorted by epoch: one session for each, not one for each entry.
                    consolidate(&mut changes);
                    let closed =
                        changes.partition_point(|((epoch, _), _)| open.is_none_or(|open| *epoch < open));
                    let mut ready = changes.drain(..closed).peekable();
                    while let Some(&((epoch, _), _)) = ready.peek() {
                        let at = held.delayed(&Tick::new(epoch, i64::MAX));
                        let of_epoch =
                            std::iter::from_fn(|| ready.next_if(|((other, _), _)| *other == epoch));
                        let net = of_epoch.filter(|(_, diff)| *diff != 0);
                        output.session(&at).give_iterator(net.map(|((_, entry), diff)| (entry, diff)));
                    }
                }
                held.downgrade(frontier.iter());
            }
        })
    }
}
