//! Left join of two relations that change: each entry of the left one with what the right one has for its key.
//!
//! ```text
//! left  (K, V) ─► arrangement ─┬─ join ───────────────────────┬─► (K, (V, Option<W>))
//! right (K, W) ─► arrangement ─┴─ antijoin (keys of no right) ┘
//! ```
//!
//! Both sides stay arranged by key. So an entry that is corrected takes its own rows out and puts its own rows in, without a look
//! at any other key: the work is that of the rows concerned.

use std::hash::Hash;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::{ExchangeData, VecCollection};
use timely::progress::Timestamp;

/// What a left join gives.
pub type LeftJoined<'scope, T, K, V, W> = VecCollection<'scope, T, (K, (V, Option<W>)), isize>;

/// Extension trait for left joins.
pub trait LeftJoin<'scope, T: Timestamp, K, V> {
    /// Maintains the left join: every entry (K, V) once with each value that `right` has for K, and once with `None` where it has
    /// none.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | left | `((K, V), time, ±n)` | of the change | any |
    /// | right | `((K, W), time, ±n)` | of the change | any |
    /// | out | `((K, (V, Option<W>)), time, ±n)` | of the change, or the join of two changes' times | key |
    /// # Guarantees
    /// At every time the collection is the left join of what both sides hold then, whatever the batches and workers; multiplicities
    /// multiply. A change costs as much as the rows of its own key. What comes out at a time is consolidated: no row is put in and
    /// taken out there.
    /// # State
    /// Both sides, arranged by key, and the keys of the right one three times more (all, those that are there, and these arranged); for
    /// good. Not saved: who needs it after a restart puts both in anew.
    /// # Errors
    /// None. Neither side may hold an entry a negative number of times.
    /// # Source
    /// McSherry et al., *Differential dataflow*, CIDR 2013 (arrangements, and joins of differences); Gupta and Mumick, *Maintenance
    /// of Materialized Views*, IEEE Data Engineering Bulletin 1995.
    /// # Examples
    /// ```
    /// use differential_dataflow::input::Input;
    /// use tidegate::operators::left_join::LeftJoin;
    ///
    /// timely::execute_directly(|worker| {
    ///     worker.dataflow::<u64, _, _>(|scope| {
    ///         let (_left, cycles) = scope.new_collection_from([(1, 10), (2, 20)]);
    ///         let (_right, labels) = scope.new_collection_from([(2, 7)]);
    ///         let (_both, expected) = scope.new_collection_from([(1, (10, None)), (2, (20, Some(7)))]);
    ///         cycles.left_join(labels).assert_eq(expected);
    ///     });
    /// });
    /// ```
    fn left_join<W: ExchangeData + Hash>(
        self,
        right: VecCollection<'scope, T, (K, W), isize>,
    ) -> LeftJoined<'scope, T, K, V, W>;
}

impl<'scope, T, K, V> LeftJoin<'scope, T, K, V> for VecCollection<'scope, T, (K, V), isize>
where
    T: Timestamp + Lattice + Ord,
    K: ExchangeData + Hash,
    V: ExchangeData + Hash,
{
    fn left_join<W: ExchangeData + Hash>(
        self,
        right: VecCollection<'scope, T, (K, W), isize>,
    ) -> LeftJoined<'scope, T, K, V, W> {
        let (left, right) = (self.arrange_by_key(), right.arrange_by_key());
        let matched = left.clone().join_core(right.clone(), |key: &K, value: &V, other: &W| {
            Some((key.clone(), (value.clone(), Some(other.clone()))))
        });
        let known = right.as_collection(|key, _| key.clone()).distinct().arrange_by_self();
        let not_alone = left
            .clone()
            .join_core(known, |key: &K, value: &V, ()| Some((key.clone(), (value.clone(), None))));
        let all = left.as_collection(|key: &K, value: &V| (key.clone(), (value.clone(), None)));
        let alone = all.concat(not_alone.negate());
        matched.concat(alone).consolidate()
    }
}
