//! Rows of a table, a lake or a Delta table, as `tidegate tap` shows them.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate::rows::{ColumnType, Schema};
use tidegate::sink::delta::Log;
use tidegate::sink::lake::{LakeIndex, partition_values, read_file};
use tidegate::sink::{SinkError, postgres, sqlite};
use tidegate::source::kafka::Start;
use tidegate::storage::{self, Location, Storage};
use tidegate_dataflows::pipeline::PIPELINES;
use tidegate_dataflows::services::TableKind;
use tidegate_dataflows::settings::Settings;

use super::super::args::Global;
use super::super::failure::Failure;
use super::super::settings;
use super::super::ui::{Style, Ui, grouped};
use super::TapArgs;

/// Databases count with a sign.
const MOST: u64 = i64::MAX as u64;

/// Where rows are read from.
pub(super) enum Rows {
    /// A table of `tables.sqlite` in this directory.
    Sqlite(PathBuf, Arc<Schema>),
    /// A table of a database.
    Postgres(Box<postgres::Config>, Arc<Schema>),
    /// These files, of a lake or of the newest version of a Delta table.
    Files(Arc<dyn Storage>, Vec<String>),
}

/// A row: its columns' names, types and texts.
type Cells = Vec<(String, ColumnType, Option<String>)>;

impl Rows {
    /// What `args` name, where that is no topic.
    pub(super) fn find(global: &Global, args: &TapArgs) -> Result<Option<Rows>, Failure> {
        if args.fixture.is_some() || args.bootstrap_servers.is_some() {
            return Ok(None);
        }
        // No topic and no table has a slash in its name.
        let found = if args.topic.contains('/') {
            Some(Rows::at(&args.topic, &settings(global)?)?)
        } else {
            Rows::of_table(args, &settings(global)?)?
        };
        let begins = matches!(args.from, Start::Earliest);
        if found.is_some() && (args.follow || args.partition.is_some() || !begins) {
            return Err(Failure::usage("a table has no partitions, no offsets and no end to wait at")
                .mend("leave --partition, --from and --follow out, or name a topic"));
        }
        Ok(found)
    }

    fn at(place: &str, settings: &Settings) -> Result<Rows, Failure> {
        let location = Location::parse(place).map_err(Failure::usage)?;
        let place = storage::open(&location, &settings.credentials()).map_err(Failure::running)?;
        let newest = Log::new(Arc::clone(&place), "", "tap").snapshot(None).map_err(Failure::running)?;
        if newest.version.is_some() {
            return Ok(Rows::Files(place, newest.files.into_keys().collect()));
        }
        let index = LakeIndex::read(&*place).map_err(Failure::running)?;
        if index.epoch.is_none() {
            return Err(Failure::usage(format!("there is no lake and no Delta table in {location}"))
                .mend("name the directory that holds _tidegate/ or _delta_log/"));
        }
        Ok(Rows::Files(place, index.files.into_iter().map(|file| file.path).collect()))
    }

    fn of_table(args: &TapArgs, settings: &Settings) -> Result<Option<Rows>, Failure> {
        let of = |pipeline: &'static str| {
            let tables = settings.pipelines.called(pipeline).tables();
            Some((pipeline, tables.into_iter().find(|schema| schema.name == args.topic)?))
        };
        let Some((pipeline, schema)) = PIPELINES.into_iter().find_map(of) else { return Ok(None) };
        if let Some(out) = &args.out {
            return Ok(Some(Rows::Sqlite(out.clone(), schema)));
        }
        let readable = |kind: &TableKind| match kind {
            TableKind::Postgres => {
                Some(Rows::Postgres(Box::new(settings.database_of(pipeline)), Arc::clone(&schema)))
            }
            TableKind::Sqlite => Some(Rows::Sqlite(settings.data.clone(), Arc::clone(&schema))),
            TableKind::Mongo | TableKind::Console | TableKind::ConsoleJson => None,
        };
        let found = settings.sinks_of(pipeline).tables.iter().find_map(readable);
        found.map(Some).ok_or_else(|| {
            Failure::usage(format!(
                "the settings have {} of {pipeline} neither in PostgreSQL nor in SQLite",
                args.topic
            ))
            .mend("name an output directory with --out DIR; what is in MongoDB, mongosh shows")
        })
    }

    /// Shows those that are chosen.
    pub(super) fn show(&self, ui: &Ui, args: &TapArgs) -> Result<(), Failure> {
        let mut taken = Taken { ui, args, met: 0, shown: 0, broken: None };
        self.read(args, &mut |cells| taken.take(&cells)).map_err(|error| {
            Failure::running(error)
                .mend("see that a run has written there, and to the name, --out and the settings")
        })?;
        let Taken { shown, broken, .. } = taken;
        if let Some(failure) = broken {
            return Err(failure);
        }
        ui.note(format_args!("{} rows of {}", grouped(shown), args.topic));
        Ok(())
    }

    /// Gives rows until `row` says that it has enough.
    fn read(&self, args: &TapArgs, row: &mut dyn FnMut(Cells) -> bool) -> Result<(), SinkError> {
        // What a text is looked for in, has to be read for it.
        let most = args.holding.is_none().then(|| args.count.saturating_mul(args.every).min(MOST));
        let of_table = |schema: &Schema, texts: Vec<Option<String>>| -> Cells {
            let columns = schema.columns.iter().map(|column| (column.name.to_string(), column.kind));
            columns.zip(texts).map(|((name, kind), text)| (name, kind, text)).collect()
        };
        match self {
            Rows::Sqlite(dir, schema) => sqlite::first_rows(dir, schema, most, &mut |texts| {
                row(of_table(schema, texts));
            }),
            Rows::Postgres(config, schema) => postgres::first_rows(config, schema, most, &mut |texts| {
                row(of_table(schema, texts));
            }),
            Rows::Files(place, paths) => {
                for path in paths {
                    let damaged = |cause: String| SinkError::Failed {
                        sink: "tap".to_owned(),
                        cause: format!("cannot read {path} in {}: {cause}", place.place()),
                    };
                    let bytes = place.read(path).map_err(|error| error.of("tap"))?;
                    let bytes = bytes.ok_or_else(|| damaged("it has gone: try again".to_owned()))?;
                    if !each_row(path, bytes, row).map_err(damaged)? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Gives the rows of a file, with the columns that its directories stand for; whether more are wanted.
fn each_row(path: &str, bytes: Vec<u8>, row: &mut dyn FnMut(Cells) -> bool) -> Result<bool, String> {
    let file = read_file(bytes, &|_| true)?;
    let mut of_path = partition_values(path);
    of_path.retain(|(name, _)| !file.schema.columns.iter().any(|column| column.name == *name));
    for batch in &file.batches {
        for at in 0..batch.len() {
            let columns = file.schema.columns.iter().zip(batch.row(at));
            let cells = columns.map(|(column, cell)| (column.name.to_string(), column.kind, cell.to_text()));
            let of_path =
                of_path.iter().map(|(name, value)| (name.clone(), ColumnType::Text, Some(value.clone())));
            if !row(cells.chain(of_path).collect()) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The rows that have been met and shown.
struct Taken<'a> {
    ui: &'a Ui,
    args: &'a TapArgs,
    met: u64,
    shown: u64,
    broken: Option<Failure>,
}

impl Taken<'_> {
    /// Shows a row, where it is chosen; whether more are wanted.
    fn take(&mut self, cells: &Cells) -> bool {
        let Taken { ui, args, .. } = *self;
        if self.shown >= args.count || self.broken.is_some() {
            return false;
        }
        let holds = |text: &String| {
            cells.iter().any(|(.., cell)| cell.as_ref().is_some_and(|cell| cell.contains(text.as_str())))
        };
        if !args.holding.as_ref().is_none_or(holds) {
            return true;
        }
        self.met += 1;
        if !(self.met - 1).is_multiple_of(args.every) {
            return true;
        }
        self.shown += 1;
        self.broken = ui.result(if args.json { object(cells) } else { line(ui, cells) }).err();
        self.broken.is_none() && self.shown < args.count
    }
}

fn object(cells: &Cells) -> String {
    let value = |(name, kind, text): &(String, ColumnType, Option<String>)| {
        let Some(text) = text else { return (name.clone(), Value::Null) };
        let value = match kind {
            ColumnType::Int => text.parse::<i64>().map(Value::from).ok(),
            // JSON has no number for what is none: it stays a text.
            ColumnType::Float => {
                text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from)
            }
            ColumnType::Bool => text.parse::<bool>().map(Value::from).ok(),
            ColumnType::Time | ColumnType::Text => None,
        };
        (name.clone(), value.unwrap_or_else(|| json!(text)))
    };
    format!("{}\n", Value::Object(cells.iter().map(value).collect::<Map<_, _>>()))
}

/// `window_start 2026-01-01T00:00:00.000000Z  page /a  views 3`.
fn line(ui: &Ui, cells: &Cells) -> String {
    let cell = |(name, _, text): &(String, ColumnType, Option<String>)| {
        format!("{} {}", ui.styled(Style::FAINT, name), text.as_deref().unwrap_or("null"))
    };
    format!("{}\n", cells.iter().map(cell).collect::<Vec<_>>().join("  "))
}
