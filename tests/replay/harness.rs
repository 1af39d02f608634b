//! A pipeline over records in memory, and everything that it gave.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tidegate::delivery::{Shared, SharedSink, Tallies};
use tidegate::ingest::{Counts, Interleave};
use tidegate::record::{KafkaTime, Partition};
use tidegate::rows::Cell;
use tidegate::runtime::{Cluster, Pace, Run, SystemClock};
use tidegate::sink::lake::LakeBatch;
use tidegate::sink::sqlite::TableBatch;
use tidegate::sink::topic::TopicBatch;
use tidegate::sink::{AnySink, Sink, SinkError, Staged};
use tidegate::source::Source;
use tidegate::source::memory::{MemorySource, OwnedRecord};
use tidegate::summary::Summary;
use tidegate::time;
use tidegate_dataflows::activity::{Config, OUTPUTS, TABLES};
use tidegate_dataflows::outputs::{Outputs, Plan};
use tidegate_dataflows::pipeline::{Pipeline, execute};
use tidegate_dataflows::replay::{BATCH, Options, ReplayError, replay};

/// 2026-01-01T00:00:00Z, the zero of all times in these tests.
pub(crate) const ZERO_MS: i64 = 1_767_225_600_000;
/// The same in microseconds.
pub(crate) const ZERO_US: i64 = ZERO_MS * 1000;
/// A second in microseconds.
pub(crate) const SECOND: i64 = 1_000_000;

/// Keeps what it is given.
struct Kept<B>(Arc<Mutex<Vec<B>>>);

impl<B> Sink for Kept<B> {
    type Batch = B;

    fn write(&mut self, _epoch: u64, batch: B) -> Result<(), SinkError> {
        self.0.lock().expect("nobody panicked").push(batch);
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Staged, SinkError> {
        Ok(Staged::default())
    }

    fn commit(&mut self, _epoch: u64, _generation: u64, _staged: &Staged) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Where batches are kept.
type Shelf<B> = Arc<Mutex<Vec<B>>>;

/// A sink that keeps what it gets on `shelf`.
fn keeping<B: Send + 'static>(shelf: &Shelf<B>) -> SharedSink<AnySink<B>> {
    Arc::new(Shared::new(Box::new(Kept(Arc::clone(shelf)))))
}

fn take<B>(shelf: &Shelf<B>) -> Vec<B> {
    std::mem::take(&mut *shelf.lock().expect("nobody panicked"))
}

/// A line of an embedded topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Line {
    fn parse(line: &str) -> Line {
        let line: Value = serde_json::from_str(line).expect("a line is an object");
        let bytes = |name: &str| match (&line[name], &line[format!("{name}_base64")]) {
            (Value::String(text), _) => Some(text.clone().into_bytes()),
            (_, Value::String(packed)) => Some(STANDARD.decode(packed).expect("base64")),
            _ => None,
        };
        let texts: Vec<&str> =
            line["headers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let headers = texts.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
        Line { key: bytes("key"), payload: bytes("payload"), headers }
    }

    /// The value of a header, empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A row of the lake.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LakeLine {
    pub(crate) time_us: i64,
    pub(crate) late: bool,
    pub(crate) offset: i64,
    /// The column `x_…` and its text, for those that the row has.
    pub(crate) extras: Vec<(String, String)>,
}

/// What became of a log.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) counts: Counts,
    /// Rows and digest of each output.
    pub(crate) tallies: Vec<(u64, String)>,
    tables: Vec<Vec<String>>,
    /// By partition and offset.
    pub(crate) lake: Vec<LakeLine>,
    pub(crate) enriched: Vec<Line>,
    pub(crate) late: Vec<Line>,
    pub(crate) dead: Vec<Line>,
}

impl Answer {
    /// The rows of a table, sorted as text; a time is written as what it is after [`ZERO_US`].
    pub(crate) fn table(&self, name: &str) -> Vec<&str> {
        let at = OUTPUTS.iter().position(|output| *output == name).expect("an output");
        self.tables[at].iter().map(String::as_str).collect()
    }

    /// Counted, filtered and late records of an output.
    pub(crate) fn judged(&self, name: &str) -> [u64; 3] {
        let at = OUTPUTS.iter().position(|output| *output == name).expect("an output");
        let counts = &self.counts.outputs[at];
        assert_eq!(counts.idle, 0, "a replay without decisions has no idle record");
        [counts.counted, counts.filtered, counts.late]
    }

    /// The reasons of the dead letters, in order.
    pub(crate) fn reasons(&self) -> Vec<&str> {
        self.dead.iter().map(|line| line.header("reason")).collect()
    }
}

fn cell_text(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Int(n) => n.to_string(),
        Cell::Float(x) => x.to_string(),
        Cell::Bool(b) => b.to_string(),
        Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Cell::Time(us) if (us - ZERO_US) % SECOND == 0 => format!("{}s", (us - ZERO_US) / SECOND),
        Cell::Time(us) => format!("{}us", us - ZERO_US),
    }
}

/// The rows of each of so many tables, sorted as text.
fn table_rows(batches: Vec<TableBatch>, tables: usize) -> Vec<Vec<String>> {
    let mut tables = vec![Vec::new(); tables];
    for TableBatch { table, rows, .. } in batches {
        for row in 0..rows.len() {
            tables[table].push(rows.row(row).map(cell_text).collect::<Vec<_>>().join(" "));
        }
    }
    tables.iter_mut().for_each(|rows| rows.sort());
    tables
}

fn lake_rows(batches: Vec<LakeBatch>) -> Vec<LakeLine> {
    let mut found = Vec::new();
    for batch in batches {
        for row in 0..batch.rows.len() {
            let cells: Vec<Cell<'_>> = batch.rows.row(row).collect();
            let [
                Cell::Time(time_us),
                _,
                _,
                _,
                Cell::Bool(late),
                _,
                Cell::Int(partition),
                Cell::Int(offset),
                ..,
            ] = cells[..]
            else {
                panic!("not a row of the lake: {cells:?}");
            };
            let extra = batch.schema.columns.iter().zip(&cells).skip(9);
            let extra = extra.filter(|(_, cell)| **cell != Cell::Null);
            let extras = extra.map(|(column, cell)| (column.name.to_string(), cell_text(*cell))).collect();
            found.push((partition, LakeLine { time_us, late, offset, extras }));
        }
    }
    found.sort_by_key(|(partition, line)| (*partition, line.offset));
    found.into_iter().map(|(_, line)| line).collect()
}

/// Runs a pipeline over a source; gives the rows of each of its tables, sorted as text.
pub(crate) fn tables_of(
    pipeline: Arc<dyn Pipeline>,
    source: Arc<dyn Source>,
    plan: &Plan,
) -> Vec<Vec<String>> {
    let run = Arc::new(Run::new(source, Arc::new(SystemClock), Pace::Max));
    let tables = Shelf::<TableBatch>::default();
    let outputs = Outputs { tables: vec![keeping(&tables)], ..Outputs::counted(pipeline.outputs().len()) };
    let counts = execute(&pipeline, plan, &run, outputs).expect("workers start and end");
    run.outcome().expect("nothing fails");
    counts.expect("process 0 has the counts").expect("no other process");
    table_rows(take(&tables), pipeline.tables().len())
}

/// Runs the pipeline over a source.
pub(crate) fn answer_of(source: Arc<dyn Source>, plan: &Plan) -> Answer {
    answer_with(Config::default(), source, plan)
}

/// Runs the pipeline with these settings over a source.
pub(crate) fn answer_with(config: Config, source: Arc<dyn Source>, plan: &Plan) -> Answer {
    let run = Arc::new(Run::new(source, Arc::new(SystemClock), Pace::Max));
    let tables = Shelf::<TableBatch>::default();
    let lake = Shelf::<LakeBatch>::default();
    let topics = Shelf::<TopicBatch>::default();
    let tallies = Arc::new(Tallies::new(OUTPUTS.len()));
    let outputs = Outputs {
        tables: vec![keeping(&tables)],
        lake: vec![keeping(&lake)],
        topics: vec![keeping(&topics)],
        tallies: Arc::clone(&tallies),
        ..Outputs::counted(OUTPUTS.len())
    };
    let pipeline: Arc<dyn Pipeline> = Arc::new(config);
    let counts = execute(&pipeline, plan, &run, outputs).expect("workers start and end");
    run.outcome().expect("nothing fails");
    let mut lines: [Vec<Line>; 3] = Default::default();
    let mut blocks = take(&topics);
    // Blocks of one partition come in order; the sort keeps it.
    blocks.sort_by_key(|block| block.partition);
    for TopicBatch { topic, lines: text, .. } in blocks {
        let text = String::from_utf8(text).expect("lines are UTF-8");
        lines[topic].extend(text.lines().map(Line::parse));
    }
    let [enriched, late, dead] = lines;
    Answer {
        counts: counts.expect("process 0 has the counts").expect("no other process"),
        tallies: tallies.read().iter().map(|tally| (tally.rows, tally.digest.hex())).collect(),
        tables: table_rows(take(&tables), TABLES),
        lake: lake_rows(take(&lake)),
        enriched,
        late,
        dead,
    }
}

/// A way to run.
pub(crate) fn plan(workers: usize, interleave: Interleave, batch: usize) -> Plan {
    Plan { cluster: Cluster::threads(workers), batch, interleave, interval: None, count_only: false }
}

/// The partitions 0, 1, … of the pipeline's topic.
pub(crate) fn partitions(logs: Vec<Vec<OwnedRecord>>) -> BTreeMap<Partition, Vec<OwnedRecord>> {
    (0..).map(|number| Partition::new("user_activity", number)).zip(logs).collect()
}

/// Runs the pipeline with one worker over partitions 0, 1, …
pub(crate) fn replayed(logs: Vec<Vec<OwnedRecord>>) -> Answer {
    answer_of(Arc::new(MemorySource::new(partitions(logs))), &plan(1, Interleave::Aligned, 4096))
}

/// Runs the pipeline over one partition.
pub(crate) fn replayed_one(log: Vec<OwnedRecord>) -> Answer {
    replayed(vec![log])
}

/// An event as JSON, `us` after [`ZERO_US`].
pub(crate) fn event(us: i64, user: &str, page: &str, kind: &str) -> String {
    let time = time::format(ZERO_US + us);
    let time = String::from_utf8_lossy(&time);
    format!(r#"{{"event_time":"{time}","user_id":"{user}","page_url":"{page}","event_type":"{kind}"}}"#)
}

/// A record at `offset` whose Kafka timestamp is `us` after [`ZERO_US`], cut to milliseconds.
pub(crate) fn record(offset: i64, us: i64, value: impl Into<Vec<u8>>) -> OwnedRecord {
    let kafka_time = KafkaTime::Create((ZERO_US + us).div_euclid(1000));
    OwnedRecord { kafka_time, ..OwnedRecord::of_value(offset, value) }
}

/// Records at offsets 0, 1, … of these events, each with its own time as Kafka timestamp.
pub(crate) fn log_of(events: &[(i64, &str, &str, &str)]) -> Vec<OwnedRecord> {
    let record = |(offset, &(us, user, page, kind))| record(offset, us, event(us, user, page, kind));
    (0..).zip(events).map(record).collect()
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was used.
    Accepted,
    /// It is a dead letter with this reason.
    Dead(String),
}

/// What becomes of `record`, at offset 1 between two good page views of `/good` by `good` at time zero.
///
/// Asserts that the good ones count, that every record is accounted for, and that a dead letter carries the
/// record as it was, and says where it stood and why it is there.
pub(crate) fn judge_record(record: OwnedRecord) -> Outcome {
    let good = |offset| self::record(offset, 0, event(0, "good", "/good", "page_view"));
    let answer = replayed_one(vec![good(0), OwnedRecord { offset: 1, ..record.clone() }, good(2)]);
    let accepted = answer.counts.accepted;
    assert_eq!(answer.counts.read, 3);
    assert_eq!(accepted + answer.counts.rejected.iter().sum::<u64>(), 3);
    assert_eq!(answer.lake.len() as u64, accepted);
    assert_eq!(answer.enriched.len() as u64, accepted);
    assert!(answer.table("page_view_counts").contains(&"0s 60s /good 2"), "the good records count");
    assert!(answer.late.iter().all(|line| line.header("offset") == "1"), "the good records are on time");
    match &answer.dead[..] {
        [] => {
            assert_eq!(accepted, 3);
            assert_eq!(answer.enriched[1].key, record.key);
            Outcome::Accepted
        }
        [dead] => {
            assert_eq!(
                (&dead.key, &dead.payload),
                (&record.key, &record.value),
                "a dead letter is the original"
            );
            let place = ["topic", "partition", "offset"].map(|name| dead.header(name));
            assert_eq!(place, ["user_activity", "0", "1"]);
            assert_ne!(dead.header("detail"), "");
            Outcome::Dead(dead.header("reason").to_owned())
        }
        more => panic!("one bad record made {} dead letters", more.len()),
    }
}

/// What becomes of a record with this value, and time zero as its Kafka timestamp.
pub(crate) fn judge(value: impl Into<Vec<u8>>) -> Outcome {
    judge_record(record(1, 0, value))
}

/// A pipeline's replay of a fixture on disk into a directory, by two workers.
pub(crate) fn replay_into(
    pipeline: &'static str,
    fixture: &Path,
    out: &Path,
) -> Result<Summary, ReplayError> {
    let options = Options {
        fixture: fixture.to_owned(),
        out: out.to_owned(),
        cluster: Cluster::threads(2),
        pace: Pace::Max,
        batch: BATCH,
        interleave: Interleave::Aligned,
        idle: Vec::new(),
        pipelines: Default::default(),
    };
    Ok(replay(&options, &[pipeline], &|_, _, _| ())?.expect("process 0 has the summary"))
}
