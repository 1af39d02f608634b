//! A pipeline of one's own: readings of water meters become litres by meter and minute, in a table and on the screen.
//!
//! `cargo run --example own_pipeline -- FIXTURE OUT WORKERS` reads the topic `meters` of a fixture, such as `examples/fixture`, whose
//! records are `{"meter":"m1","time":"2026-01-01T00:00:07Z","litres":1.5}`. Late readings and those that cannot be used are in
//! `OUT/topics`, the same rows whatever the number of workers.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use tidegate::prelude::*;

/// What a record holds: the members, of which exactly one is the time.
fn decoder() -> JsonDecoder<3> {
    let member = Member::new;
    let members = [member("meter", Kind::Text), member("time", Kind::Time), member("litres", Kind::Number)];
    JsonDecoder::new(members, Limits::default())
}

/// What a window takes of a reading: the meter is the key, its litres are counted, added and compared.
struct ByMeter;

impl Measure<JsonDecoder<3>> for ByMeter {
    type Aggregate = (Count, Sum, Max<Finite>);

    fn measure<'e>(
        &self,
        _at: &Position<'_>,
        reading: &'e Decoded<'_, 3>,
    ) -> Option<(&'e [u8], ((), Finite, Finite))> {
        let litres = Finite::new(reading.number(2))?;
        Some((reading.text(0), ((), litres, litres)))
    }
}

/// The table: a row a meter and minute.
pub(crate) fn schema() -> Schema {
    use ColumnType::{Float, Int, Text, Time};
    let columns = [("minute", Time), ("meter", Text), ("readings", Int), ("litres", Float), ("most", Float)];
    Schema::new("water", &columns, &["minute", "meter"])
}

/// The rows of a window that has closed.
fn rows(closed: ClosedWindow<(u64, Option<f64>, Option<Finite>)>, rows: &mut RowBatch) {
    for ((_, meter), (count, sum, most)) in closed.keys.iter().zip(&closed.values) {
        let number = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
        let (sum, most) = (number(*sum), number(most.map(Finite::get)));
        rows.push(&[Cell::Time(closed.start_us), Cell::Text(meter), Cell::Int(*count as i64), sum, most]);
    }
}

/// Replays the topic `meters` of a fixture into `out`: a table in SQLite, and the same rows as lines on the screen.
pub(crate) fn run(fixture: &Path, out: &Path, workers: usize) -> Result<Replayed, Box<dyn Error>> {
    let schema = Arc::new(schema());
    let schemas = || vec![Arc::clone(&schema)];
    let lines = (ConsoleFormat::JsonLines, std::io::stdout());
    let table = SqliteTables::open(out, "tables", schemas(), Durability::Process)?;
    let screen = Console::open(out, "screen", schemas(), Durability::Process, lines.0, lines.1)?;

    let minutes = WindowSpec::tumbling(60_000_000)?;
    let source = FixtureSource::open(fixture, &|topic| topic == "meters")?;
    let replay = Replay::of(source).workers(workers).windows(&[minutes]);
    let schema = Arc::clone(&schema);
    let done = replay.run(out, &["water"], vec![Box::new(table), Box::new(screen)], move |flow| {
        let by_meter = WindowFront::new(minutes, ByMeter, 0, flow.peers());
        let (panes,) = flow.read(decoder(), (by_meter,));
        let closed = panes.close_windows("Water", minutes, Mode::Final, flow.state());
        flow.write([closed.table_rows(0, Arc::clone(&schema), rows)]);
    })?;
    Ok(done)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [fixture, out, workers] = &arguments[..] else { return Err("give FIXTURE OUT WORKERS".into()) };
    let done = run(Path::new(fixture), Path::new(out), workers.parse()?)?;
    eprintln!("{} readings, {} rows", done.counts.accepted, done.outputs[0].rows);
    Ok(())
}
