//! What is computed over the records of a window, as functions of the multiset of records.
//!
//! Panes, partitions, workers and epochs all cut the same records into different groups, so an aggregate may
//! depend on neither order nor grouping. That is what [`Aggregate`] asks for, a commutative monoid, to the
//! last bit:
//!
//! ```text
//! records ──add──► partial ──merge──► partial ──output──► value in a row       tumbling windows, sessions
//!                     │
//!                     └──enter/leave──► running ──read──► value in a row       sliding windows
//! ```
//!
//! A partial is what a pane keeps for a key; partials are small, serialisable (they cross workers and go into
//! checkpoints), and equal for equal multisets. A sliding window is a [`Retract`]: its panes' partials enter
//! and leave one running value, so that a step costs what one pane costs, however many panes the window has.
//!
//! | aggregate | of | partial | running form |
//! | --- | --- | --- | --- |
//! | [`Count`] | anything | `u64` | the same, subtracted |
//! | [`Sum`], [`Avg`] | [`Finite`] | exact sum and count | the same, subtracted |
//! | [`StdDev`], [`Describe`] | [`Finite`] | exact Σx, Σx² and count | the same, subtracted |
//! | [`Min`], [`Max`] | anything ordered | the value | ordered multiset of the panes' values |
//! | [`AnyValue`] | anything, with its [`Origin`] | the value and its origin | ordered multiset of the panes' values |
//! | [`DistinctExact`] | bytes | the set | how many panes have each |
//! | [`DistinctApprox`] | bytes | [`Hll`] sketch | how many panes have each register's value |
//! | tuples of 2 to 8 | the tuple of their inputs | all of them | all of them |
//!
//! The latest event time of a group is a [`Max`] of `i64`.
//!
//! # Examples
//! ```
//! use tidegate::aggregate::{Aggregate, Avg, Count, Finite, Max};
//!
//! let mut left = <(Count, Avg, Max<Finite>)>::identity();
//! let mut right = left.clone();
//! for reading in [0.1, 0.2] {
//!     let reading = Finite::new(reading).unwrap();
//!     left.add(((), reading, reading));
//! }
//! let reading = Finite::new(0.3).unwrap();
//! right.add(((), reading, reading));
//! right.merge(&left);
//! assert_eq!(right.output(), (3, Some(0.2), Some(reading)));
//! ```

mod any_value;
mod basic;
mod distinct;
mod exact;
mod extremes;
mod finite;
mod fixed;
mod hll;
mod limbs;
mod moments;
mod optional;
mod tuple;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use any_value::{AnyValue, Choice, Origin};
pub use basic::{Avg, Count, Describe, Description, StdDev, Sum};
pub use distinct::{DistinctApprox, DistinctExact, RankCounts, StringCounts};
pub use exact::ExactSum;
pub use extremes::{Extreme, Max, Min, Multiset};
pub use finite::{Finite, NotFinite};
pub use hll::Hll;
pub use moments::Moments;
pub use optional::IfPresent;

/// A commutative monoid over inputs; what a pane keeps per key.
///
/// # Guarantees
/// Every implementation keeps these, and its users rely on them:
/// * [`merge`](Aggregate::merge) is associative and commutative with [`identity`](Aggregate::identity) as its
///   neutral element, and adding an input is merging a partial of that one input.
/// * Therefore partials over equal multisets of inputs are equal, serialise to equal bytes, and give equal
///   outputs, bit for bit.
/// * Nothing panics, whatever the inputs and whatever bytes a partial was read from.
pub trait Aggregate: Default + Clone + Serialize + DeserializeOwned + 'static {
    /// What is added: `()` for [`Count`], [`Finite`] for [`Sum`], borrowed bytes for [`DistinctExact`].
    type Input<'a>;
    /// What goes into a row.
    type Output;

    /// The partial over no inputs.
    fn identity() -> Self {
        Self::default()
    }

    /// Whether nothing has been added.
    fn is_identity(&self) -> bool;

    /// Adds one input.
    fn add(&mut self, input: Self::Input<'_>);

    /// Adds all that `other` has added.
    fn merge(&mut self, other: &Self);

    /// The aggregate of all that has been added.
    fn output(&self) -> Self::Output;

    /// Gives partitions the numbers they have now: a partial that was saved may hold those of a run with fewer
    /// partitions. `_now` keeps their order. Only a partial that holds such numbers does anything.
    fn renumber_partitions(&mut self, _now: &dyn Fn(u64) -> u64) {}
}

/// An aggregate whose partials can be taken out again: what shared panes need.
///
/// # Guarantees
/// After any sequence of calls in which each partial left as often as it was entered, or less,
/// [`read`](Retract::read) is the [`output`](Aggregate::output) of the merge of the partials still in. Only
/// partials that were entered may leave; should another leave, the readings mean nothing, but nothing panics.
///
/// # Cost
/// `enter` and `leave` cost what the partial's size costs, times the logarithm of the panes in the window
/// where an ordered multiset is kept; never the number of panes.
pub trait Retract: Aggregate {
    /// The partials that are in, combined so that they can leave in any order.
    ///
    /// Not serialisable: it is rebuilt by entering the window's panes, which are in the checkpoint.
    type Running: Default + 'static;

    /// Takes a pane's partial in.
    fn enter(running: &mut Self::Running, partial: &Self);

    /// Takes a pane's partial, which was entered, out.
    fn leave(running: &mut Self::Running, partial: &Self);

    /// Whether nothing is in, partials over no inputs aside.
    fn is_empty(running: &Self::Running) -> bool;

    /// The aggregate of all that is in.
    fn read(running: &Self::Running) -> Self::Output;
}
