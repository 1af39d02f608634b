//! Sensors of the rig that repeat themselves, that are missing or fall silent, and instants far from the others.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tidegate::ingest::Interleave;
use tidegate::record::Partition;
use tidegate::source::fixture::KcatWriter;
use tidegate::source::memory::{MemorySource, OwnedRecord};
use tidegate::time;
use tidegate_dataflows::hydraulic::{Config, SENSOR_COUNT, SENSORS, SensorSet, SilentPolicy};

use crate::harness::{SECOND, ZERO_US, plan, record, replay_into, tables_of};

const MILLISECOND: i64 = SECOND / 1000;

/// A reading of a sensor as JSON; a cycle is a minute.
fn json(sensor: &str, us: i64, value: f64) -> String {
    let time = time::format(ZERO_US + us);
    let (time, cycle) = (String::from_utf8_lossy(&time), us.div_euclid(60 * SECOND));
    format!(r#"{{"sensor":"{sensor}","cycle":{cycle},"timestamp":"{time}","value":{value}}}"#)
}

/// A reading of PS1, `us` after the zero of all times.
fn reading(offset: i64, us: i64, value: f64) -> OwnedRecord {
    record(offset, us, json("PS1", us, value))
}

/// The log of each sensor's topic.
type Logs = BTreeMap<Partition, Vec<OwnedRecord>>;

fn topic(sensor: &str) -> Partition {
    Partition::new(&format!("hydraulic-{sensor}"), 0)
}

/// The rows of `sensor_features`, `synchronized_features` and `anomalies`.
fn replayed_with(config: Config, logs: Logs) -> [Vec<String>; 3] {
    let plan = plan(1, Interleave::Aligned, 4096);
    let source = Arc::new(MemorySource::new(logs));
    tables_of(Arc::new(config), source, &plan).try_into().expect("three tables")
}

/// The same of a log of PS1.
fn replayed(log: Vec<OwnedRecord>) -> [Vec<String>; 3] {
    replayed_with(Config::default(), BTreeMap::from([(topic("PS1"), log)]))
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

/// What a sensor measures in [`rig`], all the time: 50 and its number.
fn constant(sensor: usize) -> f64 {
    50.0 + sensor as f64
}

/// A reading of each sensor in each of three seconds.
fn rig() -> Logs {
    let log = |sensor: usize| {
        let name = SENSORS[sensor];
        let one = |n: i64| record(n, n * SECOND, json(name, n * SECOND, constant(sensor)));
        (topic(name), (0..3).map(one).collect())
    };
    (0..SENSOR_COUNT).map(log).collect()
}

/// [`rig`] without the topic of a sensor.
fn rig_without(sensor: usize) -> Logs {
    let mut logs = rig();
    logs.remove(&topic(SENSORS[sensor])).expect("it was there");
    logs
}

/// What follows the bounds and the cycle in each row of `synchronized_features` where `missing` says nothing.
fn synchronized_without(missing: usize) -> String {
    let there = |sensor: usize| (sensor != missing).then(|| constant(sensor));
    let mut cells = Vec::new();
    for sensor in 0..SENSOR_COUNT {
        cells.extend(match there(sensor) {
            Some(value) => [value, value, value, 0.0, 1.0].map(Some),
            None => [None; 5],
        });
    }
    cells.push(Some(16.0));
    let mean = |sensors: std::ops::Range<usize>| {
        let values: Vec<f64> = sensors.filter_map(there).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    // PS1 to PS6, TS1 to TS4, FS1 and FS2; a constant has neither range nor variability; SE and CE.
    let (pressure, temperature, flow) = (mean(0..6), mean(9..13), mean(7..9));
    cells.extend([pressure, temperature, flow, 0.0, 0.0, flow / pressure].map(Some));
    cells.push(there(16).zip(there(14)).map(|(se, ce)| se * ce / 100.0));
    let texts = cells.iter().map(|cell| cell.map_or("null".to_owned(), |value| value.to_string()));
    texts.collect::<Vec<_>>().join(" ")
}

#[test]
fn whichever_sensor_has_no_topic_is_null_and_all_else_is_there() {
    let [all, ..] = replayed_with(Config::default(), rig());
    assert_eq!(all.len(), 3 * SENSOR_COUNT);
    for (missing, name) in SENSORS.iter().enumerate() {
        let [features, synchronized, anomalies] = replayed_with(Config::default(), rig_without(missing));
        let of_others = all.iter().filter(|row| !row.contains(&format!(" {name} "))).cloned();
        assert_eq!(features, of_others.collect::<Vec<_>>(), "without {name}");
        let rest = synchronized_without(missing);
        let expected = [0, 1, 2].map(|second| format!("{second}s {}s 0 {rest}", second + 1));
        assert_eq!(synchronized, expected, "without {name}");
        assert_eq!(anomalies, [""; 0], "without {name}");
    }
}

#[test]
fn a_topic_without_a_record_is_like_none() {
    for sensor in [0, 8, 16] {
        let mut logs = rig_without(sensor);
        let expected = replayed_with(Config::default(), logs.clone());
        logs.insert(topic(SENSORS[sensor]), Vec::new());
        assert_eq!(replayed_with(Config::default(), logs), expected, "{}", SENSORS[sensor]);
    }
}

#[test]
fn a_topic_of_nothing_but_poison_is_like_none() {
    let mut logs = rig_without(0);
    let expected = replayed_with(Config::default(), logs.clone());
    let poison = ["null", "\"NaN\"", "NaN", "1e400", "true"];
    let broken = |(n, value): (i64, &str)| {
        record(n, n * SECOND, json("PS1", n * SECOND, 1.0).replace(":1}", &format!(":{value}}}")))
    };
    logs.insert(topic("PS1"), (0..).zip(poison).map(broken).collect());
    assert_eq!(replayed_with(Config::default(), logs), expected);
}

#[test]
fn a_fixture_without_the_file_of_a_sensor_is_replayed_with_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = dir.path().join("in");
    fs::create_dir(&fixture).expect("made");
    for (partition, log) in rig_without(4) {
        let mut out = KcatWriter::create(&fixture.join(format!("{}.jsonl", partition.topic))).expect("made");
        log.iter().for_each(|record| record.with(|record| out.write(&partition, record)).expect("written"));
        out.finish().expect("finished");
    }
    // PS6 has a file with nothing in it.
    fs::write(fixture.join("hydraulic-PS6.jsonl"), "").expect("written");
    let summary = replay_into("hydraulic", &fixture, &dir.path().join("out")).expect("a replay");
    let hydraulic = summary.pipelines.get("hydraulic").expect("the pipeline ran");
    assert_eq!((hydraulic.read, hydraulic.accepted), (45, 45));
    let rows = |name: &str| hydraulic.outputs.get(name).map(|output| output.rows);
    assert_eq!(rows("sensor_features"), Some(45));
    assert_eq!(rows("synchronized_features"), Some(3));
    assert_eq!(rows("lake/hydraulic"), Some(3));
    // What is nobody's is there all the same, and empty.
    assert_eq!(rows("hydraulic-PS5.late"), Some(0));
}

/// Two seconds of both sensors, then PS2 alone for four more.
fn falling_silent() -> Logs {
    let log = |name: &str, seconds: i64| {
        let one = |n: i64| record(n, n * SECOND, json(name, n * SECOND, 100.0 + n as f64));
        (topic(name), (0..seconds).map(one).collect())
    };
    BTreeMap::from([log("PS1", 2), log("PS2", 6)])
}

/// Of each row of `synchronized_features`: its second, the averages of PS1 and PS2, and how many sensors spoke.
fn averages(rows: &[String]) -> Vec<[&str; 4]> {
    let cells = rows.iter().map(|row| row.split(' ').collect::<Vec<_>>());
    cells.map(|cells| [cells[0], cells[3], cells[8], cells[3 + 5 * SENSOR_COUNT]]).collect()
}

#[test]
fn a_sensor_that_falls_silent_is_null_held_or_takes_its_rows_along() {
    let with = |silent, sensors: SensorSet| {
        let [features, synchronized, _] =
            replayed_with(Config { silent, sensors, ..Config::default() }, falling_silent());
        // Whatever is done about silence, what was measured is there.
        assert_eq!(features.len(), 8, "{silent:?}");
        synchronized
    };
    let spoken = [["0s", "100", "100", "2"], ["1s", "101", "101", "2"]];

    let rows = with(SilentPolicy::Null, SensorSet::ALL);
    assert_eq!(averages(&rows)[..2], spoken);
    let null = |second, other| [second, "null", other, "1"];
    let alone = [null("2s", "102"), null("3s", "103"), null("4s", "104"), null("5s", "105")];
    assert_eq!(averages(&rows)[2..], alone);

    // Seconds that start up to 2 s after the second that is held; who is held has not spoken.
    let rows = with(SilentPolicy::Hold(Duration::from_secs(2)), SensorSet::ALL);
    assert_eq!(averages(&rows)[..2], spoken);
    let held = |second, other| [second, "101", other, "1"];
    assert_eq!(averages(&rows)[2..], [held("2s", "102"), held("3s", "103"), alone[2], alone[3]]);

    let both: SensorSet = [0, 1].into_iter().collect();
    assert_eq!(averages(&with(SilentPolicy::Drop, both)), spoken);
    // Fifteen that are configured never speak.
    assert_eq!(with(SilentPolicy::Drop, SensorSet::ALL), [""; 0]);
}

#[test]
fn a_sensor_without_a_topic_is_never_held_and_drops_every_row_unless_it_is_left_out() {
    let with =
        |silent, sensors| replayed_with(Config { silent, sensors, ..Config::default() }, rig_without(2));
    let hold = SilentPolicy::Hold(Duration::from_secs(3600));
    assert_eq!(with(hold, SensorSet::ALL), with(SilentPolicy::Null, SensorSet::ALL));
    let [features, synchronized, _] = with(SilentPolicy::Drop, SensorSet::ALL);
    assert_eq!((features.len(), synchronized.len()), (48, 0));
    let others: SensorSet = (0..SENSOR_COUNT).filter(|sensor| *sensor != 2).collect();
    assert_eq!(with(SilentPolicy::Drop, others), with(SilentPolicy::Null, SensorSet::ALL));
}

#[test]
fn the_first_and_the_last_second_of_the_calendar_and_those_around_the_epoch_have_their_rows() {
    let at = |offset, time: &str, value: f64| {
        let json = format!(r#"{{"sensor":"PS1","cycle":-1,"timestamp":{time},"value":{value}}}"#);
        // Without a Kafka timestamp, so that no time is ahead of it.
        OwnedRecord::of_value(offset, json)
    };
    let [features, synchronized, anomalies] = replayed(vec![
        at(0, "\"0001-01-01T00:00:00Z\"", 1.0),
        at(1, "\"0001-01-01T00:00:00.999999Z\"", 3.0),
        at(2, "\"0001-01-01T00:00:01Z\"", 4.0),
        at(3, "-1", 5.0),
        at(4, "0", 6.0),
        at(5, "\"9999-12-31T23:59:58.999999Z\"", 7.0),
        at(6, "\"9999-12-31T23:59:59.999999Z\"", 8.0),
    ]);
    let row = |us: i64, rest: &str| {
        let start = (us - ZERO_US) / SECOND;
        format!("{start}s {}s -1 PS1 {rest}", start + 1)
    };
    let first = |second: i64| time::MIN_US + second * SECOND;
    let last = |second: i64| time::MAX_US + 1 + second * SECOND;
    let mut expected = vec![
        row(first(0), &format!("2 1 3 {} 2", 2_f64.sqrt())),
        row(first(1), "4 4 4 0 1"),
        row(-SECOND, "5 5 5 0 1"),
        row(0, "6 6 6 0 1"),
        row(last(-2), "7 7 7 0 1"),
        row(last(-1), "8 8 8 0 1"),
    ];
    expected.sort();
    assert_eq!(features, expected);
    assert_eq!(synchronized.len(), 6);
    // Two thousand years from one row to the next are no sudden change, and no row is a minute of others.
    assert_eq!(anomalies, [""; 0]);
}

#[test]
fn a_second_of_the_year_1_is_late_after_the_year_9999_and_costs_nothing_else() {
    let at = |offset, time: &str| {
        let json = format!(r#"{{"sensor":"PS1","cycle":0,"timestamp":"{time}","value":1}}"#);
        OwnedRecord::of_value(offset, json)
    };
    let [features, ..] = replayed(vec![
        at(0, "9999-12-31T23:59:59.999999Z"),
        at(1, "0001-01-01T00:00:00Z"),
        at(2, "9999-12-31T23:59:59Z"),
    ]);
    assert_eq!(features.len(), 1);
    assert!(features[0].ends_with(" 0 PS1 1 1 1 0 2"), "{features:?}");
}
