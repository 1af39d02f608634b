//! The features of a second: of one sensor, and of all sensors together.

use serde::{Deserialize, Serialize};
use tidegate::aggregate::{Aggregate, Describe, Description, ExactSum, Finite, Max, Min};
use tidegate::operators::pivot::Pivoted;

use super::sensors::{COOLING, EFFICIENCY, FLOWS, PRESSURES, SENSOR_COUNT, SensorSet, TEMPERATURES};

/// What a window keeps of a sensor's readings: moments, extremes, and the largest Kafka timestamp.
pub(super) type Window = (Describe, Min<Finite>, Max<Finite>, Max<Option<i64>>);

/// The statistics of one sensor in one second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The mean: the `f64` nearest to the exact one.
    pub avg: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The sample deviation; infinite only where its square is beyond `f64`.
    pub std: f64,
    /// How many readings.
    pub count: u64,
    /// The largest Kafka timestamp among the readings, in milliseconds.
    pub kafka_ms: Option<i64>,
}

impl Stats {
    /// Reads a window's output; `None` for a window without readings.
    pub(super) fn of((described, min, max, kafka_ms): <Window as Aggregate>::Output) -> Option<Stats> {
        let Description { count, mean: avg, deviation: std, .. } = described?;
        let (min, max) = (min?.get(), max?.get());
        Some(Stats { avg, min, max, std, count, kafka_ms: kafka_ms.flatten() })
    }
}

/// A row of `sensor_features`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorRow {
    /// Where its second starts, µs.
    pub start_us: i64,
    /// Where it ends (exclusive), µs.
    pub end_us: i64,
    /// The cycle.
    pub cycle: i64,
    /// The sensor's number.
    pub sensor: u8,
    /// Its statistics.
    pub stats: Stats,
}

/// A row of `synchronized_features`: all sensors of a (second, cycle).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncRow {
    /// Where its second starts, µs.
    pub start_us: i64,
    /// Where it ends (exclusive), µs.
    pub end_us: i64,
    /// The cycle.
    pub cycle: i64,
    /// The sensors' statistics; `None` where one is silent and nothing is held in its place.
    pub stats: [Option<Stats>; SENSOR_COUNT],
    /// The sensors that have spoken in this second.
    pub present: SensorSet,
}

/// The columns of a [`SyncRow`] that are computed from the sensors'; contract section 6.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Derived {
    /// The mean of the pressures' averages.
    pub pressure_mean: Option<f64>,
    /// The mean of the temperatures' averages.
    pub temperature_mean: Option<f64>,
    /// The mean of the flows' averages.
    pub flow_mean: Option<f64>,
    /// The largest difference between a pressure's largest and smallest reading.
    pub pressure_range: Option<f64>,
    /// The mean of std / avg over the pressures with an average that is not zero.
    pub pressure_variability: Option<f64>,
    /// The mean flow for the mean pressure.
    pub flow_pressure_ratio: Option<f64>,
    /// Efficiency times cooling efficiency, in percent.
    pub efficiency_index: Option<f64>,
}

impl SyncRow {
    /// The row of a group of [`SensorRow`]s; `size_us` is the length of a window.
    pub(super) fn of(row: Pivoted<i64, Stats>, size_us: i64) -> SyncRow {
        let end_us = row.time_us + 1;
        let mut stats = [None; SENSOR_COUNT];
        for (place, lane) in stats.iter_mut().zip(row.lanes) {
            *place = lane;
        }
        let present = (0..SENSOR_COUNT).filter(|sensor| stats[*sensor].is_some()).collect();
        SyncRow { start_us: end_us - size_us, end_us, cycle: row.group, stats, present }
    }

    /// The largest Kafka timestamp among the readings of `sensors`.
    pub(super) fn kafka_ms(&self, sensors: SensorSet) -> Option<i64> {
        sensors.iter().filter_map(|sensor| self.stats[sensor]?.kafka_ms).max()
    }

    /// The derived columns. A value that is not finite is null: it is beyond `f64`, and nothing that follows from
    /// it would mean anything.
    pub fn derived(&self) -> Derived {
        let stats = |sensors: std::ops::Range<usize>| self.stats[sensors].iter().flatten();
        let mean_of = |sensors| mean(stats(sensors).map(|stats| stats.avg));
        let pressure_mean = mean_of(PRESSURES);
        let flow_mean = mean_of(FLOWS);
        let ranges = stats(PRESSURES).map(|stats| stats.max - stats.min);
        let ratios = stats(PRESSURES).filter(|stats| stats.avg != 0.0).map(|stats| stats.std / stats.avg);
        let average = |sensor: usize| self.stats[sensor].map(|stats| stats.avg);
        Derived {
            pressure_mean,
            temperature_mean: mean_of(TEMPERATURES),
            flow_mean,
            pressure_range: ranges.reduce(f64::max).filter(|range| range.is_finite()),
            pressure_variability: mean(ratios),
            flow_pressure_ratio: pressure_mean.zip(flow_mean).and_then(|(pressure, flow)| {
                // Not finite for a pressure of 0; never −0.0.
                Some(flow / pressure + 0.0).filter(|ratio| ratio.is_finite())
            }),
            efficiency_index: average(EFFICIENCY)
                .zip(average(COOLING))
                .map(|(se, ce)| se * ce / 100.0 + 0.0)
                .filter(|index| index.is_finite()),
        }
    }
}

/// The `f64` nearest to the exact mean; `None` of nothing, or where a value is not finite.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (ExactSum::default(), 0);
    for value in values {
        sum.add(Finite::new(value)?);
        count += 1;
    }
    sum.mean(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(avg: f64, min: f64, max: f64, std: f64) -> Option<Stats> {
        Some(Stats { avg, min, max, std, count: 10, kafka_ms: None })
    }

    fn row(of: &[(usize, Option<Stats>)]) -> SyncRow {
        let mut stats = [None; SENSOR_COUNT];
        of.iter().for_each(|(sensor, of)| stats[*sensor] = *of);
        SyncRow { start_us: 0, end_us: 1, cycle: 0, stats, present: SensorSet::default() }
    }

    #[test]
    fn derived_columns_are_over_the_sensors_present() {
        let derived = row(&[
            (0, stats(100.0, 90.0, 110.0, 5.0)),
            (1, stats(0.0, -30.0, 30.0, 9.0)),
            (7, stats(8.0, 8.0, 8.0, 0.0)),
            (14, stats(40.0, 40.0, 40.0, 0.0)),
            (16, stats(60.0, 60.0, 60.0, 0.0)),
        ])
        .derived();
        let expected = Derived {
            pressure_mean: Some(50.0),
            temperature_mean: None,
            flow_mean: Some(8.0),
            pressure_range: Some(60.0),
            // PS2's average is zero, so it does not qualify.
            pressure_variability: Some(0.05),
            flow_pressure_ratio: Some(0.16),
            efficiency_index: Some(24.0),
        };
        assert_eq!(derived, expected);
        assert_eq!(row(&[]).derived(), Derived::default());
    }

    #[test]
    fn what_is_not_finite_or_divides_by_zero_is_null() {
        let derived = row(&[
            (0, stats(0.0, -1e308, 1e308, f64::INFINITY)),
            (7, stats(8.0, 8.0, 8.0, 0.0)),
            (14, stats(1e300, 0.0, 0.0, 0.0)),
            (16, stats(1e300, 0.0, 0.0, 0.0)),
        ])
        .derived();
        let expected = Derived { pressure_mean: Some(0.0), flow_mean: Some(8.0), ..Derived::default() };
        assert_eq!(derived, expected);
    }

    #[test]
    fn mean_is_rounded_once() {
        assert_eq!(mean([1e16, 1.0, -1e16, 2.0].into_iter()), Some(0.75));
        assert_eq!(mean(std::iter::empty()), None);
    }
}
