//! The other pipelines beside loops by hand, from a record to its rows.
//!
//! Question: what do `iot`, `hydraulic` and `transit` cost a record on one worker, from decoding over windows to rows? Nothing is written.
//! Data: that of `tidegate generate`, with its late, unusable and repeated records. Rivals: `iot.rs`, `hydraulic.rs` and `transit.rs`, loops
//! that read the same records of the same reader and give the same rows, lines and counts, as their digests tell.
//!
//! The engine makes a digest (SHA-256) of every row and line, where the activity bench only counts results; so the loop that it is held to
//! makes them too. What is left of the ratio beside a loop that makes none is printed as well: the figure without a bound.

mod discard;
mod feed;
mod hydraulic;
mod iot;
mod made;
mod rules;
mod transit;

use std::sync::Arc;

use tidegate::delivery::OutputTally;
use tidegate::record::Record;
use tidegate::source::{Assignment, Poll, Source, Visit};
use tidegate_dataflows::pipeline::{Pipeline, Pipelines};
use tidegate_dataflows::replay::BATCH;

use crate::engine;
use crate::input::Arguments;
use crate::measure::{Report, Rows, Timed, in_turns};

/// How many times the loop by hand a pipeline may take.
const AT_MOST: f64 = 2.0;

/// What was found, to be compared: counts of events, and rows with their digests by output, as far as the loop makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    rejected: u64,
    accepted: u64,
    counted: u64,
    late: u64,
    outputs: Vec<OutputTally>,
}

impl Answer {
    /// The same without digests.
    fn counts(&self) -> Answer {
        let rows = self.outputs.iter().map(|output| OutputTally { rows: output.rows, ..Default::default() });
        Answer { outputs: rows.collect(), ..self.clone() }
    }
}

impl Rows for Answer {
    fn rows(&self) -> u64 {
        self.outputs.iter().map(|output| output.rows).sum()
    }
}

/// A pipeline, its input, and the loop that it is held to, which makes digests where it is told to.
struct Held {
    name: &'static str,
    source: Arc<dyn Source>,
    by_hand: fn(&dyn Source, bool) -> Answer,
}

impl Held {
    /// The engine's answer, as far as the loop makes one.
    fn engine(&self, outputs: usize) -> Answer {
        let pipeline: Arc<dyn Pipeline> = Pipelines::default().called(self.name);
        let (counts, mut tallies) = engine::drive(&pipeline, &self.source, 1, BATCH, true);
        tallies.truncate(outputs);
        Answer {
            rejected: counts.rejected.iter().sum(),
            accepted: counts.accepted,
            counted: counts.outputs[0].counted,
            late: counts.outputs[0].late,
            outputs: tallies,
        }
    }
}

/// Measures the pipelines that are asked for.
pub(crate) fn measure(arguments: &Arguments, report: &mut Report) {
    let mut held = |name, make: fn(usize) -> Arc<dyn Source>, by_hand| {
        if arguments.wants(name) {
            compare(&Held { name, source: make(arguments.records), by_hand }, arguments.rounds, report);
        }
    };
    held("iot", made::readings, iot::by_hand);
    held("hydraulic", made::rig, hydraulic::by_hand);
    held("transit", made::feed, transit::by_hand);
}

fn compare(held: &Held, rounds: usize, report: &mut Report) {
    let (name, source) = (held.name, &*held.source);
    let wanted = (held.by_hand)(source, true);
    let outputs = wanted.outputs.len();
    assert!(wanted.accepted > 0 && wanted.late > 0 && wanted.outputs.iter().all(|output| output.rows > 0));
    let [bare, by_hand, engine] = in_turns(
        rounds,
        [
            &mut || Timed::of(|| (held.by_hand)(source, false)),
            &mut || Timed::of(|| (held.by_hand)(source, true)),
            &mut || Timed::of(|| held.engine(outputs)),
        ],
    );
    assert_eq!(engine.best().found, wanted, "{name}: engine and loop must give the same rows");
    assert_eq!(bare.best().found, wanted.counts(), "{name}: the loop must find the same without digests");
    report.over(wanted.accepted + wanted.rejected);
    report.time(&format!("{name}, by hand, no digests"), &bare);
    report.time(&format!("{name}, by hand"), &by_hand);
    report.time(&format!("{name}, engine, 1 worker"), &engine);
    report.figure(&format!("{name}, 1 worker / by hand"), engine.cpu_to(&by_hand), AT_MOST);
    report.figure(&format!("{name}, 1 worker / by hand, no digests"), engine.cpu_to(&bare), f64::NAN);
}

/// Shows all records of a source to `visit`, partition by partition, with the partition's place.
fn each_record(source: &dyn Source, mut visit: impl FnMut(usize, &Record<'_>)) {
    let all = 0..source.partitions().len();
    let all: Vec<Assignment> = all.map(|partition| Assignment { partition, from_offset: 0 }).collect();
    let mut reader = source.reader(&all).expect("records in memory can be read");
    for lane in 0..reader.lanes() {
        let mut show = |partition: usize, record: &Record<'_>| {
            visit(partition, record);
            Visit::Taken
        };
        while reader.poll(lane, BATCH, &mut show).expect("records in memory can be read") == Poll::More {}
    }
}

/// Whether an event time is too far after its record's Kafka timestamp.
fn is_ahead(time_us: i64, record: &Record<'_>) -> bool {
    record.kafka_time.ms().is_some_and(|ms| time_us > ms * 1_000 + 3_600_000_000)
}
