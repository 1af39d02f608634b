//! What does reading from a real broker cost above librdkafka's bare batch queue, and what do checkpoints cost?
//!
//! Question: the CPU time a record of the whole process, with `page_view_counts` as the only output and no sink. Rival: `bare.rs`, which
//! adds up the bytes of the same topic. Times are CPU time of the process; ratios are medians over rounds in which the rivals take turns.
//! `benches/live/run` starts a broker, fills a topic and runs this; without a broker it says so and measures nothing.
//!
//! ```text
//! cargo bench --workspace --bench live -- --bootstrap-servers HOST:PORT --topic user_activity [--rounds 5]
//! ```

#![allow(clippy::print_stdout)] // Printing is what it is for.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod bare;

use std::sync::Arc;
use std::time::Duration;

use cpu_time::ProcessTime;
use tidegate::ingest::{IdlePolicy, Interleave};
use tidegate::kafka::Properties;
use tidegate::runtime::{Cluster, Pace, SystemClock};
use tidegate::sink::Durability;
use tidegate::source::Source;
use tidegate::source::bounded::Bounded;
use tidegate::source::kafka::{KafkaSource, Settings};
use tidegate::storage::Location;
use tidegate_dataflows::activity::{Config, Selection};
use tidegate_dataflows::replay::BATCH;
use tidegate_dataflows::run::{Ended, Job, Options, run};
use tidegate_dataflows::targets::Targets;

/// Ten times as often as checkpoints that may cost 5 %.
const OFTEN: Duration = Duration::from_secs(1);
/// No epoch ends before the input does.
const NEVER: Duration = Duration::from_secs(1 << 20);

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let after = |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
    let Some(servers) = after("--bootstrap-servers") else {
        println!("no --bootstrap-servers: nothing is measured; benches/live/run starts a broker and does");
        return;
    };
    let topic = after("--topic").map_or("user_activity", String::as_str);
    let rounds = after("--rounds").and_then(|text| text.parse().ok()).unwrap_or(5);
    let settings = Settings::new(Properties::default().with("bootstrap.servers", servers), [topic]);
    let records: u64 = {
        let source = KafkaSource::open(settings.clone()).expect("the topic is there");
        source.partitions().iter().map(|partition| partition.records_hint).sum()
    };
    assert!(records > 0, "the topic is empty");

    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..rounds {
        times[0].push(timed(|| assert_eq!(bare::records(servers, topic), records)));
        times[1].push(timed(|| live(&settings, NEVER, records)));
        times[2].push(timed(|| live(&settings, OFTEN, records)));
    }
    let [bare, plain, often] = &times;
    let a_record = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min) * 1e9 / records as f64;
    println!("{records} records, {rounds} rounds; ns CPU of the process a record, the fastest round's:");
    println!("  librdkafka's batch queue, adding up bytes  {:>8.1}", a_record(bare));
    println!("  tidegate, page_view_counts                 {:>8.1}", a_record(plain));
    println!("  the same with a checkpoint a second        {:>8.1}", a_record(often));
    figure("tidegate / librdkafka", ratio(plain, bare), 1.6);
    figure("with a checkpoint a second / without", ratio(often, plain), 1.05);
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = ProcessTime::now();
    work();
    began.elapsed().as_secs_f64()
}

/// The median of the rounds' ratios.
fn ratio(of: &[f64], to: &[f64]) -> f64 {
    let mut ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| of / to).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn figure(name: &str, value: f64, at_most: f64) {
    let verdict = if value <= at_most { "kept" } else { "MISSED" };
    println!("= {name:<40} {value:>8.3}  at most {at_most}: {verdict}");
}

/// A live run to the topic's present end.
fn live(settings: &Settings, interval: Duration, records: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let source = KafkaSource::open(settings.clone()).expect("the topic is there");
    let ends = source.ends().expect("the broker says");
    let options = Options {
        out: dir.path().join("out"),
        checkpoint: Location::Dir(dir.path().join("checkpoint")),
        credentials: Default::default(),
        interval,
        memory_limit: None,
        keep: 3,
        refresh: Duration::from_secs(3_600),
        cluster: Cluster::threads(1),
        pace: Pace::Max,
        batch: BATCH,
        interleave: Interleave::Aligned,
        clock: Arc::new(SystemClock),
    };
    let only = Selection {
        active_users: false,
        sessions: false,
        lake: false,
        enriched: false,
        ..Selection::default()
    };
    let nowhere = Targets {
        tables: Vec::new(),
        lake: Vec::new(),
        topics: Vec::new(),
        ..Targets::embedded(Durability::Process)
    };
    let job = Job {
        pipeline: Arc::new(Config { topic: settings.topics[0].clone(), outputs: only, ..Config::default() }),
        source: Arc::new(Bounded::new(Arc::new(source), ends)),
        targets: nowhere,
        idle: IdlePolicy::default(),
    };
    match run(&options, &[job], &|_, _, _| ()).expect("nothing fails") {
        Ended::Finished(summary) => {
            assert_eq!(summary.pipelines.get("activity").map(|of| of.read), Some(records));
        }
        other => panic!("it did not come to its end: {other:?}"),
    }
}
