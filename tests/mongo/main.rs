//! The MongoDB sink against a real server.
//!
//! Runs where `TIDEGATE_TEST_MONGO` is set (`tests/mongo.sh` sets it), to a connection string. Each test has a
//! database of its own.
#![cfg(feature = "mongo")]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A test says what it leaves out, and panics where it fails.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::rows::ColumnType::{Bool, Float, Int, Text, Time};
use tidegate::rows::{Cell, Schema};
use tidegate::sink::mongo::{Changes, Config, MongoTables, Stamp, committed, read_rows};
use tidegate::sink::tables::TableBatch;
use tidegate::sink::{Durability, Sink, SinkError};

/// A fresh database, or nothing and a line that says so.
fn server(database: &str) -> Option<Config> {
    let Ok(uri) = std::env::var("TIDEGATE_TEST_MONGO") else {
        println!("skipped: TIDEGATE_TEST_MONGO is not set");
        return None;
    };
    let config = Config { uri: uri.into(), database: database.to_owned(), ..Config::default() };
    python(&config, "db.client.drop_database(db.name)");
    Some(config)
}

/// What a line of Python says that has the database as `db`.
fn python(config: &Config, line: &str) -> String {
    let uri = std::env::var("TIDEGATE_TEST_MONGO").unwrap();
    let program = format!("import pymongo\ndb = pymongo.MongoClient({uri:?})[{:?}]\n{line}", config.database);
    let python = std::env::var("MONGO_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let out = std::process::Command::new(python).args(["-c", &program]).output().expect("python is there");
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn aggregates() -> Arc<Schema> {
    let columns = [("sensor_id", Text), ("window_start", Time), ("avg", Float), ("count", Int), ("at", Time)];
    Arc::new(Schema::new("real_time_aggregates", &columns, &["sensor_id", "window_start"]).nullable(&["at"]))
}

fn batch(rows: &[(&str, i64, i64)]) -> TableBatch {
    let mut batch = aggregates().batch();
    for &(sensor, minute, count) in rows {
        batch.push(&[
            Cell::Text(sensor.as_bytes()),
            Cell::Time(minute * 60_000_000),
            Cell::Float(0.5),
            Cell::Int(count),
            Cell::Null,
        ]);
    }
    TableBatch { table: 0, rows: batch, provisional: false }
}

fn open(config: &Config, dir: &Path) -> Result<MongoTables, SinkError> {
    MongoTables::open(config, dir, "p", vec![aggregates()], &[], Durability::Process)
}

fn run(sink: &mut MongoTables, epoch: u64, batches: Vec<TableBatch>) {
    for batch in batches {
        sink.write(epoch, batch).unwrap();
    }
    let staged = sink.prepare(epoch).unwrap();
    sink.commit(epoch, 1, &staged).unwrap();
}

fn counts(config: &Config) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = |row: Vec<Option<String>>| {
        let text = |column: usize| row[column].clone().unwrap_or_default();
        rows.push(format!("{} {} {}", text(0), &text(1)[11..16], text(3)));
    };
    read_rows(config, "real_time_aggregates", &aggregates(), &mut row).unwrap();
    rows.sort();
    rows
}

#[test]
fn later_row_of_a_key_stays_and_the_indexes_are_there() {
    let Some(config) = server("t_later") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&config, dir.path()).unwrap();
    assert_eq!(sink.committed().unwrap(), None);
    run(&mut sink, 1, vec![batch(&[("a", 0, 1), ("$b", 0, 1)]), batch(&[("a", 0, 2)])]);
    run(&mut sink, 2, vec![batch(&[("$b", 0, 5)])]);
    run(&mut sink, 3, vec![]);
    assert_eq!(counts(&config), ["$b 00:00 5", "a 00:00 2"]);
    assert_eq!(sink.committed().unwrap(), Some(3));
    assert_eq!(committed(&config, "p").unwrap(), Some(3));
    assert_eq!(committed(&config, "another").unwrap(), None);
    let indexes = python(
        &config,
        "print(sorted((list(i['key'].items()), i.get('unique', False)) for i in db.real_time_aggregates.list_indexes()))",
    );
    assert_eq!(
        indexes,
        "[([('_id', 1)], False), ([('epoch', 1)], False), \
         ([('sensor_id', 1), ('window_start', 1)], True), ([('window_start', -1)], False)]"
    );
    let kinds = python(
        &config,
        "print({k: type(v).__name__ for k, v in db.real_time_aggregates.find_one().items()})",
    );
    assert_eq!(
        kinds,
        "{'_id': 'ObjectId', 'sensor_id': 'str', 'window_start': 'datetime', 'avg': 'float', 'count': 'Int64', \
         'at': 'NoneType', 'epoch': 'Int64', 'revision': 'Int64'}"
            .replace("Int64", if kinds.contains("Int64") { "Int64" } else { "int" })
    );
}

#[test]
fn values_come_back_with_their_types() {
    let Some(config) = server("t_types") else { return };
    let dir = tempfile::tempdir().unwrap();
    let columns = [("id", Int), ("f", Float), ("b", Bool), ("t", Time), ("s", Text)];
    let schema = Arc::new(Schema::new("kinds", &columns, &["id", "s"]).nullable(&["f", "b", "t", "s"]));
    let open =
        || MongoTables::open(&config, dir.path(), "p", vec![Arc::clone(&schema)], &[], Durability::Process);
    let mut sink = open().unwrap();
    for epoch in 1..=2 {
        let mut rows = schema.batch();
        let text = Cell::Text("grün 'x' \\ $y".as_bytes());
        rows.push(&[Cell::Int(i64::MIN), Cell::Float(-0.1), Cell::Bool(true), Cell::Time(-1), text]);
        rows.push(&[Cell::Int(2), Cell::Null, Cell::Null, Cell::Null, Cell::Null]);
        run(&mut sink, epoch, vec![TableBatch { table: 0, rows, provisional: false }]);
    }
    let mut found = Vec::new();
    read_rows(&config, "kinds", &schema, &mut |row| found.push(format!("{row:?}"))).unwrap();
    found.sort();
    let expected = [
        r#"[Some("-9223372036854775808"), Some("-0.1"), Some("true"), Some("1969-12-31T23:59:59.999000Z"), Some("grün 'x' \\ $y")]"#,
        r#"[Some("2"), None, None, None, None]"#,
    ];
    // A null in the key is one key: the second epoch has replaced both rows.
    assert_eq!(found, expected);
}

#[test]
fn staged_epoch_is_committed_once_by_another_process_and_older_generations_are_fenced() {
    let Some(config) = server("t_fenced") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(&config, dir.path()).unwrap();
    first.write(1, batch(&[("a", 0, 1)])).unwrap();
    let staged = first.prepare(1).unwrap();
    assert!(counts(&config).is_empty());
    let mut second = open(&config, dir.path()).unwrap();
    second.commit(1, 2, &staged).unwrap();
    second.commit(1, 2, &staged).unwrap();
    assert_eq!(counts(&config), ["a 00:00 1"]);
    assert!(matches!(first.commit(1, 1, &staged), Err(SinkError::Fenced { ours: 1, newer: 2, .. })));
    assert_eq!(second.committed().unwrap(), Some(1));
}

#[test]
fn newer_write_stays_whatever_is_repeated() {
    let Some(config) = server("t_guard") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&config, dir.path()).unwrap();
    sink.write(1, batch(&[("a", 0, 1), ("b", 0, 1)])).unwrap();
    let first = sink.prepare(1).unwrap();
    // As a crash in the middle leaves it: the documents are there, the mark is not.
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), copy.path());
    sink.commit(1, 1, &first).unwrap();
    run(&mut sink, 2, vec![batch(&[("a", 0, 2)])]);
    python(&config, "db.tidegate_epochs.update_one({'_id': 'p'}, {'$set': {'epoch': None}})");
    let mut again = open(&config, copy.path()).unwrap();
    again.commit(1, 1, &first).unwrap();
    assert_eq!(counts(&config), ["a 00:00 2", "b 00:00 1"]);
}

#[test]
fn changes_are_given_between_two_epochs_and_without_a_beginning_also_those_of_none() {
    let Some(config) = server("t_changes") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&config, dir.path()).unwrap();
    let changes = Changes::open(&config, "real_time_aggregates").unwrap();
    assert_eq!(changes.newest().unwrap(), None);
    python(
        &config,
        "db.real_time_aggregates.insert_many([{'sensor_id': 'x'}, {'sensor_id': 'y', 'epoch': 'two'}])",
    );
    assert_eq!(changes.newest().unwrap(), None);
    for (epoch, sensor) in [(1, "a"), (2, "b"), (3, "c")] {
        run(&mut sink, epoch, vec![batch(&[(sensor, 0, 1)])]);
    }
    assert_eq!(changes.newest().unwrap(), Some(3));
    let given = |from: Option<i64>, to: i64| {
        let mut stamps = Vec::new();
        let mut each = |stamp: Stamp, row: Result<&[Cell<'_>], String>| {
            stamps.push((stamp.epoch, stamp.revision, row.is_ok()));
            Ok(())
        };
        changes.since(&aggregates(), from, to, &mut each).unwrap();
        stamps.sort();
        stamps
    };
    assert_eq!(given(Some(2), 3), [(2, 0, true), (3, 0, true)]);
    assert_eq!(given(Some(1), 2), [(1, 0, true), (2, 0, true)]);
    assert_eq!(given(None, 1), [(0, 0, false), (0, 0, false), (1, 0, true)]);
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn refused_document_is_set_aside_and_the_rest_is_written() {
    let Some(config) = server("t_refused") else { return };
    let dir = tempfile::tempdir().unwrap();
    python(&config, "db.real_time_aggregates.create_index('count', unique=True)");
    let mut sink = open(&config, dir.path()).unwrap();
    run(&mut sink, 1, vec![batch(&[("a", 0, 1), ("b", 0, 1), ("c", 0, 3)])]);
    assert_eq!(counts(&config).len(), 2);
    assert_eq!(python(&config, "print(db.tidegate_refused.count_documents({'code': 11000}))"), "1");
    let document = python(&config, "print(db.tidegate_refused.find_one()['document'])");
    assert!(document.contains("sensor_id") && document.contains("epoch"), "{document}");
    assert_eq!(sink.committed().unwrap(), Some(1));
}

#[test]
fn server_that_is_away_is_unavailable_and_not_for_long() {
    if server("t_away").is_none() {
        return;
    }
    let uri = "mongodb://x:geheim7@127.0.0.1:9/?serverSelectionTimeoutMS=300".to_owned();
    let config = Config { uri: uri.into(), ..Config::default() };
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let error = open(&config, dir.path()).unwrap_err();
    assert!(error.is_retriable(), "{error}");
    assert!(!error.to_string().contains("geheim7"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
}
