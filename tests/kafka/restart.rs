//! A broker that dies in the middle and comes back. It disturbs every other test, so it runs alone:
//! `TIDEGATE_TEST_KAFKA_SCRIPT` names the script that kills and starts the broker.

use std::process::Command;
use std::time::Instant;

use tidegate::source::Source;
use tidegate::source::kafka::{KafkaSource, Settings};

use super::harness::*;

#[test]
fn broker_killed_in_the_middle_loses_and_repeats_nothing() {
    let Some(broker) = broker() else { return };
    let Ok(script) = std::env::var("TIDEGATE_TEST_KAFKA_SCRIPT") else {
        println!("NOT TESTED: TIDEGATE_TEST_KAFKA_SCRIPT names no script that stops the broker");
        return;
    };
    let tell = |verb: &str| {
        let status = Command::new(&script).arg(verb).status().unwrap();
        assert!(status.success(), "{script} {verb}: {status}");
    };
    let settings = topic(&broker, "restart", 2, &[]);
    let name = settings.topics[0].clone();
    for partition in 0..2 {
        produce(&broker, &name, partition, 0..50_000);
    }
    // So little is fetched ahead that most is still to be fetched when the broker dies.
    let settings = Settings { buffer_bytes: 0, ..settings };
    let source = KafkaSource::open(settings).unwrap();
    let mut reader = source.reader(&assign(&[0, 0])).unwrap();
    let mut read = [Vec::new(), Vec::new()];
    let deadline = Instant::now() + 4 * PATIENCE;
    while read[0].len() < 1_000 {
        take(&mut *reader, 0, 500, &mut read[0]).unwrap();
        assert!(Instant::now() < deadline);
    }

    tell("kill");
    // What is buffered goes on, and nothing else comes; the end is not taken for reached.
    for (lane, read) in read.iter_mut().enumerate() {
        for _ in 0..100 {
            take(&mut *reader, lane, 10, read).unwrap();
        }
        assert!(!reader.confirm_end(lane), "nobody is there to ask");
    }
    tell("start");
    produce(&broker, &name, 1, 50_000..50_010);

    let expected = [50_000, 50_010];
    while (0..2).any(|lane| read[lane].len() < expected[lane] || !reader.status(lane).unwrap().at_end) {
        for (lane, read) in read.iter_mut().enumerate() {
            take(&mut *reader, lane, 1_000, read).unwrap();
        }
        assert!(Instant::now() < deadline, "{:?} {:?}", reader.status(0), reader.status(1));
    }
    for (read, count) in read.iter().zip(expected) {
        assert_eq!(texts(read), numbers(0..count));
    }
}
