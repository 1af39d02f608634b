//! Sensors of the rig that repeat themselves: a record that comes twice, and a value that never changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::ingest::Interleave;
use tidegate::record::Partition;
use tidegate::source::memory::{MemorySource, OwnedRecord};
use tidegate::time;
use tidegate_dataflows::hydraulic::Config;

use crate::harness::{SECOND, ZERO_US, plan, record, tables_of};

const MILLISECOND: i64 = SECOND / 1000;

/// A reading of PS1, `us` after the zero of all times; a cycle is a minute.
fn reading(offset: i64, us: i64, value: f64) -> OwnedRecord {
    let time = time::format(ZERO_US + us);
    let (time, cycle) = (String::from_utf8_lossy(&time), us / (60 * SECOND));
    let json = format!(r#"{{"sensor":"PS1","cycle":{cycle},"timestamp":"{time}","value":{value}}}"#);
    record(offset, us, json)
}

/// The rows of `sensor_features`, `synchronized_features` and `anomalies`.
fn replayed(log: Vec<OwnedRecord>) -> [Vec<String>; 3] {
    let source = MemorySource::new(BTreeMap::from([(Partition::new("hydraulic-PS1", 0), log)]));
    let plan = plan(1, Interleave::Aligned, 4096);
    tables_of(Arc::new(Config::default()), Arc::new(source), &plan).try_into().expect("three tables")
}

/// Two readings of 150 bar in each of the first `seconds`.
fn stuck(seconds: i64) -> Vec<OwnedRecord> {
    (0..2 * seconds).map(|n| reading(n, n * SECOND / 2, 150.0)).collect()
}

#[test]
fn a_reading_that_comes_at_two_offsets_counts_twice() {
    let first = reading(0, 0, 100.0);
    let again = OwnedRecord { offset: 1, ..first.clone() };
    let third = reading(2, 10 * MILLISECOND, 160.0);
    // At an offset that has been read it is the same record, and counts for nothing.
    let [features, synchronized, anomalies] = replayed(vec![first, again.clone(), again, third]);
    // The squares of −20, −20 and 40, by 2.
    let deviation = 1_200_f64.sqrt();
    assert_eq!(features, [format!("0s 1s 0 PS1 120 100 160 {deviation} 3")]);
    assert!(
        synchronized[0].starts_with(&format!("0s 1s 0 120 100 160 {deviation} 3 null")),
        "{synchronized:?}"
    );
    // A range of 60 bar within a second is one.
    assert_eq!(anomalies.len(), 1);
    assert!(anomalies[0].starts_with("0s 0 pressure_spike warning null 60 50 "), "{anomalies:?}");
}

#[test]
fn a_stuck_sensor_has_no_deviation_and_is_no_anomaly() {
    // Long enough for every rule: 60 rows of the score, five cycles of the pattern.
    let [features, synchronized, anomalies] = replayed(stuck(400));
    assert_eq!((features.len(), synchronized.len()), (400, 400));
    assert!(features.iter().all(|row| row.ends_with(" PS1 150 150 150 0 2")), "{features:?}");
    assert_eq!(anomalies, [""; 0]);
}

#[test]
fn the_first_other_value_of_a_stuck_sensor_has_no_score() {
    // Any distance is beyond every number of deviations of zero: `zscore` says nothing. A bar is no sudden change.
    let mut log = stuck(70);
    log.push(reading(140, 70 * SECOND, 151.0));
    let [features, _, anomalies] = replayed(log);
    assert_eq!(features.iter().filter(|row| row.contains(" PS1 151 ")).count(), 1);
    assert_eq!(anomalies, [""; 0]);
}
