//! The dataflow's timestamp: an epoch of the checkpoint, and a bound on event time.
//!
//! A capability at `Tick { epoch, time_us }` promises that whatever is still to be sent belongs to that
//! epoch or a later one **and** carries an event time of at least `time_us` where it is not late. The
//! order is the product order, so both projections of a frontier are exact: the smallest epoch in it is
//! the oldest epoch still open, the smallest time in it is the event-time watermark of the dataflow.
//! `timely::order::Product` cannot be a root dataflow's timestamp (it lacks `Refines<()>`), hence a type
//! of our own.

use std::time::Duration;

use differential_dataflow::lattice::Lattice;
use serde::{Deserialize, Serialize};
use timely::order::PartialOrder;
use timely::progress::frontier::AntichainRef;
use timely::progress::timestamp::Refines;
use timely::progress::{PathSummary, Timestamp};

/// An epoch and a bound on event time, in the product order.
///
/// The derived total order is lexicographic; it is compatible with the product order and serves sorting only.
#[derive(Copy, Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tick {
    /// The number of the epoch within this run, from [`Tick::FIRST_EPOCH`].
    pub epoch: u64,
    /// Microseconds since the epoch, UTC; `i64::MIN` is before all time.
    pub time_us: i64,
}

impl Tick {
    /// The epoch that a run begins with. It is the minimum of the timestamp, so that no operator, whose
    /// capability starts there, can send into an epoch that nobody will decide.
    pub const FIRST_EPOCH: u64 = 1;

    /// The tick of `epoch` at `time_us`.
    pub fn new(epoch: u64, time_us: i64) -> Self {
        Tick { epoch, time_us }
    }

    /// This tick with its time moved to `time_us`.
    pub fn at(self, time_us: i64) -> Self {
        Tick { time_us, ..self }
    }
}

impl Default for Tick {
    /// The identity of the path summary, which moves nothing.
    fn default() -> Self {
        Tick { epoch: 0, time_us: 0 }
    }
}

impl PartialOrder for Tick {
    #[inline]
    fn less_equal(&self, other: &Self) -> bool {
        self.epoch <= other.epoch && self.time_us <= other.time_us
    }
}

impl PathSummary<Tick> for Tick {
    #[inline]
    fn results_in(&self, tick: &Tick) -> Option<Tick> {
        Some(Tick {
            epoch: tick.epoch.checked_add(self.epoch)?,
            time_us: tick.time_us.checked_add(self.time_us)?,
        })
    }
    fn followed_by(&self, other: &Tick) -> Option<Tick> {
        self.results_in(other)
    }
}

impl Timestamp for Tick {
    type Summary = Tick;
    fn minimum() -> Self {
        Tick { epoch: Tick::FIRST_EPOCH, time_us: i64::MIN }
    }
}

impl Refines<()> for Tick {
    fn to_inner(_: ()) -> Self {
        Tick::minimum()
    }
    fn to_outer(self) {}
    fn summarize(_: Tick) {}
}

impl Lattice for Tick {
    fn join(&self, other: &Self) -> Self {
        Tick { epoch: self.epoch.max(other.epoch), time_us: self.time_us.max(other.time_us) }
    }
    fn meet(&self, other: &Self) -> Self {
        Tick { epoch: self.epoch.min(other.epoch), time_us: self.time_us.min(other.time_us) }
    }
}

/// The event-time watermark of a frontier: no accepted record with an earlier event time can come.
/// `None` once the input has ended.
pub fn watermark_us(frontier: AntichainRef<'_, Tick>) -> Option<i64> {
    frontier.iter().map(|tick| tick.time_us).min()
}

/// The oldest epoch of a frontier that is still open; `None` once the input has ended.
pub fn open_epoch(frontier: AntichainRef<'_, Tick>) -> Option<u64> {
    frontier.iter().map(|tick| tick.epoch).min()
}

/// The step in which event time goes in a dataflow with windows whose panes are so wide: the longest that divides the ends of
/// all of them, in whole seconds up to 10.
pub fn step_us(panes_us: &[i64]) -> i64 {
    let divides = |step: &i64| panes_us.iter().all(|pane_us| pane_us % step == 0);
    (1..=10).rev().map(|seconds| seconds * 1_000_000).find(divides).unwrap_or(1)
}

/// A duration in microseconds, as times are counted.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely::progress::Antichain;

    #[test]
    fn both_projections_of_a_frontier_are_exact() {
        let frontier = Antichain::from_iter([Tick::new(1, 50), Tick::new(2, 10)]);
        assert_eq!(frontier.len(), 2);
        assert_eq!(watermark_us(frontier.borrow()), Some(10));
        assert_eq!(open_epoch(frontier.borrow()), Some(1));
        assert_eq!(watermark_us(Antichain::new().borrow()), None);
    }

    #[test]
    fn the_identity_summary_moves_nothing() {
        let tick = Tick::new(3, i64::MIN);
        assert_eq!(Tick::default().results_in(&tick), Some(tick));
        assert_eq!(Tick::new(0, 1).results_in(&Tick::new(0, i64::MAX)), None);
    }
}
