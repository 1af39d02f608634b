//! Partitions that fall silent.

use crate::harness::{Place, SECOND, ZERO_US, same};

/// A partition that goes on while the other is silent, until windows have closed without that one.
fn silent_partition(place: &Place, reaches: i64) {
    place.views(0, &[0, 20, 40, 60]);
    place.views(1, &[0, 10]);
    let mut second = 60;
    place.decided("a window that closes without partition 1", |manifest| {
        // Nothing waits for the clock but the silent partition: the other has a record every time.
        let seen = place.logs[0].records().len();
        if manifest.counts.read as usize >= seen + 2 {
            second += 60;
            place.views(0, &[second]);
            place.clock.pass(20);
        }
        manifest.watermark_us >= ZERO_US + reaches * SECOND
    });
}

#[test]
fn silent_partition_is_released_and_its_late_comers_are_idle_not_late() {
    for workers in [1, 2, 3] {
        let place = Place::new(2);
        let live = place.start(workers);
        silent_partition(&place, 600);
        // Partition 1 stands at 10 s − 2 min: by its own watermark nothing of this is late.
        place.views(1, &[30, 50, 5_000]);
        place.decided("the silent partition's records", |manifest| {
            manifest.counts.read == (place.logs[0].records().len() + 5) as u64
        });
        place.logs.iter().for_each(|log| log.close());
        let summary = live.finished();
        let decisions = place.decisions();
        let first = decisions.iter().find(|it| it.partition.number == 1).expect("a decision");
        assert_eq!((first.offset, first.number), (2, 0));
        assert!(first.floor_us >= ZERO_US + 600 * SECOND, "{first:?}");
        for output in ["page_view_counts", "active_users", "user_sessions"] {
            let counts = summary.outputs.get(output).expect("an output");
            assert_eq!((counts.late, counts.idle), (Some(0), Some(2)), "{workers} workers, {output}");
        }
        assert_eq!(summary.outputs.get("user_activity.late").expect("an output").rows, 2);
        for again in [1, 2, 3] {
            assert_eq!(same(place.replayed(again)), same(summary.clone()), "{workers} live, {again} replay");
        }
    }
}

#[test]
fn event_time_goes_on_with_the_clock_when_all_partitions_are_idle() {
    for workers in [1, 2] {
        let place = Place::new(2);
        let live = place.start(workers);
        place.views(0, &[0, 31]);
        place.decided("all records", |manifest| manifest.counts.read == 2);
        // Event time stands at 31 s − 2 min; the window ends at 60 s.
        place.decided("a window that nobody holds open", |manifest| {
            place.clock.pass(10);
            manifest.watermark_us >= ZERO_US + 60 * SECOND
        });
        live.stop();
        let manifest = place.decided("the last epoch", |_| true);
        assert!(manifest.partitions.iter().all(|cut| cut.released));
        assert_eq!(manifest.tallies[0].rows, 2, "both pages of the closed window");
        // How far event time had come is written down, so that a replay knows what had timed out.
        assert_eq!(place.decisions().len(), 2);
        let live = place.start(3);
        place.views(1, &[10, 3_000]);
        place.decided("the new records", |manifest| manifest.counts.read == 4);
        place.logs.iter().for_each(|log| log.close());
        let summary = live.finished();
        assert_eq!(summary.outputs.get("page_view_counts").expect("an output").idle, Some(1));
        assert_eq!(same(place.replayed(2)), same(summary));
    }
}

/// The input ends while all partitions are idle: how far event time had come by the clock is written down there too.
#[test]
fn what_has_timed_out_by_the_clock_has_timed_out_in_the_replay() {
    for workers in [1, 2] {
        let place = Place::new(2);
        let live = place.start(workers);
        place.views(0, &[0, 31]);
        place.decided("the end of all sessions", |manifest| {
            place.clock.pass(10);
            manifest.watermark_us >= ZERO_US + 1_840 * SECOND
        });
        place.logs.iter().for_each(|log| log.close());
        let summary = live.finished();
        assert_eq!(place.decisions().len(), 2);
        assert_eq!(same(place.replayed(2)), same(summary));
    }
}

#[test]
fn partition_whose_broker_is_away_is_not_idle() {
    let place = Place::new(2);
    place.logs[1].set_away(true);
    let live = place.start(2);
    place.views(0, &[0, 60, 400]);
    for _ in 0..20 {
        place.clock.pass(60);
        let epoch = place.decided("an epoch", |_| true).epoch;
        place.decided("the next epoch", |manifest| manifest.epoch > epoch);
    }
    let manifest = place.decided("an epoch", |_| true);
    assert!(!manifest.partitions[1].released);
    assert_eq!(manifest.watermark_us, i64::MIN, "windows wait for what may still be there");
    place.logs[1].set_away(false);
    place.decided("a release", |manifest| {
        place.clock.pass(60);
        manifest.partitions[1].released && manifest.watermark_us >= ZERO_US + 280 * SECOND
    });
    live.stop();
}

#[test]
fn partition_found_while_running_is_released_from_the_start() {
    let mut place = Place::new(1);
    let live = place.start(2);
    place.views(0, &[0, 60, 600]);
    place.decided("closed windows", |manifest| manifest.watermark_us >= ZERO_US + 480 * SECOND);
    live.stop();
    place.add_partition();
    place.views(1, &[30, 700]);
    let live = place.start(3);
    place.decided("its records", |manifest| manifest.counts.read == 5);
    place.logs.iter().for_each(|log| log.close());
    let summary = live.finished();
    assert_eq!(
        summary.outputs.get("page_view_counts").expect("an output").idle,
        Some(1),
        "its window had been given without it"
    );
    let decisions = place.decisions();
    assert_eq!((decisions[0].partition.number, decisions[0].offset), (1, 0));
    assert_eq!(same(place.replayed(1)), same(summary));
}
