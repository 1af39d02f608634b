//! Prints the ratios that tidegate is held to, each between two measurements of one run.
//!
//! Question: what does the engine cost above the limit, a hand-written loop over the same bytes?
//! Data: 5 million activity events of about 130 bytes in 8 partitions, 1,000 pages, 100,000 users, 1 in 1,000 unusable.
//! Rival: `limit.rs`, whose rows are the same by their digest. All times are CPU time of the process unless they say wall, the fastest round's; ratios are the median of
//! those of the rounds, in each of which the rivals take turns. `pipelines/` asks the same of the other pipelines, with data and rivals of their own.
//!
//! ```text
//! cargo bench --bench ratios                         its own input, made from a seed
//! cargo bench --bench ratios -- --data DIR           p0.ndjson … of another generator
//! cargo bench --bench ratios -- --records 1000000 --rounds 3
//! cargo bench --bench ratios -- --only views|three|disk|sliding|rest|iot|hydraulic|transit
//! ```

#![allow(clippy::print_stdout)] // Printing is what it is for.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod engine;
mod input;
mod interner;
mod limit;
mod measure;
mod pipelines;

use engine::Engine;
use measure::{Timed, in_turns};
use tidegate_dataflows::activity::Selection;

fn main() {
    let arguments = input::Arguments::read();
    let mut report = measure::Report::default();
    if ["views", "three", "disk", "sliding", "rest"].iter().any(|part| arguments.wants(part)) {
        activity(&arguments, &mut report);
    }
    pipelines::measure(&arguments, &mut report);
    report.finish();
}

fn activity(arguments: &input::Arguments, report: &mut measure::Report) {
    let partitions = input::partitions(arguments);
    let records: u64 = partitions.iter().map(|p| bytecount(p)).sum();
    let slices: Vec<&[u8]> = partitions.iter().map(Vec::as_slice).collect();
    println!("input: {records} records, {} bytes, {} rounds", total(&slices), arguments.rounds);

    let memory = Engine::in_memory(&partitions);
    report.over(records);
    if arguments.wants("views") {
        page_views(arguments, &slices, &memory, report);
    }
    if arguments.wants("three") {
        all_three(arguments, &slices, &memory, report);
    }
    if arguments.wants("disk") {
        from_disk(arguments, &partitions, &memory, report);
    }
    if arguments.wants("sliding") {
        sliding(arguments, &partitions, report);
    }
    if arguments.wants("rest") {
        let overhead = memory.overhead(VIEWS, records, arguments.rounds);
        report.figure("with progress tracking and metrics / without", overhead, 1.05);
        report.figure("bytes per open (key, window)", engine::bytes_per_open_entry(), 150.0);
    }
}

const VIEWS: Selection = Selection { page_views: true, ..Engine::NOTHING };
const THREE: Selection = Selection { active_users: true, sessions: true, ..VIEWS };

fn page_views(arguments: &input::Arguments, slices: &[&[u8]], memory: &Engine, report: &mut measure::Report) {
    let [limit, one, two] = in_turns(
        arguments.rounds,
        [&mut || Timed::of(|| limit::page_views(slices).0), &mut || memory.run(1, VIEWS), &mut || {
            memory.run(2, VIEWS)
        }],
    );
    for engine in [&one, &two] {
        assert_eq!(
            engine.best().found.of_page_views(),
            limit.best().found.of_page_views(),
            "engine and limit must agree"
        );
    }
    let digest = limit::page_views(slices).1.digest();
    for workers in [1, 2] {
        assert_eq!(memory.digests(workers, VIEWS)[0], digest, "engine and limit must give the same rows");
    }
    report.time("limit, page views", &limit);
    report.time("engine, page views, 1 worker", &one);
    report.time("engine, page views, 2 workers", &two);
    report.figure("page views, 1 worker / limit", one.cpu_to(&limit), 1.3);
    report.figure("page views, CPU of 2 workers / 1 worker", two.cpu_to(&one), 1.2);
    report.figure("page views, wall of 2 workers / 1 worker", two.wall_to(&one), f64::NAN);
}

fn all_three(arguments: &input::Arguments, slices: &[&[u8]], memory: &Engine, report: &mut measure::Report) {
    let [limit, engine] = in_turns(
        arguments.rounds,
        [&mut || Timed::of(|| limit::all_three(slices).0), &mut || memory.run(1, THREE)],
    );
    assert_eq!(engine.best().found, limit.best().found, "engine and limit must agree");
    let digests = limit::all_three(slices).1.digests();
    assert_eq!(memory.digests(1, THREE), digests, "engine and limit must give the same rows");
    report.time("limit, all three", &limit);
    report.time("engine, all three, 1 worker", &engine);
    report.figure("all three, 1 worker / limit", engine.cpu_to(&limit), 2.0);
}

fn from_disk(
    arguments: &input::Arguments,
    partitions: &[Vec<u8>],
    memory: &Engine,
    report: &mut measure::Report,
) {
    let disk = Engine::on_segments(partitions);
    let [from_memory, from_disk] =
        in_turns(arguments.rounds, [&mut || memory.run(1, VIEWS), &mut || disk.run(1, VIEWS)]);
    assert_eq!(from_disk.best().found, from_memory.best().found, "the same records are the same rows");
    report.time("engine, page views, log segments on disk", &from_disk);
    report.figure("log segments on disk / memory", from_disk.cpu_to(&from_memory), 1.3);
    report.figure("start to first record, ms", disk.first_record_ms(), 300.0);
}

/// What it costs that windows overlap 300 times: 10 minutes of the data, where rows outnumber records.
fn sliding(arguments: &input::Arguments, partitions: &[Vec<u8>], report: &mut measure::Report) {
    let lines = input::ten_minutes(partitions);
    let short = Engine::in_memory(&lines);
    let [tumbling, sliding] =
        in_turns(arguments.rounds, [&mut || short.run(1, VIEWS), &mut || short.run_sliding(1)]);
    let slices: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    assert_eq!(sliding.best().found.rows[0], limit::sliding_rows(&slices), "the windows that it should have");
    report.time("10 minutes, tumbling 1 min", &tumbling);
    report.time("10 minutes, sliding 5 min / 1 s", &sliding);
    report.figure("sliding 5 min / 1 s / tumbling 1 min", sliding.cpu_to(&tumbling), 2.0);
}

fn bytecount(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

fn total(slices: &[&[u8]]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}
