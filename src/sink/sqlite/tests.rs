use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::rows::{Cell, ColumnType};
use crate::sink::disk::Durability::Process;
use crate::sink::tables::{Standing, TableCount};
use crate::sink::trial::Trial;

fn counts() -> Arc<Schema> {
    use ColumnType::{Int, Text, Time};
    let columns = [("window_start", Time), ("page_url", Text), ("view_count", Int)];
    Arc::new(Schema::new("page_view_counts", &columns, &["window_start", "page_url"]))
}

fn kinds() -> Arc<Schema> {
    use ColumnType::{Bool, Float, Int, Text, Time};
    let columns = [("id", Int), ("f", Float), ("b", Bool), ("t", Time), ("s", Text)];
    Arc::new(Schema::new("all \"kinds\"", &columns, &["id"]).nullable(&["f", "b", "t", "s"]))
}

/// Rows of `counts`: (minute, page, views).
fn batch(table: usize, rows: &[(i64, &str, i64)]) -> TableBatch {
    let mut batch = counts().batch();
    for &(minute, page, views) in rows {
        batch.push(&[Cell::Time(minute * 60_000_000), Cell::Text(page.as_bytes()), Cell::Int(views)]);
    }
    TableBatch { table, rows: batch, provisional: false }
}

fn run(sink: &mut SqliteTables, epoch: u64, batches: Vec<TableBatch>) {
    for batch in batches {
        sink.write(epoch, batch).unwrap();
    }
    let staged = sink.prepare(epoch).unwrap();
    sink.commit(epoch, 1, &staged).unwrap();
}

fn views(dir: &Path) -> Vec<(String, String, i64)> {
    let connection = Connection::open(dir.join(FILE)).unwrap();
    let mut query = connection.prepare("SELECT * FROM page_view_counts ORDER BY 1, 2").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn rows_come_back_with_their_types() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = SqliteTables::open(dir.path(), "p", vec![kinds()], Process).unwrap();
    let mut rows = kinds().batch();
    let text = Cell::Text("grün \0 'x'".as_bytes());
    rows.push(&[Cell::Int(i64::MIN), Cell::Float(-0.0), Cell::Bool(true), Cell::Time(-1), text]);
    rows.push(&[Cell::Int(2), Cell::Null, Cell::Null, Cell::Null, Cell::Null]);
    rows.push(&[
        Cell::Int(3),
        Cell::Float(3.0),
        Cell::Bool(false),
        Cell::Time(1_706_443_200_000_001),
        Cell::Text(b""),
    ]);
    run(&mut sink, 1, vec![TableBatch { table: 0, rows, provisional: false }]);
    let connection = Connection::open(dir.path().join(FILE)).unwrap();
    let mut query = connection.prepare("SELECT * FROM \"all \"\"kinds\"\"\" ORDER BY id").unwrap();
    type Row = (i64, Option<f64>, Option<bool>, Option<String>, Option<String>);
    let found: Vec<Row> = query
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(found[0].1.map(f64::to_bits), Some(0));
    let time = |text: &str| Some(text.to_owned());
    assert_eq!(found[0].3, time("1969-12-31T23:59:59.999999Z"));
    assert_eq!(found[0].4.as_deref(), Some("grün \0 'x'"));
    assert_eq!(found[1], (2, None, None, None, None));
    assert_eq!(
        found[2],
        (3, Some(3.0), Some(false), time("2024-01-28T12:00:00.000001Z"), Some(String::new()))
    );
}

#[test]
fn later_row_of_a_key_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = SqliteTables::open(dir.path(), "p", vec![counts()], Process).unwrap();
    run(&mut sink, 1, vec![batch(0, &[(0, "/a", 1), (0, "/b", 1), (0, "/a", 2)])]);
    run(&mut sink, 2, vec![batch(0, &[(0, "/b", 5)]), batch(0, &[(1, "/b", 6)])]);
    let start = |minute| format!("1970-01-01T00:0{minute}:00.000000Z");
    let expected = [(start(0), "/a".into(), 2), (start(0), "/b".into(), 5), (start(1), "/b".into(), 6)];
    assert_eq!(views(dir.path()), expected);
}

#[test]
fn how_tables_stand_is_told_without_changing_anything() {
    let dir = tempfile::tempdir().unwrap();
    let schemas = [counts(), kinds()];
    assert!(standing(dir.path(), "p", &schemas).is_err());
    assert!(!dir.path().join(FILE).exists());
    let mut sink = SqliteTables::open(dir.path(), "p", schemas.to_vec(), Process).unwrap();
    let count = |rows| TableCount { rows, repeated: 0 };
    let stands = |epoch, rows| Standing { epoch, tables: vec![count(rows), count(0)] };
    assert_eq!(standing(dir.path(), "p", &schemas).unwrap(), stands(None, 0));
    run(&mut sink, 7, vec![batch(0, &[(0, "/a", 1), (0, "/b", 1), (0, "/a", 2)])]);
    assert_eq!(standing(dir.path(), "p", &schemas).unwrap(), stands(Some(7), 2));
    assert_eq!(standing(dir.path(), "another", &schemas).unwrap(), stands(None, 2));
}

#[test]
fn nothing_is_visible_before_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = SqliteTables::open(dir.path(), "p", vec![counts()], Process).unwrap();
    sink.write(1, batch(0, &[(0, "/a", 1)])).unwrap();
    let staged = sink.prepare(1).unwrap();
    assert!(views(dir.path()).is_empty());
    assert_eq!(sink.committed().unwrap(), None);
    sink.commit(1, 1, &staged).unwrap();
    assert_eq!(views(dir.path()).len(), 1);
    assert_eq!(sink.committed().unwrap(), Some(1));
    assert_eq!(std::fs::read_dir(dir.path().join(".tidegate/tables/p/staging")).unwrap().count(), 0);
}

#[test]
fn null_in_a_key_is_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let schema = Schema::new(
        "anomalies",
        &[("rule", ColumnType::Text), ("sensor", ColumnType::Text), ("value", ColumnType::Int)],
        &["rule", "sensor"],
    );
    let schema = Arc::new(schema.nullable(&["sensor"]));
    let mut sink = SqliteTables::open(dir.path(), "p", vec![Arc::clone(&schema)], Process).unwrap();
    for (epoch, value) in [(1, 10), (2, 20)] {
        let mut rows = schema.batch();
        rows.push(&[Cell::Text(b"r"), Cell::Null, Cell::Int(value)]);
        rows.push(&[Cell::Text(b"r"), Cell::Text(b""), Cell::Int(value + 1)]);
        run(&mut sink, epoch, vec![TableBatch { table: 0, rows, provisional: false }]);
    }
    let connection = Connection::open(dir.path().join(FILE)).unwrap();
    let sum: (i64, i64) = connection
        .query_row("SELECT count(*), sum(value) FROM anomalies", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(sum, (2, 41));
}

#[test]
fn table_without_key_keeps_every_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new("log", &[("x", ColumnType::Int)], &[]));
    let mut sink = SqliteTables::open(dir.path(), "p", vec![Arc::clone(&schema)], Process).unwrap();
    let mut rows = schema.batch();
    rows.push(&[Cell::Int(1)]);
    rows.push(&[Cell::Int(1)]);
    sink.write(1, TableBatch { table: 0, rows, provisional: false }).unwrap();
    let staged = sink.prepare(1).unwrap();
    sink.commit(1, 1, &staged).unwrap();
    sink.commit(1, 1, &staged).unwrap();
    let count: i64 = sink.connection.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

#[test]
fn damaged_staged_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = SqliteTables::open(dir.path(), "p", vec![counts()], Process).unwrap();
    for page in ["/a", "/b"] {
        sink.write(1, batch(0, &[(0, page, 1)])).unwrap();
    }
    let staged = sink.prepare(1).unwrap();
    let path = sink.stage.books.dir(&sink.stage.books.dir_name(1)).join("rows");
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(sink.commit(1, 1, &staged), Err(SinkError::Failed { .. })), "byte {at}");
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(sink.commit(1, 1, &staged).is_err());
    assert!(views(dir.path()).is_empty());
    std::fs::write(&path, &whole).unwrap();
    sink.commit(1, 1, &staged).unwrap();
    assert_eq!(views(dir.path()).len(), 2);
}

#[test]
fn batch_that_does_not_fit_is_refused_before_the_epoch_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = SqliteTables::open(dir.path(), "p", vec![counts(), kinds()], Process).unwrap();
    assert!(sink.write(1, batch(1, &[(0, "/a", 1)])).is_err());
    assert!(sink.write(1, batch(2, &[(0, "/a", 1)])).is_err());
    let mut nan = kinds().batch();
    nan.push(&[Cell::Int(1), Cell::Float(f64::NAN), Cell::Null, Cell::Null, Cell::Null]);
    assert!(sink.write(1, TableBatch { table: 1, rows: nan, provisional: false }).is_err());
    let mut null = counts().batch();
    null.push(&[Cell::Null, Cell::Text(b""), Cell::Int(1)]);
    assert!(sink.write(1, TableBatch { table: 0, rows: null, provisional: false }).is_err());
}

#[test]
fn table_with_other_columns_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteTables::open(dir.path(), "p", vec![counts()], Process).unwrap());
    let other = Arc::new(Schema::new("page_view_counts", &[("x", ColumnType::Int)], &["x"]));
    let error = SqliteTables::open(dir.path(), "p", vec![other], Process).unwrap_err();
    assert!(error.to_string().contains("page_view_counts"), "{error}");
}

#[test]
fn two_pipelines_share_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |sink: &'static str, schema: Arc<Schema>| {
        let dir = dir.path().to_owned();
        std::thread::spawn(move || {
            let mut tables = SqliteTables::open(&dir, sink, vec![Arc::clone(&schema)], Process).unwrap();
            for epoch in 1..=20 {
                let mut rows = schema.batch();
                rows.push(&[Cell::Int(epoch as i64)]);
                run(&mut tables, epoch, vec![TableBatch { table: 0, rows, provisional: false }]);
            }
            tables.committed().unwrap()
        })
    };
    let schema = |name| Arc::new(Schema::new(name, &[("x", ColumnType::Int)], &["x"]));
    let both = [write("one", schema("a")), write("two", schema("b"))];
    assert!(both.map(|thread| thread.join().unwrap()).iter().all(|&epoch| epoch == Some(20)));
}

/// Epoch `e` counts the pages `/0` … `/3` of minute `e`, and counts minute `e - 1` again.
fn trial_output(epoch: u64, cut: u64) -> Vec<TableBatch> {
    let minute = epoch as i64;
    let rows: Vec<_> =
        (0..4).map(|page| (minute, page)).chain((0..4).map(|page| (minute - 1, page))).collect();
    let rows: Vec<_> =
        rows.iter().map(|&(m, page)| (m, ["/0", "/1", "/2", "/3"][page], minute * 10)).collect();
    rows.chunks(1 + cut as usize % 5).map(|rows| batch(0, rows)).collect()
}

fn trial_check(dir: &Path, _: &SqliteTables, epoch: u64) {
    let mut expected: BTreeMap<(i64, usize), i64> = BTreeMap::new();
    for minute in 1..=epoch as i64 {
        for page in 0..4 {
            expected.insert((minute, page), minute * 10);
            expected.insert((minute - 1, page), minute * 10);
        }
    }
    let found: Vec<_> = views(dir).into_iter().map(|(_, _, views)| views).collect();
    assert_eq!(found, expected.into_values().collect::<Vec<_>>());
}

fn trial() -> Trial<'static, SqliteTables> {
    Trial {
        epochs: 3,
        open: &|dir, disk| SqliteTables::open_on(disk, dir, "p", vec![counts()]),
        output: &trial_output,
        after_commit: &|_| Ok(()),
        finish: &|_| Ok(()),
        check: &trial_check,
    }
}

#[test]
fn survives_every_crash() {
    trial().survives_every_crash();
}

#[test]
fn commits_from_the_manifest_alone() {
    trial().commits_from_the_manifest_alone();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn last_row_of_each_key_is_there_whatever_the_batches_and_epochs(
        rows in prop::collection::vec((0_i64..3, 0_usize..4, any::<i64>()), 0..60),
        cuts in prop::collection::vec((1_usize..8, any::<bool>()), 1..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = SqliteTables::open(dir.path(), "p", vec![counts()], Process).unwrap();
        let pages = ["/", "/a", "/b", "/ö"];
        let (mut rest, mut epoch, mut pending) = (&rows[..], 1, Vec::new());
        for &(cut, ends_epoch) in cuts.iter().cycle() {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            let named: Vec<_> = now.iter().map(|&(minute, page, views)| (minute, pages[page], views)).collect();
            pending.push(batch(0, &named));
            rest = later;
            if ends_epoch || rest.is_empty() {
                run(&mut sink, epoch, std::mem::take(&mut pending));
                epoch += 1;
            }
            if rest.is_empty() { break }
        }
        let expected: BTreeMap<_, _> = rows.iter().map(|&(minute, page, views)| ((minute, pages[page]), views)).collect();
        let found = views(dir.path());
        prop_assert_eq!(found.len(), expected.len());
        for (((minute, page), views), row) in expected.into_iter().zip(found) {
            prop_assert_eq!(row, (format!("1970-01-01T00:0{minute}:00.000000Z"), page.to_owned(), views));
        }
    }
}

#[test]
fn rows_are_shown_before_their_epoch_ends_and_taken_back_where_it_never_does() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SqliteTables::open(dir.path(), "p", vec![counts()], Process).unwrap();
    let found = || views(dir.path()).into_iter().map(|(_, page, views)| (page, views)).collect::<Vec<_>>();
    let rows =
        |rows: &[(&str, i64)]| rows.iter().map(|(page, n)| ((*page).to_owned(), *n)).collect::<Vec<_>>();
    let mut sink = open();
    run(&mut sink, 1, vec![batch(0, &[(0, "/a", 1)])]);
    sink.show(2, 1, &[batch(0, &[(0, "/a", 2), (0, "/b", 1)]), batch(0, &[(0, "/b", 2)])]).unwrap();
    assert_eq!(found(), rows(&[("/a", 2), ("/b", 2)]));
    run(&mut sink, 2, vec![batch(0, &[(0, "/a", 3), (0, "/b", 2)])]);
    // Too late: the epoch is in.
    sink.show(2, 1, &[batch(0, &[(0, "/a", 2)])]).unwrap();
    assert_eq!(found(), rows(&[("/a", 3), ("/b", 2)]));

    sink.show(3, 1, &[batch(0, &[(0, "/b", 7), (0, "/c", 1)])]).unwrap();
    let mut newer = open();
    newer.take_back(2).unwrap();
    assert_eq!(found(), rows(&[("/a", 3)]), "until the end of the next epoch");
    newer.take_back(2).unwrap();
    assert_eq!(found(), rows(&[("/a", 3)]));
    newer.write(3, batch(0, &[(0, "/b", 3)])).unwrap();
    let staged = newer.prepare(3).unwrap();
    newer.commit(3, 2, &staged).unwrap();
    assert!(matches!(sink.show(4, 1, &[batch(0, &[(0, "/d", 1)])]), Err(SinkError::Fenced { .. })));
    assert!(matches!(sink.take_back(1), Err(SinkError::Fenced { .. })));
    assert_eq!(found(), rows(&[("/a", 3), ("/b", 3)]));
}

/// An epoch is committed while the next one already goes on.
#[test]
fn a_commit_does_not_bring_back_what_the_next_epoch_has_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = SqliteTables::open(dir.path(), "p", vec![counts()], Process).unwrap();
    let found = || views(dir.path()).into_iter().map(|(_, page, views)| (page, views)).collect::<Vec<_>>();
    let rows =
        |rows: &[(&str, i64)]| rows.iter().map(|(page, n)| ((*page).to_owned(), *n)).collect::<Vec<_>>();
    sink.write(1, batch(0, &[(0, "/a", 1), (0, "/b", 1)])).unwrap();
    let first = sink.prepare(1).unwrap();
    sink.show(2, 1, &[batch(0, &[(0, "/a", 2), (0, "/c", 1)])]).unwrap();
    sink.show(2, 1, &[batch(0, &[(0, "/a", 3)])]).unwrap();
    assert_eq!(found(), rows(&[("/a", 3), ("/c", 1)]));
    sink.commit(1, 1, &first).unwrap();
    assert_eq!(found(), rows(&[("/a", 3), ("/b", 1), ("/c", 1)]));
    // Its own end says what is so.
    run(&mut sink, 2, vec![batch(0, &[(0, "/a", 2), (0, "/c", 2)])]);
    assert_eq!(found(), rows(&[("/a", 2), ("/b", 1), ("/c", 2)]));
    run(&mut sink, 3, vec![batch(0, &[(0, "/b", 2)])]);
    assert_eq!(found(), rows(&[("/a", 2), ("/b", 2), ("/c", 2)]));
    // Two epochs have ended, and the third goes on.
    for epoch in [4, 5] {
        sink.write(epoch, batch(0, &[(0, "/a", epoch as i64), (0, "/b", epoch as i64)])).unwrap();
    }
    let ended = [4, 5].map(|epoch| (epoch, sink.prepare(epoch).unwrap()));
    sink.show(5, 1, &[batch(0, &[(0, "/b", 5)])]).unwrap();
    sink.show(6, 1, &[batch(0, &[(0, "/a", 6)])]).unwrap();
    for (epoch, staged) in ended {
        sink.commit(epoch, 1, &staged).unwrap();
        assert_eq!(found(), rows(&[("/a", 6), ("/b", 5), ("/c", 2)]), "after epoch {epoch}");
    }
    run(&mut sink, 6, vec![batch(0, &[(0, "/a", 6)])]);
    assert_eq!(found(), rows(&[("/a", 6), ("/b", 5), ("/c", 2)]));
}
