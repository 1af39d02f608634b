//! The PostgreSQL sink against a real server.
//!
//! Runs where `TIDEGATE_TEST_POSTGRES` is set (`tests/postgres.sh` sets it), to `host:port`; user, password,
//! database and CA file come from `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLROOTCERT`, and a PgBouncer in
//! transaction mode from `TIDEGATE_TEST_PGBOUNCER`, a port. Each test has a schema of its own.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A test says what it leaves out, and panics where it fails.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::rows::ColumnType::{Bool, Float, Int, Text, Time};
use tidegate::rows::{Cell, Schema};
use tidegate::sink::postgres::{Config, PostgresTables, TlsMode, first_rows, read_rows, standing};
use tidegate::sink::tables::TableBatch;
use tidegate::sink::{Durability, Sink, SinkError};

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The server's configuration with a fresh schema, or nothing and a line that says so.
fn server(schema: &str) -> Option<Config> {
    let Ok(place) = std::env::var("TIDEGATE_TEST_POSTGRES") else {
        println!("skipped: TIDEGATE_TEST_POSTGRES is not set");
        return None;
    };
    let (host, port) = place.split_once(':').expect("host:port");
    let config = Config {
        host: host.to_owned(),
        port: port.parse().unwrap(),
        user: env("PGUSER"),
        password: env("PGPASSWORD").into(),
        database: env("PGDATABASE"),
        schema: schema.to_owned(),
        tls: TlsMode::VerifyFull,
        ca_file: Some(env("PGSSLROOTCERT").into()),
        ..Config::default()
    };
    psql(&config, &format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}"));
    Some(config)
}

fn psql(config: &Config, sql: &str) -> String {
    let out = Command::new("psql")
        .args(["-X", "-qAt", "-v", "ON_ERROR_STOP=1", "-h", &config.host, "-p", &config.port.to_string()])
        .args(["-c", sql])
        .output()
        .expect("psql is there");
    assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn counts() -> Arc<Schema> {
    let columns = [("window_start", Time), ("page_url", Text), ("view_count", Int)];
    Arc::new(Schema::new("page_view_counts", &columns, &["window_start", "page_url"]))
}

fn batch(rows: &[(i64, &str, i64)]) -> TableBatch {
    let mut batch = counts().batch();
    for &(minute, page, views) in rows {
        batch.push(&[Cell::Time(minute * 60_000_000), Cell::Text(page.as_bytes()), Cell::Int(views)]);
    }
    TableBatch { table: 0, rows: batch, provisional: false }
}

fn open(config: &Config, dir: &Path, schemas: Vec<Arc<Schema>>) -> Result<PostgresTables, SinkError> {
    PostgresTables::open(config.clone(), dir, "p", schemas, Durability::Process)
}

fn run(sink: &mut PostgresTables, epoch: u64, batches: Vec<TableBatch>) {
    for batch in batches {
        sink.write(epoch, batch).unwrap();
    }
    let staged = sink.prepare(epoch).unwrap();
    sink.commit(epoch, 1, &staged).unwrap();
}

fn views(config: &Config) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = |row: Vec<Option<String>>| {
        rows.push(row.into_iter().map(Option::unwrap).collect::<Vec<_>>().join(" "));
    };
    read_rows(config, &counts(), &mut row).unwrap();
    rows.sort();
    rows
}

/// Page and count of each row, where all are of one window.
fn pages(config: &Config) -> Vec<String> {
    views(config).iter().filter_map(|row| row.split_once(' ')).map(|(_, row)| row.to_owned()).collect()
}

#[test]
fn later_row_of_a_key_stays() {
    let Some(config) = server("t_later") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&config, dir.path(), vec![counts()]).unwrap();
    assert_eq!(sink.committed().unwrap(), None);
    run(&mut sink, 1, vec![batch(&[(0, "/a", 1), (0, "/b", 1)]), batch(&[(0, "/a", 2)])]);
    run(&mut sink, 2, vec![batch(&[(0, "/b", 5)])]);
    let expected = ["1970-01-01T00:00:00.000000Z /a 2", "1970-01-01T00:00:00.000000Z /b 5"];
    assert_eq!(views(&config), expected);
    assert_eq!(sink.committed().unwrap(), Some(2));
    let stands = standing(&config, "p", &[counts()]).unwrap();
    let rows = psql(&config, &format!("SELECT count(*) FROM {}.page_view_counts", config.schema));
    assert_eq!(
        (stands.epoch, stands.tables[0].rows.to_string(), stands.tables[0].repeated),
        (Some(2), rows, 0)
    );
}

#[test]
fn values_come_back_with_their_types() {
    let Some(config) = server("t_types") else { return };
    let dir = tempfile::tempdir().unwrap();
    let columns = [("id", Int), ("f", Float), ("b", Bool), ("t", Time), ("s", Text)];
    let schema =
        Arc::new(Schema::new("all \"kinds\"", &columns, &["id", "s"]).nullable(&["f", "b", "t", "s"]));
    let mut sink = open(&config, dir.path(), vec![Arc::clone(&schema)]).unwrap();
    let batch = || {
        let mut rows = schema.batch();
        let text = Cell::Text("grün 'x' \\".as_bytes());
        rows.push(&[Cell::Int(i64::MIN), Cell::Float(-0.1), Cell::Bool(true), Cell::Time(-1), text]);
        rows.push(&[Cell::Int(2), Cell::Null, Cell::Null, Cell::Null, Cell::Null]);
        TableBatch { table: 0, rows, provisional: false }
    };
    let found = || {
        let mut found = Vec::new();
        read_rows(&config, &schema, &mut |row| found.push(format!("{row:?}"))).unwrap();
        found.sort();
        let mut first = 0;
        first_rows(&config, &schema, Some(1), &mut |_| first += 1).unwrap();
        assert_eq!(first, found.len().min(1));
        found
    };
    let expected = [
        r#"[Some("-9223372036854775808"), Some("-0.1"), Some("true"), Some("1969-12-31T23:59:59.999999Z"), Some("grün 'x' \\")]"#,
        r#"[Some("2"), None, None, None, None]"#,
    ];
    // Early rows come by other ways.
    sink.show(1, 1, &[batch()]).unwrap();
    assert_eq!(found(), expected);
    run(&mut sink, 1, vec![batch()]);
    run(&mut sink, 2, vec![batch()]);
    // A null in the key is one key: the second epoch has replaced both rows.
    assert_eq!(found(), expected);
}

#[test]
fn other_columns_and_a_missing_key_are_named() {
    let Some(config) = server("t_other") else { return };
    let dir = tempfile::tempdir().unwrap();
    let columns = "window_start timestamptz NOT NULL, page_url text NOT NULL, view_count";
    psql(&config, &format!("CREATE TABLE t_other.page_view_counts ({columns} integer NOT NULL)"));
    let error = open(&config, dir.path(), vec![counts()]).unwrap_err().to_string();
    assert!(error.contains("view_count integer") && error.contains("view_count bigint"), "{error}");
    psql(&config, "ALTER TABLE t_other.page_view_counts ALTER view_count TYPE bigint");
    let error = open(&config, dir.path(), vec![counts()]).unwrap_err().to_string();
    assert!(error.contains("no primary key") && error.contains("page_url, window_start"), "{error}");
}

#[test]
fn staged_epoch_is_committed_once_by_another_process_and_older_generations_are_fenced() {
    let Some(config) = server("t_fenced") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(&config, dir.path(), vec![counts()]).unwrap();
    first.write(1, batch(&[(0, "/a", 1)])).unwrap();
    let staged = first.prepare(1).unwrap();
    assert!(views(&config).is_empty());
    let mut second = open(&config, dir.path(), vec![counts()]).unwrap();
    second.commit(1, 2, &staged).unwrap();
    second.commit(1, 2, &staged).unwrap();
    assert_eq!(views(&config).len(), 1);
    assert!(matches!(first.commit(1, 1, &staged), Err(SinkError::Fenced { ours: 1, newer: 2, .. })));
    assert_eq!(second.committed().unwrap(), Some(1));
}

#[test]
fn wait_for_a_lock_and_an_ended_session_are_tried_again() {
    let Some(mut config) = server("t_lock") else { return };
    config.lock_timeout = Duration::from_millis(200);
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&config, dir.path(), vec![counts()]).unwrap();
    sink.write(1, batch(&[(0, "/a", 1)])).unwrap();
    let staged = sink.prepare(1).unwrap();
    // A second connection holds the mark.
    let mut holder = Command::new("psql")
        .args(["-X", "-qAt", "-h", &config.host, "-p", &config.port.to_string()])
        .args(["-c", "BEGIN; LOCK TABLE t_lock.tidegate_epochs; SELECT pg_sleep(60)"])
        .spawn()
        .unwrap();
    let held =
        "SELECT count(*) FROM pg_locks WHERE relation = 't_lock.tidegate_epochs'::regclass AND granted";
    while psql(&config, held) == "0" {}
    let error = sink.commit(1, 1, &staged).unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("55P03"), "{error}");
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE pid <> pg_backend_pid() AND (query LIKE '%t_lock%' OR query LIKE '%COMMIT%')";
    psql(&config, end);
    holder.wait().unwrap();
    sink.commit(1, 1, &staged).unwrap();
    assert_eq!(views(&config).len(), 1);
}

#[test]
fn pgbouncer_in_transaction_mode_serves_two_pipelines() {
    let Some(direct) = server("t_bouncer") else { return };
    let mut config = direct.clone();
    let Ok(port) = std::env::var("TIDEGATE_TEST_PGBOUNCER") else {
        println!("skipped: TIDEGATE_TEST_PGBOUNCER is not set");
        return;
    };
    config.port = port.parse().unwrap();
    config.tls = TlsMode::Disable;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut sinks: Vec<_> = dirs
        .iter()
        .zip(["a", "b"])
        .map(|(dir, name)| {
            let schemas = vec![counts()];
            PostgresTables::open(config.clone(), dir.path(), name, schemas, Durability::Process).unwrap()
        })
        .collect();
    for epoch in 1..=20 {
        for (minute, sink) in sinks.iter_mut().enumerate() {
            let minute = minute as i64;
            sink.show(epoch, 1, &[batch(&[(minute, "/a", 0), (minute, "/b", 7)])]).unwrap();
            run(sink, epoch, vec![batch(&[(minute, "/a", epoch as i64), (minute, "/b", 7)])]);
        }
    }
    assert_eq!(psql(&direct, "SELECT count(*) FROM t_bouncer.tidegate_early"), "0");
    let expected = ["00:00.000000Z /a 20", "00:00.000000Z /b 7", "01:00.000000Z /a 20", "01:00.000000Z /b 7"];
    assert_eq!(views(&config), expected.map(|row| format!("1970-01-01T00:{row}")));
}

#[test]
fn certificate_of_another_ca_and_a_wrong_password_are_refused_without_telling_it() {
    let Some(config) = server("t_tls") else { return };
    let dir = tempfile::tempdir().unwrap();
    let stranger = Config { ca_file: None, ..config.clone() };
    let error = open(&stranger, dir.path(), vec![counts()]).unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains("certificate"), "{error}");
    let wrong = Config { password: "geheim7".to_owned().into(), ..config };
    let error = open(&wrong, dir.path(), vec![counts()]).unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains("28P01"), "{error}");
    assert!(!format!("{error} {error:?}").contains("geheim7"));
}

/// `docker/init-db.sql` and the sink agree, to the letter and for the server.
#[test]
fn tables_of_init_db_are_those_of_the_sink() {
    let schemas = tidegate_dataflows::activity::table_schemas().to_vec();
    let file = include_str!("../../docker/init-db.sql");
    let statements = file.split_once("\n\n").map_or("", |(_, statements)| statements);
    assert_eq!(statements, tidegate::sink::postgres::definition(&schemas));
    let Some(config) = server("t_init") else { return };
    psql(&config, &format!("SET search_path = t_init; {file}"));
    open(&config, tempfile::tempdir().unwrap().path(), schemas).unwrap();
}

#[test]
fn refused_rows_go_aside_and_do_not_hold_up_the_others() {
    let Some(config) = server("t_refused") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&config, dir.path(), vec![counts()]).unwrap();
    psql(
        &config,
        "ALTER TABLE t_refused.page_view_counts ADD CHECK (view_count < 100), ADD UNIQUE (page_url)",
    );
    let pages: Vec<String> = (0..1000).map(|page| format!("/{page:03}")).collect();
    let mut rows: Vec<(i64, &str, i64)> = pages.iter().map(|page| (0, &**page, 1)).collect();
    rows[7].2 = 700;
    rows[500].2 = 500;
    // A row that a later one of its key replaces is none: neither its count nor its page offend.
    rows.insert(900, (0, "/950", 1_000));
    rows.push((1, "/003", 2));
    run(&mut sink, 1, vec![batch(&rows)]);
    run(&mut sink, 2, vec![batch(&[(0, "/007", 7)])]);
    assert_eq!((sink.committed().unwrap(), sink.refused()), (Some(2), 3));

    let found = views(&config);
    assert_eq!(found.len(), 999, "all but /500");
    assert!(found.iter().all(|row| row.ends_with(" 1") || row.ends_with("/007 7")), "{found:?}");
    let aside = psql(
        &config,
        "SELECT sink, epoch, table_name, row->>'page_url', row->>'view_count', sqlstate FROM t_refused.tidegate_refused \
         WHERE reason <> '' ORDER BY 4",
    );
    let expected = ["/003|2|23505", "/007|700|23514", "/500|500|23514"];
    assert_eq!(aside, expected.map(|row| format!("p|1|page_view_counts|{row}")).join("\n"));
}

/// Few rows go with the statement; what is refused of them, and rows beside many others, end as all do.
#[test]
fn few_rows_of_one_table_go_beside_many_of_another_and_refused_ones_aside() {
    let Some(config) = server("t_few") else { return };
    let dir = tempfile::tempdir().unwrap();
    let others = Schema { name: "others".into(), ..(*counts()).clone() };
    let schemas = vec![counts(), Arc::new(others)];
    let mut sink = open(&config, dir.path(), schemas.clone()).unwrap();
    psql(&config, "ALTER TABLE t_few.others ADD CHECK (view_count < 100)");
    let of_others = |rows: &[(i64, &str, i64)]| TableBatch { table: 1, ..batch(rows) };
    let both = || {
        let count =
            |table: &str| psql(&config, &format!("SELECT count(*), sum(view_count) FROM t_few.{table}"));
        [count("page_view_counts"), count("others")]
    };
    run(&mut sink, 1, vec![batch(&[(0, "/a", 1), (0, "/b", 2)]), of_others(&[(0, "/a", 10), (0, "/b", 20)])]);
    assert_eq!((both(), sink.refused()), (["2|3".to_owned(), "2|30".to_owned()], 0));

    run(
        &mut sink,
        2,
        vec![batch(&[(0, "/a", 5)]), of_others(&[(0, "/a", 11), (1, "/b", 700), (1, "/c", 30)])],
    );
    assert_eq!((both(), sink.refused()), (["2|7".to_owned(), "3|61".to_owned()], 1));
    let aside =
        psql(&config, "SELECT epoch, table_name, row->>'page_url', sqlstate FROM t_few.tidegate_refused");
    assert_eq!(aside, "2|others|/b|23514");

    let pages: Vec<String> = (0..1_000).map(|page| format!("/{page:04}")).collect();
    let many: Vec<(i64, &str, i64)> = pages.iter().map(|page| (2, &**page, 1)).collect();
    sink.write(3, batch(&many)).unwrap();
    sink.write(3, of_others(&[(2, "/d", 40), (2, "/e", 900)])).unwrap();
    let staged = sink.prepare(3).unwrap();
    sink.commit(3, 1, &staged).unwrap();
    assert_eq!((both(), sink.refused()), (["1002|1007".to_owned(), "4|101".to_owned()], 2));

    // Whoever starts next commits it again, and what was staged is gone.
    let mut next = open(&config, dir.path(), schemas).unwrap();
    next.commit(3, 2, &staged).unwrap();
    assert_eq!((next.committed().unwrap(), next.refused()), (Some(3), 0));
    assert!(matches!(sink.commit(3, 1, &staged), Err(SinkError::Fenced { ours: 1, newer: 2, .. })));
}

/// A table that refuses everything is no matter of rows; nor is a constraint that is checked when nobody can tell which row breaks it.
#[test]
fn table_that_is_wrong_fails_the_sink_and_keeps_nothing() {
    let Some(config) = server("t_wrong") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&config, dir.path(), vec![counts()]).unwrap();
    let pages: Vec<String> = (0..1_500).map(|page| format!("/{page:04}")).collect();
    let rows: Vec<(i64, &str, i64)> = pages.iter().map(|page| (0, &**page, 1)).collect();
    sink.write(1, batch(&rows)).unwrap();
    let staged = sink.prepare(1).unwrap();
    for (constraint, expected) in [
        ("CHECK (view_count > 1)", "refuses more than 1000 rows of epoch 1"),
        ("EXCLUDE USING btree (view_count WITH =) DEFERRABLE INITIALLY DEFERRED", "SQLSTATE 23P01"),
    ] {
        psql(&config, &format!("ALTER TABLE t_wrong.page_view_counts ADD CONSTRAINT wrong {constraint}"));
        let error = sink.commit(1, 1, &staged).unwrap_err();
        assert!(!error.is_retriable() && error.to_string().contains(expected), "{error}");
        psql(&config, "ALTER TABLE t_wrong.page_view_counts DROP CONSTRAINT wrong");
    }
    assert_eq!((sink.committed().unwrap(), sink.refused()), (None, 0));
    assert_eq!(psql(&config, "SELECT count(*) FROM t_wrong.tidegate_refused"), "0");
    sink.commit(1, 1, &staged).unwrap();
    assert_eq!(views(&config).len(), 1_500);
}

/// Prints rows a second; on a build that is optimised it is the sink's figure.
#[test]
fn rate_of_upserts() {
    let Some(config) = server("t_rate") else { return };
    let dir = tempfile::tempdir().unwrap();
    let columns = [("window_start", Time), ("window_end", Time), ("page_url", Text), ("view_count", Int)];
    let schema = Arc::new(Schema::new("page_view_counts", &columns, &["window_start", "page_url"]));
    let mut sink = open(&config, dir.path(), vec![Arc::clone(&schema)]).unwrap();
    for epoch in 1..=4_u64 {
        for chunk in 0..50_i64 {
            let mut rows = schema.batch();
            for row in 0..4_000 {
                // Half of an epoch's keys are in the table already.
                let minute = (epoch as i64 * 100 + chunk * 4) * 60_000_000;
                let page = format!("/page/{row}");
                let times = [Cell::Time(minute), Cell::Time(minute + 60_000_000)];
                rows.push(&[times[0], times[1], Cell::Text(page.as_bytes()), Cell::Int(epoch as i64)]);
            }
            sink.write(epoch, TableBatch { table: 0, rows, provisional: false }).unwrap();
        }
        let staged = sink.prepare(epoch).unwrap();
        let began = Instant::now();
        sink.commit(epoch, 1, &staged).unwrap();
        println!("epoch {epoch}: {:.0} rows/s", 200_000.0 / began.elapsed().as_secs_f64());
    }
}

#[test]
fn rows_are_shown_before_their_epoch_ends_and_taken_back_where_it_never_does() {
    let Some(config) = server("t_early") else { return };
    let dir = tempfile::tempdir().unwrap();
    let found = || pages(&config);
    let mut sink = open(&config, dir.path(), vec![counts()]).unwrap();
    run(&mut sink, 1, vec![batch(&[(0, "/a", 1)])]);
    sink.show(2, 1, &[batch(&[(0, "/a", 2), (0, "/b", 1)]), batch(&[(0, "/b", 2)])]).unwrap();
    assert_eq!(found(), ["/a 2", "/b 2"]);
    run(&mut sink, 2, vec![batch(&[(0, "/a", 3), (0, "/b", 2)])]);
    // Too late: the epoch is in.
    sink.show(2, 1, &[batch(&[(0, "/a", 2)])]).unwrap();
    assert_eq!(found(), ["/a 3", "/b 2"]);

    sink.show(3, 1, &[batch(&[(0, "/b", 7), (0, "/c", 1)])]).unwrap();
    assert_eq!(found(), ["/a 3", "/b 7", "/c 1"]);
    // On another machine: all that is to be known is in the database.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut newer = open(&config, elsewhere.path(), vec![counts()]).unwrap();
    newer.take_back(2).unwrap();
    assert_eq!(found(), ["/a 3"], "until the end of the next epoch");
    newer.take_back(2).unwrap();
    assert_eq!(found(), ["/a 3"]);
    newer.write(3, batch(&[(0, "/b", 3)])).unwrap();
    let staged = newer.prepare(3).unwrap();
    newer.commit(3, 2, &staged).unwrap();
    assert!(matches!(sink.show(4, 1, &[batch(&[(0, "/d", 1)])]), Err(SinkError::Fenced { .. })));
    assert!(matches!(sink.take_back(1), Err(SinkError::Fenced { .. })));
    assert_eq!(found(), ["/a 3", "/b 3"]);
    let notes = || psql(&config, "SELECT count(*) FROM t_early.tidegate_early");
    assert_eq!(notes(), "0");
    newer.show(4, 2, &[batch(&[(0, "/e", 1)]), batch(&[(0, "/e", 2)])]).unwrap();
    newer.show(4, 2, &[batch(&[(0, "/e", 3)])]).unwrap();
    assert_eq!(notes(), "1", "a key is noted once");
    newer.write(4, batch(&[(0, "/e", 4)])).unwrap();
    let staged = newer.prepare(4).unwrap();
    newer.commit(4, 2, &staged).unwrap();
    assert_eq!(notes(), "0", "the commit has given its rows again");
}

/// What was shown as it stays is not written again.
#[test]
fn a_commit_writes_only_what_differs_from_what_was_shown() {
    let Some(config) = server("t_same") else { return };
    let dir = tempfile::tempdir().unwrap();
    let columns = [("k", Text), ("f", Float), ("t", Text)];
    let mut schema = Schema::new("same", &columns, &["k"]);
    (schema.columns[1].nullable, schema.columns[2].nullable) = (true, true);
    let schema = Arc::new(schema);
    let rows = |rows: &[(&str, Option<f64>, Option<&str>)]| {
        let mut batch = schema.batch();
        for &(key, number, text) in rows {
            let text = text.map_or(Cell::Null, |text| Cell::Text(text.as_bytes()));
            batch.push(&[Cell::Text(key.as_bytes()), number.map_or(Cell::Null, Cell::Float), text]);
        }
        TableBatch { table: 0, rows: batch, provisional: false }
    };
    let mut sink = open(&config, dir.path(), vec![Arc::clone(&schema)]).unwrap();
    let beside = sink.shows_beside().expect("a connection of its own");
    let some = [
        ("added", Some(-0.0), Some("ä")), // -0 is 0 in a table.
        ("filled", None, None),
        ("kept", Some(0.5), Some("ä")),
        ("nan", Some(f64::NAN), None),
        ("none", None, None),
        ("turned", Some(-2.0), None),
    ];
    beside.show(1, 1, &[rows(&some)]).unwrap();
    let by_key =
        |what: &str| psql(&config, &format!("SELECT k || ' ' || {what} FROM t_same.same ORDER BY k"));
    let before = by_key("xmin");
    let mut last = some;
    (last[0].2, last[1].1, last[5].1) = (Some("ä "), Some(1.0), Some(2.0));
    run(&mut sink, 1, vec![rows(&last)]);
    assert_eq!(
        by_key("coalesce(f::text, 'null') || coalesce(t, ' null')"),
        "added 0ä \nfilled 1 null\nkept 0.5ä\nnan NaN null\nnone null null\nturned 2 null"
    );
    let after = by_key("xmin");
    let written: Vec<&str> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .filter_map(|(_, after)| after.split(' ').next())
        .collect();
    assert_eq!(written, ["added", "filled", "turned"]);
}

/// An epoch is committed while the next one already goes on.
#[test]
fn a_commit_does_not_bring_back_what_the_next_epoch_has_replaced() {
    let Some(config) = server("t_ahead") else { return };
    let dir = tempfile::tempdir().unwrap();
    let found = || pages(&config);
    let mut sink = open(&config, dir.path(), vec![counts()]).unwrap();
    sink.write(1, batch(&[(0, "/a", 1), (0, "/b", 1)])).unwrap();
    let first = sink.prepare(1).unwrap();
    sink.show(2, 1, &[batch(&[(0, "/a", 2), (0, "/c", 1)])]).unwrap();
    sink.show(2, 1, &[batch(&[(0, "/a", 3)])]).unwrap();
    assert_eq!(found(), ["/a 3", "/c 1"]);
    sink.commit(1, 1, &first).unwrap();
    assert_eq!(found(), ["/a 3", "/b 1", "/c 1"]);
    // Its own end says what is so.
    run(&mut sink, 2, vec![batch(&[(0, "/a", 2), (0, "/c", 2)])]);
    assert_eq!(found(), ["/a 2", "/b 1", "/c 2"]);
    run(&mut sink, 3, vec![batch(&[(0, "/b", 2)])]);
    assert_eq!(found(), ["/a 2", "/b 2", "/c 2"]);
}

/// Many rows are compared with what was shown before anything is locked.
#[test]
fn many_rows_are_compared_before_the_lock_and_refused_ones_go_aside() {
    let Some(config) = server("t_compared") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(&config, dir.path(), vec![counts()]).unwrap();
    psql(&config, "ALTER TABLE t_compared.page_view_counts ADD CHECK (view_count <> 13)");
    let names: Vec<String> = (0..900).map(|page| format!("/{page:03}")).collect();
    let counted = |count: &dyn Fn(usize) -> Option<i64>| {
        let rows = names.iter().enumerate().filter_map(|(page, name)| Some((0, &**name, count(page)?)));
        batch(&rows.collect::<Vec<_>>())
    };
    let written_since = |before: &str, after: &str| {
        let changed = before.lines().zip(after.lines()).filter(|(before, after)| before != after);
        changed.map(|(_, after)| after[..4].to_owned()).collect::<Vec<_>>()
    };
    let by_page = |what: &str| {
        let query =
            format!("SELECT page_url || ' ' || {what} FROM t_compared.page_view_counts ORDER BY page_url");
        psql(&config, &query)
    };
    // Nothing was shown before the first commit, which compares nothing.
    run(&mut sink, 1, vec![counted(&|_| Some(1))]);
    sink.show(2, 1, &[counted(&|_| Some(2))]).unwrap();
    let shown = by_page("xmin");
    // Of two rows of a key the last one counts, and it is there already.
    let twice = batch(&[(0, "/005", 4), (0, "/005", 2)]);
    run(
        &mut sink,
        2,
        vec![counted(&|page| (page != 5).then_some(if page % 300 == 7 { 3 } else { 2 })), twice],
    );
    assert_eq!(written_since(&shown, &by_page("xmin")), ["/007", "/307", "/607"]);

    // Rows of the next epoch are there already; some are replaced by this one's, and written once more.
    sink.write(3, counted(&|page| Some(if page < 4 { 5 } else { 2 }))).unwrap();
    let third = sink.prepare(3).unwrap();
    sink.show(4, 1, &[counted(&|page| (page < 2 || page == 899).then_some(6))]).unwrap();
    sink.commit(3, 1, &third).unwrap();
    let now = by_page("view_count");
    let now: Vec<&str> = now.lines().collect();
    assert_eq!([now[0], now[1], now[2], now[3], now[4]], ["/000 6", "/001 6", "/002 5", "/003 5", "/004 2"]);
    assert_eq!(now[899], "/899 6");

    // One that is refused goes aside, and its row of before stays.
    sink.show(4, 1, &[counted(&|page| (page == 9).then_some(8))]).unwrap();
    run(&mut sink, 4, vec![counted(&|page| Some(if page == 11 { 13 } else { 9 }))]);
    assert_eq!(sink.refused(), 1);
    let now = by_page("view_count");
    let other: Vec<&str> = now.lines().filter(|row| !row.ends_with(" 9")).collect();
    assert_eq!((other, now.lines().count()), (vec!["/011 2"], 900));

    // And the rows of the next epoch stay, too.
    sink.write(5, counted(&|page| Some(if page == 12 { 13 } else { 10 }))).unwrap();
    let fifth = sink.prepare(5).unwrap();
    sink.show(6, 1, &[counted(&|page| (page == 20).then_some(77))]).unwrap();
    sink.commit(5, 1, &fifth).unwrap();
    assert_eq!(sink.refused(), 2);
    let now = by_page("view_count");
    let other: Vec<&str> = now.lines().filter(|row| !row.ends_with(" 10")).collect();
    assert_eq!(other, ["/012 9", "/020 77"]);
}

/// Where the server cannot look a row up, as its key may be null, nothing is compared.
#[test]
fn many_rows_whose_keys_may_be_null_replace_what_was_shown() {
    let Some(config) = server("t_null_keys") else { return };
    let dir = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new("t", &[("k", Int), ("v", Int)], &["k"]).nullable(&["k"]));
    let rows = |value: i64| {
        let mut batch = schema.batch();
        batch.push(&[Cell::Null, Cell::Int(value)]);
        (0..800).for_each(|key| batch.push(&[Cell::Int(key), Cell::Int(value)]));
        TableBatch { table: 0, rows: batch, provisional: false }
    };
    let mut sink = open(&config, dir.path(), vec![Arc::clone(&schema)]).unwrap();
    run(&mut sink, 1, vec![rows(1)]);
    sink.show(2, 1, &[rows(2)]).unwrap();
    run(&mut sink, 2, vec![rows(3)]);
    assert_eq!(psql(&config, "SELECT count(*) || ' ' || sum(v) FROM t_null_keys.t"), "801 2403");
}

/// Seven hundred rows of a table that is looked at after `page_view_counts`, and that somebody can hold.
fn last_table() -> (Arc<Schema>, impl Fn(i64) -> TableBatch) {
    let z = Arc::new(Schema::new("z", &[("k", Int), ("v", Int)], &["k"]));
    let schema = Arc::clone(&z);
    let rows = move |value: i64| {
        let mut rows = schema.batch();
        (0..700).for_each(|key| rows.push(&[Cell::Int(key), Cell::Int(value)]));
        TableBatch { table: 1, rows, provisional: false }
    };
    (z, rows)
}

/// Somebody who has the table `z` until this is told to let go.
struct Holder<'a> {
    config: &'a Config,
    psql: std::process::Child,
}

impl<'a> Holder<'a> {
    fn of_z(config: &'a Config) -> Self {
        let port = config.port.to_string();
        let mut psql = Command::new("psql");
        psql.args(["-X", "-qAt", "-h", &config.host, "-p", &port]).stdin(Stdio::piped());
        let holder = Holder { config, psql: psql.spawn().unwrap() };
        holder.says(&format!("BEGIN; LOCK TABLE {}.z;", config.schema));
        while holder.locks("") == "0" {}
        holder
    }

    fn says(&self, order: &str) {
        let mut orders = self.psql.stdin.as_ref().unwrap();
        writeln!(orders, "{order}").unwrap();
    }

    fn locks(&self, granted: &str) -> String {
        let of = format!("relation = '{}.z'::regclass", self.config.schema);
        psql(self.config, &format!("SELECT count(*) FROM pg_locks WHERE {of} AND {granted} granted"))
    }

    fn is_waited_for(&self) -> bool {
        self.locks("NOT") != "0"
    }

    fn lets_go(mut self) {
        self.says("COMMIT;");
        drop(self.psql.stdin.take());
        self.psql.wait().unwrap();
    }
}

/// Commits `epoch` while somebody has `z`: `meanwhile` is done once the commit waits for it, and ends before the commit does.
fn commit_behind(config: &Config, sink: &mut PostgresTables, epoch: u64, meanwhile: impl FnOnce()) {
    let staged = sink.prepare(epoch).unwrap();
    let holder = Holder::of_z(config);
    std::thread::scope(|scope| {
        let commit = scope.spawn(move || sink.commit(epoch, 1, &staged));
        while !holder.is_waited_for() {}
        meanwhile();
        assert!(holder.is_waited_for() && !commit.is_finished());
        holder.lets_go();
        commit.join().unwrap().unwrap();
    });
}

/// Rows that are shown between the comparing of a commit and its lock wait for neither, and what it has compared does not undo them or
/// let them stay where they are older than its own.
#[test]
fn rows_shown_while_a_commit_compares_do_not_wait_for_it_and_its_own_win() {
    let Some(config) = server("t_between") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (z, last) = last_table();
    let names: Vec<String> = (0..700).map(|page| format!("/{page:03}")).collect();
    let counted = |views: i64| batch(&names.iter().map(|name| (0, &**name, views)).collect::<Vec<_>>());
    let mut sink = open(&config, dir.path(), vec![counts(), z]).unwrap();
    let beside = sink.shows_beside().expect("a connection of its own");
    run(&mut sink, 1, vec![counted(1), last(1)]);
    beside.show(2, 1, &[counted(2), last(2)]).unwrap();
    sink.write(2, counted(2)).unwrap();
    sink.write(2, last(2)).unwrap();
    commit_behind(&config, &mut sink, 2, || {
        // Both are there at once: nothing that they need is locked.
        beside.show(2, 1, &[batch(&[(0, "/005", 1)])]).unwrap();
        beside.show(3, 1, &[batch(&[(0, "/006", 3)])]).unwrap();
        assert_eq!(pages(&config)[4..8], ["/004 2", "/005 1", "/006 3", "/007 2"]);
    });
    assert_eq!(pages(&config)[4..8], ["/004 2", "/005 2", "/006 3", "/007 2"]);
    assert_eq!(psql(&config, "SELECT count(*) || ' ' || sum(v) FROM t_between.z"), "700 1400");
}

/// A table of which nothing is shown is written before the mark is locked, so that whoever shows rows of another does not wait for it. Where
/// somebody else has decided the epoch meanwhile nothing of that stays.
#[test]
fn tables_without_early_rows_are_written_before_the_lock() {
    let Some(config) = server("t_first") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (z, last) = last_table();
    let mut sink = open(&config, dir.path(), vec![counts(), z]).unwrap();
    let beside = sink.shows_beside().expect("a connection of its own");
    let one_of_z = |value: i64| {
        let mut rows = last_table().0.batch();
        rows.push(&[Cell::Int(0), Cell::Int(value)]);
        TableBatch { table: 1, rows, provisional: true }
    };
    let sum = || psql(&config, "SELECT count(*) || ' ' || sum(v) FROM t_first.z");
    run(&mut sink, 1, vec![batch(&[(0, "/a", 1)]), last(1)]);
    beside.show(2, 1, &[batch(&[(0, "/a", 2)])]).unwrap();
    sink.write(2, batch(&[(0, "/a", 3)])).unwrap();
    sink.write(2, last(2)).unwrap();
    commit_behind(&config, &mut sink, 2, || {
        beside.show(3, 1, &[batch(&[(0, "/a", 4), (0, "/b", 1)])]).unwrap();
        assert_eq!(pages(&config), ["/a 4", "/b 1"]);
        // It would wait for the commit, which would wait for it.
        beside.show(3, 1, &[one_of_z(9)]).unwrap();
    });
    assert_eq!((pages(&config), sum()), (vec!["/a 4".to_owned(), "/b 1".to_owned()], "700 1400".to_owned()));
    // Now it may be.
    beside.show(3, 1, &[one_of_z(9)]).unwrap();
    assert_eq!(sum(), "700 1407");
    run(&mut sink, 3, vec![batch(&[(0, "/a", 4), (0, "/b", 1)]), last(2)]);

    // Another process: nothing is shown by it of that table.
    drop((beside, sink));
    let mut sink = open(&config, dir.path(), vec![counts(), last_table().0]).unwrap();
    let beside = sink.shows_beside().expect("a connection of its own");
    beside.show(4, 1, &[batch(&[(0, "/a", 5)])]).unwrap();
    sink.write(4, batch(&[(0, "/a", 5)])).unwrap();
    sink.write(4, last(7)).unwrap();
    commit_behind(&config, &mut sink, 4, || {
        psql(&config, "UPDATE t_first.tidegate_epochs SET epoch = 4");
    });
    assert_eq!(sum(), "700 1400", "it is the other's epoch");
}
