//! Silent sensors: the last features that a sensor had, in its place for a while.

use serde::{Deserialize, Serialize};
use tidegate::operators::ordered::Machine;

use super::features::{Stats, SyncRow};
use super::sensors::SENSOR_COUNT;

/// Fills the places of silent sensors with their last features, over all cycles, in (window_start, cycle) order.
pub(super) struct Hold {
    /// For seconds that start at most this long after theirs.
    pub(super) at_most_us: i64,
}

/// Where the last features of each sensor are from, and what they were.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Held([Option<(i64, Stats)>; SENSOR_COUNT]);

impl Machine for Hold {
    type Key = ();
    type Item = SyncRow;
    type Order = i64;
    type State = Held;
    type Output = SyncRow;

    fn key(&self, _row: &SyncRow) {}

    fn order(&self, row: &SyncRow) -> i64 {
        row.cycle
    }

    fn apply(
        &self,
        (): &(),
        held: &mut Held,
        _time_us: i64,
        mut row: SyncRow,
        emit: &mut dyn FnMut(SyncRow),
    ) {
        for (place, held) in row.stats.iter_mut().zip(&mut held.0) {
            match (&place, &held) {
                (Some(stats), _) => *held = Some((row.start_us, *stats)),
                (None, Some((since_us, stats)))
                    if row.start_us.saturating_sub(*since_us) <= self.at_most_us =>
                {
                    *place = Some(*stats);
                }
                (None, _) => {}
            }
        }
        emit(row);
    }
}
