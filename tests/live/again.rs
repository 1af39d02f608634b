//! Runs that are started again on a log that is not what it was.

use crate::harness::{Place, SECOND, ZERO_US, same};

#[test]
fn partition_that_has_ended_must_not_go_on() {
    for workers in [1, 2] {
        let place = Place::new(2);
        let live = place.start(workers);
        place.views(0, &[0]);
        place.logs[0].close();
        place.views(1, &[0, 60, 600]);
        let manifest = place.decided("windows that have closed on the end of partition 0", |manifest| {
            manifest.watermark_us >= ZERO_US + 480 * SECOND
        });
        assert!(manifest.partitions[0].ended && !manifest.partitions[1].ended);
        live.stop();
        place.views(0, &[30]);
        let refusal = place.start(3 - workers).refused();
        assert!(refusal.contains("user_activity-0 has grown"), "{refusal}");
    }
}

#[test]
fn partition_that_has_ended_holds_nothing_open_after_a_restart() {
    let place = Place::new(2);
    let live = place.start(1);
    place.views(0, &[0]);
    place.logs[0].close();
    place.views(1, &[0, 600]);
    place.decided("closed windows", |manifest| manifest.watermark_us >= ZERO_US + 480 * SECOND);
    live.crash();
    assert!(place.damage(), "the newest state is gone: its epoch is repeated");
    let live = place.start(2);
    place.views(1, &[1_200]);
    place.decided("further windows", |manifest| manifest.watermark_us >= ZERO_US + 1_080 * SECOND);
    place.logs[1].close();
    let summary = live.finished();
    assert_eq!(same(place.replayed(1)), same(summary));
}

#[test]
fn window_that_the_first_records_after_a_restart_close_is_given() {
    for workers in [1, 2, 3] {
        let place = Place::new(2);
        let live = place.start(workers);
        place.views(1, &[261, 600]);
        place.decided("the records", |manifest| manifest.counts.read == 2);
        live.stop();
        // The only partition that held the window of 261 s open.
        place.views(0, &[845]);
        place.logs.iter().for_each(|log| log.close());
        let summary = place.start(workers).finished();
        assert_eq!(summary.outputs.get("page_view_counts").expect("an output").rows, 3);
        assert_eq!(same(place.replayed(1)), same(summary));
    }
}

#[test]
fn finished_run_stays_finished_and_says_when_its_log_has_grown() {
    let place = Place::new(2);
    place.views(0, &[0, 60]);
    place.views(1, &[0, 600]);
    place.logs.iter().for_each(|log| log.close());
    let summary = same(place.start(2).finished());
    assert_eq!(same(place.start(1).finished()), summary);
    place.views(1, &[700]);
    let refusal = place.start(1).refused();
    assert!(refusal.contains("user_activity-1 has grown"), "{refusal}");
}

#[test]
fn partition_that_is_added_while_it_runs_is_read_without_a_restart_of_the_program() {
    for workers in [1, 3] {
        let mut place = Place::new(1);
        let live = place.start(workers);
        place.views(0, &[0, 30, 90]);
        place.decided("the first partition", |manifest| manifest.counts.read == 3);
        place.add_partition();
        place.views(1, &[40, 100]);
        let manifest = place.decided("the second partition", |manifest| manifest.counts.read == 5);
        assert_eq!(manifest.partitions.len(), 2);
        place.views(0, &[600]);
        place.views(1, &[620]);
        place.logs.iter().for_each(|log| log.close());
        let summary = live.finished();
        assert_eq!(summary.read, 7);
        assert_eq!(same(place.replayed(1)), same(summary));
    }
}

#[test]
fn topic_that_is_made_again_while_it_is_read_ends_the_run() {
    let place = Place::new(1);
    let live = place.start(1);
    place.views(0, &[0]);
    place.decided("the record", |manifest| manifest.counts.read == 1);
    place.topics.replace("user_activity");
    let refusal = live.refused();
    assert!(refusal.contains("user_activity") && refusal.contains("made again"), "{refusal}");
}
