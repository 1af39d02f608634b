//! Columns of wall-clock time.

use std::collections::BTreeSet;

use tidegate::runtime::{Clock, SystemClock};
use tidegate::time;

use crate::harness::Place;

/// What the lines of `enriched_activity` say, each.
fn processing_times(place: &Place) -> Vec<String> {
    let of = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        let event: serde_json::Value =
            serde_json::from_str(line["payload"].as_str().expect("a payload")).expect("an event");
        event["processing_time"].as_str().expect("a time").to_owned()
    };
    place.lines("enriched_activity").into_iter().map(of).collect()
}

fn text(us: i64) -> String {
    String::from_utf8_lossy(&time::format(us)).into_owned()
}

#[test]
fn they_are_read_once_an_epoch_and_kept_in_its_manifest() {
    let place = Place::new(3);
    let before_us = SystemClock.now_us();
    let live = place.start_by_the_clock(2);
    place.views(0, &[0, 1, 2]);
    place.views(1, &[0, 4]);
    let first = place.decided("the first records", |manifest| manifest.counts.accepted == 5);
    live.crash();
    assert!(place.damage(), "the newest state is gone: its epoch is repeated");
    let live = place.start_by_the_clock(3);
    let again = place.decided("the same epoch", |manifest| manifest.counts.accepted == 5);
    assert!(again.epoch > first.epoch || again.wall_us == first.wall_us, "{again:?} after {first:?}");
    place.views(2, &[5]);
    place.logs.iter().for_each(|log| log.close());
    live.finished();
    let last = place.manifest().expect("it is there");
    let wall_us = last.wall_us.expect("the run was live");
    let times = processing_times(&place);
    assert_eq!(times.len(), 6);
    let all: BTreeSet<_> = times.iter().collect();
    // Those of partition 2 came long after the others.
    assert!(all.len() >= 2 && all.len() as u64 <= last.epoch, "{all:?} in {} epochs", last.epoch);
    let within = text(before_us)..=text(wall_us);
    assert!(all.iter().all(|time| within.contains(*time)), "{all:?} within {within:?}");
}

#[test]
fn where_nothing_is_live_they_repeat_kafkas_timestamps() {
    let place = Place::new(1);
    let live = place.start(1);
    place.views(0, &[0, 61]);
    place.logs[0].close();
    live.finished();
    assert_eq!(place.manifest().expect("it is there").wall_us, None);
    assert_eq!(processing_times(&place), ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:01:01.000000Z"]);
}
