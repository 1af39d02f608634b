use std::time::Duration;

use super::*;
use crate::rows::{Cell, ColumnType};
use crate::sink::tables::TableBatch;

fn schema(name: &'static str) -> Arc<Schema> {
    Arc::new(
        Schema::new(name, &[("n", ColumnType::Int), ("name", ColumnType::Text)], &[]).nullable(&["name"]),
    )
}

fn tables() -> Vec<DeltaTable> {
    let dated = DeltaTable {
        schema: schema("dated"),
        partition_columns: vec!["event_date".to_owned()],
        replaces: false,
    };
    vec![dated, DeltaTable { schema: schema("plain"), partition_columns: Vec::new(), replaces: false }]
}

pub(super) fn open(root: &Path, options: Options) -> DeltaTables {
    DeltaTables::open(root, "test", tables(), options, Durability::Process).unwrap()
}

fn batch(table: &'static str, dir: &str, numbers: std::ops::Range<i64>) -> LakeBatch {
    let schema = schema(table);
    let mut rows = schema.batch();
    for n in numbers {
        let name = if n % 2 == 0 { Cell::Null } else { Cell::Text(b"odd") };
        rows.push(&[Cell::Int(n), name]);
    }
    LakeBatch { partition_dir: dir.to_owned(), writer_partition: 0, schema, rows }
}

pub(super) fn epoch(sink: &mut DeltaTables, epoch: u64, rows: i64) -> Staged {
    sink.write(epoch, batch("dated", "event_date=2024-01-28", 0..rows)).unwrap();
    let staged = sink.prepare(epoch).unwrap();
    sink.commit(epoch, 1, &staged).unwrap();
    staged
}

/// The first column of the rows of the table `dated`, in order.
pub(super) fn numbers(root: &Path) -> Vec<i64> {
    let mut numbers = Vec::new();
    for path in snapshot(root, "dated").files.into_keys() {
        let bytes = std::fs::read(root.join("dated").join(path)).unwrap();
        for batch in crate::sink::lake::read_file(bytes, &|_| true).unwrap().batches {
            numbers.extend((0..batch.len()).map(|row| match batch.row(row).next() {
                Some(Cell::Int(number)) => number,
                other => panic!("{other:?}"),
            }));
        }
    }
    numbers.sort_unstable();
    numbers
}

pub(super) fn snapshot(root: &Path, table: &str) -> Snapshot {
    Log::new(Arc::new(Dir::new(root)), table, "test").snapshot(None).unwrap()
}

#[test]
fn small_files_of_many_epochs_are_merged_while_the_sink_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let merge = Merge { after_files: 10, limits: Limits { file_bytes: 1 << 20, ..Limits::default() } };
    let mut sink = open(root.path(), Options { merge: Some(merge), ..Options::default() });
    for number in 1..=100 {
        epoch(&mut sink, number, 2);
        // The next one may come before the first ten are merged, or after.
        while number % 50 == 0 && !sink.merging.is_due(merge, 10) {
            std::thread::yield_now();
        }
    }
    drop(sink);
    let merged = snapshot(root.path(), "dated");
    let place: Arc<dyn Storage> = Arc::new(Dir::new(&root.path().join("dated")));
    let operations: Vec<_> = history(&place).unwrap().into_iter().map(|commit| commit.operation).collect();
    let times = operations.iter().filter(|operation| *operation == "OPTIMIZE").count();
    // At most once for each ten new files.
    assert!((2..=10).contains(&times), "{operations:?}");
    assert!(merged.files.len() <= 50, "{} files", merged.files.len());
    // Each epoch is in once, and a new sink takes none of them again.
    assert_eq!(numbers(root.path()), [vec![0; 100], vec![1; 100]].concat());
    let mut sink = open(root.path(), Options { merge: Some(merge), ..Options::default() });
    assert_eq!(sink.committed().unwrap(), Some(100));
    epoch(&mut sink, 101, 1);
    assert_eq!(numbers(root.path()).len(), 201);
}

#[test]
fn nothing_is_visible_before_the_commit_and_all_after_it() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), Options::default());
    sink.write(1, batch("dated", "event_date=2024-01-28", 0..3)).unwrap();
    sink.write(1, batch("dated", "event_date=2024-01-29", 0..2)).unwrap();
    let staged = sink.prepare(1).unwrap();
    assert_eq!(snapshot(root.path(), "dated").version, None);
    sink.commit(1, 1, &staged).unwrap();
    let dated = snapshot(root.path(), "dated");
    assert_eq!((dated.version, dated.files.len()), (Some(0), 2));
    let dates: Vec<_> = dated.files.values().map(|add| add.partition_values["event_date"].clone()).collect();
    assert_eq!(dates, [Some("2024-01-28".to_owned()), Some("2024-01-29".to_owned())]);
    // The other table is there, and empty.
    let plain = snapshot(root.path(), "plain");
    assert_eq!((plain.version, plain.files.len()), (Some(0), 0));
}

#[test]
fn epoch_that_is_in_the_log_is_not_put_again_even_without_the_mark() {
    let root = tempfile::tempdir().unwrap();
    let staged = epoch(&mut open(root.path(), Options::default()), 1, 3);
    let once = snapshot(root.path(), "dated");
    std::fs::remove_file(root.path().join("dated/_tidegate/mark.json")).unwrap();
    let mut again = open(root.path(), Options::default());
    again.commit(1, 1, &staged).unwrap();
    assert_eq!(snapshot(root.path(), "dated"), once);
    assert_eq!(again.committed().unwrap(), Some(1));
}

#[test]
fn commit_by_another_process_is_finished_from_the_description() {
    let root = tempfile::tempdir().unwrap();
    let mut died = open(root.path(), Options::default());
    died.write(1, batch("dated", "event_date=2024-01-28", 0..3)).unwrap();
    let staged = died.prepare(1).unwrap();
    drop(died);
    open(root.path(), Options::default()).commit(1, 2, &staged).unwrap();
    assert_eq!(snapshot(root.path(), "dated").files.len(), 1);
}

#[test]
fn older_generation_is_fenced_by_the_log() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), Options::default());
    sink.write(1, batch("dated", "event_date=2024-01-28", 0..3)).unwrap();
    let staged = sink.prepare(1).unwrap();
    sink.commit(1, 5, &staged).unwrap();
    std::fs::remove_file(root.path().join("dated/_tidegate/mark.json")).unwrap();
    sink.write(2, batch("dated", "event_date=2024-01-28", 0..3)).unwrap();
    let staged = sink.prepare(2).unwrap();
    assert!(matches!(sink.commit(2, 4, &staged), Err(SinkError::Fenced { ours: 4, newer: 5, .. })));
}

#[test]
fn version_that_another_writer_has_taken_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), Options::default());
    epoch(&mut sink, 1, 3);
    let log = Log::new(Arc::new(Dir::new(root.path())), "dated", "other");
    assert_eq!(log.put(0, &[]).unwrap(), Put::Taken);
    assert_eq!(log.put(1, &[Action::CommitInfo(json!({"operation": "OTHER"}))]).unwrap(), Put::Done);
    epoch(&mut sink, 2, 3);
    let dated = snapshot(root.path(), "dated");
    assert_eq!((dated.version, dated.files.len()), (Some(2), 2));
}

#[test]
fn checkpoint_holds_what_the_commits_before_it_say() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), Options { checkpoint_every: 4, ..Options::default() });
    for number in 1..=4 {
        epoch(&mut sink, number, 3);
    }
    let logs = root.path().join("dated").join(LOG);
    assert!(logs.join("00000000000000000003.checkpoint.parquet").is_file());
    // What the commits say by themselves, without the checkpoint.
    let hidden: Vec<_> = ["_last_checkpoint", "00000000000000000003.checkpoint.parquet"]
        .map(|name| (logs.join(name), root.path().join(name)))
        .into();
    hidden.iter().for_each(|(there, aside)| std::fs::rename(there, aside).unwrap());
    let whole = snapshot(root.path(), "dated");
    hidden.iter().for_each(|(there, aside)| std::fs::rename(aside, there).unwrap());
    (0..4).for_each(|version| std::fs::remove_file(logs.join(format!("{version:020}.json"))).unwrap());
    let mut of_checkpoint = snapshot(root.path(), "dated");
    of_checkpoint.files.values_mut().for_each(|add| add.data_change = true);
    assert_eq!(of_checkpoint, whole);
    // And writing goes on from there.
    epoch(&mut open(root.path(), Options::default()), 5, 3);
    assert_eq!(snapshot(root.path(), "dated").files.len(), 5);
}

#[test]
fn table_with_other_columns_is_refused_or_evolves() {
    let root = tempfile::tempdir().unwrap();
    epoch(&mut open(root.path(), Options::default()), 1, 3);
    let wider = || {
        let columns = [("n", ColumnType::Int), ("name", ColumnType::Text), ("more", ColumnType::Float)];
        let schema = Arc::new(Schema::new("dated", &columns, &[]).nullable(&["name", "more"]));
        vec![DeltaTable { schema, partition_columns: vec!["event_date".to_owned()], replaces: false }]
    };
    let enforced = DeltaTables::open(root.path(), "test", wider(), Options::default(), Durability::Process);
    assert!(enforced.unwrap_err().to_string().contains("lacks columns"));
    let evolve = Options { schema: SchemaMode::Evolve, ..Options::default() };
    let mut sink = DeltaTables::open(root.path(), "test", wider(), evolve, Durability::Process).unwrap();
    let staged = sink.prepare(2).unwrap();
    sink.commit(2, 1, &staged).unwrap();
    assert!(snapshot(root.path(), "dated").metadata.unwrap().schema_string.contains("\"more\""));
}

#[test]
fn history_tells_versions_and_vacuum_removes_what_no_version_needs() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), Options::default());
    epoch(&mut sink, 1, 3);
    epoch(&mut sink, 2, 4);
    let dir = root.path().join("dated");
    let place = |dir: &Path| -> Arc<dyn Storage> { Arc::new(Dir::new(dir)) };
    let rows: Vec<_> =
        history(&place(&dir)).unwrap().iter().map(|commit| (commit.version, commit.rows)).collect();
    assert_eq!(rows, [(1, 4), (0, 3)]);
    let orphan = dir.join("event_date=2024-01-28").join("part-0000000009-00000-00000000.parquet");
    std::fs::write(&orphan, b"left behind").unwrap();
    assert_eq!(vacuum(&dir, Duration::from_secs(3600), false).unwrap(), Vacuumed::default());
    assert_eq!(vacuum(&dir, Duration::ZERO, true).unwrap().files.len(), 1);
    assert!(orphan.is_file());
    assert_eq!(vacuum(&dir, Duration::ZERO, false).unwrap().bytes, 11);
    assert!(!orphan.is_file());
    assert_eq!(snapshot(root.path(), "dated").files.len(), 2);
    assert!(history(&place(root.path())).is_err());
}

#[test]
fn rows_that_replace_others_by_key_leave_one_each() {
    let root = tempfile::tempdir().unwrap();
    let columns = [("route", ColumnType::Text), ("n", ColumnType::Int)];
    let schema = Arc::new(Schema::new("totals", &columns, &["route"]));
    let of =
        || vec![DeltaTable { schema: Arc::clone(&schema), partition_columns: Vec::new(), replaces: true }];
    let open = || {
        let tables =
            DeltaTables::open(root.path(), "test", of(), Options::default(), Durability::Process).unwrap();
        DeltaRows::new(of(), tables)
    };
    let mut sink = open();
    for (epoch, totals) in
        [(1, vec![("a", 1), ("b", 2)]), (2, vec![("b", 5)]), (3, vec![]), (4, vec![("c", 9), ("a", 3)])]
    {
        let mut rows = schema.batch();
        totals.iter().for_each(|(route, n)| rows.push(&[Cell::Text(route.as_bytes()), Cell::Int(*n)]));
        sink.write(epoch, TableBatch { table: 0, rows, provisional: false }).unwrap();
        let staged = sink.prepare(epoch).unwrap();
        sink = open();
        sink.commit(epoch, 1, &staged).unwrap();
        sink.commit(epoch, 1, &staged).unwrap();
    }
    let snapshot = snapshot(root.path(), "totals");
    assert_eq!((snapshot.version, snapshot.files.len(), snapshot.removed.len()), (Some(2), 1, 2));
    let tables =
        DeltaTables::open(root.path(), "test", of(), Options::default(), Durability::Process).unwrap();
    let rows = tables.rows("totals").unwrap();
    let mut expected = schema.batch();
    for (route, n) in [("a", 3), ("b", 5), ("c", 9)] {
        expected.push(&[Cell::Text(route.as_bytes()), Cell::Int(n)]);
    }
    assert_eq!(rows, expected);
}

#[test]
fn provisional_rows_are_not_appended() {
    let root = tempfile::tempdir().unwrap();
    let columns = [("route", ColumnType::Text), ("n", ColumnType::Int)];
    let schema = Arc::new(Schema::new("activity", &columns, &["route"]));
    let of =
        || vec![DeltaTable { schema: Arc::clone(&schema), partition_columns: Vec::new(), replaces: false }];
    let tables =
        DeltaTables::open(root.path(), "test", of(), Options::default(), Durability::Process).unwrap();
    let mut sink = DeltaRows::new(of(), tables);
    let of_count = |n: i64| {
        let mut rows = schema.batch();
        rows.push(&[Cell::Text(b"a"), Cell::Int(n)]);
        rows
    };
    for (epoch, n, provisional) in [(1, 4, true), (2, 6, true), (3, 7, false)] {
        sink.write(epoch, TableBatch { table: 0, rows: of_count(n), provisional }).unwrap();
        let staged = sink.prepare(epoch).unwrap();
        sink.commit(epoch, 1, &staged).unwrap();
    }
    let tables =
        DeltaTables::open(root.path(), "test", of(), Options::default(), Durability::Process).unwrap();
    assert_eq!(tables.rows("activity").unwrap(), of_count(7));
}

/// A remote place is one in which nothing is renamed: a directory behind the trait is enough to see that.
#[test]
fn remote_tables_are_committed_once_by_whoever_recovers() {
    let (root, first, second) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |state: &Path| {
        let place = Arc::new(Dir::new(root.path()));
        DeltaTables::open_remote(place, state, "test", tables(), Options::default()).unwrap()
    };
    let mut died = open(first.path());
    died.write(1, batch("dated", "event_date=2024-01-28", 0..3)).unwrap();
    died.write(1, batch("plain", "", 0..2)).unwrap();
    let staged = died.prepare(1).unwrap();
    assert_eq!(died.prepare(1).unwrap(), staged);
    assert_eq!(died.committed().unwrap(), None);
    assert_eq!(snapshot(root.path(), "dated").version, None, "what no commit names is not in");
    drop(died);

    // Another machine, which has nothing but the description.
    let mut recovered = open(second.path());
    recovered.commit(1, 2, &staged).unwrap();
    recovered.commit(1, 2, &staged).unwrap();
    open(first.path()).commit(1, 3, &staged).unwrap();
    for table in ["dated", "plain"] {
        let there = snapshot(root.path(), table);
        assert_eq!((there.version, there.files.len()), (Some(0), 1), "{table}");
    }
    assert_eq!(recovered.committed().unwrap(), Some(1));
    assert_eq!(recovered.rows("plain").unwrap().len(), 2);

    // An older run, while a newer one is at work.
    let (mut older, mut newer) = (open(first.path()), open(second.path()));
    for number in [2, 3] {
        newer.write(number, batch("dated", "event_date=2024-01-28", 0..1)).unwrap();
        let staged = newer.prepare(number).unwrap();
        newer.commit(number, 4, &staged).unwrap();
    }
    older.write(4, batch("dated", "event_date=2024-01-28", 0..1)).unwrap();
    let late = older.prepare(4).unwrap();
    assert!(matches!(older.commit(4, 3, &late), Err(SinkError::Fenced { ours: 3, newer: 4, .. })));
    assert_eq!(snapshot(root.path(), "dated").files.len(), 3);
}

#[test]
fn remote_file_that_is_not_there_is_not_committed() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = || {
        let place = Arc::new(Dir::new(root.path()));
        DeltaTables::open_remote(place, state.path(), "test", tables(), Options::default()).unwrap()
    };
    let mut died = open();
    died.write(1, batch("plain", "", 0..2)).unwrap();
    let staged = died.prepare(1).unwrap();
    drop(died);
    for file in std::fs::read_dir(root.path().join("plain")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let refusal = open().commit(1, 2, &staged).unwrap_err().to_string();
    assert!(refusal.contains("is not the file that the manifest describes"), "{refusal}");
    assert_eq!(snapshot(root.path(), "plain").version, None);
}

/// Says to a test that it is the process in which it has asked for itself.
const ALONE: &str = "TIDEGATE_TEST_ALONE";

/// A thousand commits in a row, of a table that grows and of one that is replaced: memory does not grow with them. In a process of its own,
/// since what others take at the same time is not ours.
#[test]
fn thousand_commits_in_a_row_take_no_more_memory() {
    if std::env::var_os(ALONE).is_some() {
        return thousand_commits();
    }
    let program = std::env::current_exe().unwrap();
    let name = "sink::delta::tests::thousand_commits_in_a_row_take_no_more_memory";
    let arguments = ["--exact", name, "--nocapture"];
    let ran = std::process::Command::new(program).args(arguments).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}");
    let resident = |after: &str| {
        let (_, kib) = said.split_once(&format!("after {after}: ")).unwrap_or_else(|| panic!("{said}"));
        kib.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let (early, late) = (resident("250"), resident("1000"));
    assert!(late < early + (24 << 10), "{early} KiB after 250 commits, {late} after 1,000");
}

fn thousand_commits() {
    let (grows, replaced) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut grown = open(grows.path(), Options::default());
    let columns = [("route", ColumnType::Text), ("n", ColumnType::Int)];
    let schema = Arc::new(Schema::new("totals", &columns, &["route"]));
    let of =
        || vec![DeltaTable { schema: Arc::clone(&schema), partition_columns: Vec::new(), replaces: true }];
    let tables = DeltaTables::open(replaced.path(), "test", of(), Options::default(), Durability::Process);
    let mut totals = DeltaRows::new(of(), tables.unwrap());
    for number in 1..=1_000 {
        epoch(&mut grown, number, 3);
        let mut rows = schema.batch();
        rows.push(&[Cell::Text(b"a"), Cell::Int(number as i64)]);
        totals.write(number, TableBatch { table: 0, rows, provisional: false }).unwrap();
        let staged = totals.prepare(number).unwrap();
        totals.commit(number, 1, &staged).unwrap();
        if [250, 1_000].contains(&number) {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let (_, resident) = status.split_once("VmRSS:").unwrap();
            println!("after {number}: {} KiB", resident.trim().split(' ').next().unwrap());
        }
    }
    let now = snapshot(replaced.path(), "totals");
    assert_eq!((now.version, now.files.len(), now.removed.len()), (Some(999), 1, 999));
    let now = snapshot(grows.path(), "dated");
    assert_eq!((now.version, now.files.len()), (Some(999), 1_000));
}
