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

#[cfg(test)]
mod tests {
    use tidegate::operators::ordered::OrderedState;

    use super::super::sensors::SensorSet;
    use super::*;

    #[test]
    fn last_features_stand_in_for_a_silent_sensor_for_a_while() {
        let row = |start_us: i64, avg: Option<f64>| {
            let mut stats = [None; SENSOR_COUNT];
            stats[3] = avg.map(|avg| Stats { avg, min: avg, max: avg, std: 0.0, count: 1, kafka_ms: None });
            let present = avg.iter().map(|_| 3).collect::<SensorSet>();
            SyncRow { start_us, end_us: start_us + 1, cycle: 0, stats, present }
        };
        let mut ordered = OrderedState::new(Hold { at_most_us: 5 });
        // In any order of arrival.
        for row in [row(20, None), row(10, Some(1.5)), row(15, None), row(5, None), row(16, None)] {
            ordered.take(row.end_us - 1, row);
        }
        let mut held = Vec::new();
        ordered.pass(None, &mut |_, row: SyncRow| {
            held.push((row.start_us, row.stats[3].map(|stats| stats.avg), row.present.len()));
        });
        let expected = [(5, None, 0), (10, Some(1.5), 1), (15, Some(1.5), 0), (16, None, 0), (20, None, 0)];
        assert_eq!(held, expected);
    }
}
