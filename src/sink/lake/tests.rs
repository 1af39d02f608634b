use std::collections::BTreeSet;
use std::fs;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use proptest::prelude::*;

use super::*;
use crate::rows::{Cell, ColumnDef, ColumnType};
use crate::sink::trial::Trial;

fn fixed() -> Schema {
    use ColumnType::{Bool, Float, Int, Text, Time};
    let columns =
        [("event_time", Time), ("user_id", Text), ("late", Bool), ("speed", Float), ("kafka_offset", Int)];
    Schema::new("activity", &columns, &[]).nullable(&["speed"])
}

fn with_extras(names: &[&str]) -> Schema {
    let mut schema = fixed();
    schema.columns.extend(names.iter().map(|name| ColumnDef {
        name: format!("x_{name}").into(),
        kind: ColumnType::Text,
        nullable: true,
    }));
    schema
}

/// Rows with the given offsets; the extra columns hold the offset where it is even.
pub(super) fn batch(
    dir: &str,
    writer_partition: u32,
    extras: &[&str],
    offsets: std::ops::Range<i64>,
) -> LakeBatch {
    let schema = with_extras(extras);
    let mut rows = schema.batch();
    for offset in offsets {
        let text = offset.to_string();
        let speed = if offset % 3 == 0 { Cell::Null } else { Cell::Float(offset as f64 / 2.0) };
        let extra = if offset % 2 == 0 { Cell::Text(text.as_bytes()) } else { Cell::Null };
        let user = format!("user_{}", offset % 7);
        let fixed = [
            Cell::Time(offset),
            Cell::Text(user.as_bytes()),
            Cell::Bool(offset % 2 == 0),
            speed,
            Cell::Int(offset),
        ];
        rows.push_cells(fixed.into_iter().chain(extras.iter().map(|_| extra)));
    }
    LakeBatch { partition_dir: dir.to_owned(), writer_partition, schema: Arc::new(schema), rows }
}

pub(super) fn open(dir: &Path) -> ParquetLake {
    ParquetLake::open(dir, "lake", Durability::Process).unwrap()
}

pub(super) fn run(sink: &mut ParquetLake, epoch: u64, batches: Vec<LakeBatch>) {
    for batch in batches {
        sink.write(epoch, batch).unwrap();
    }
    let staged = sink.prepare(epoch).unwrap();
    sink.commit(epoch, 1, &staged).unwrap();
}

/// The Parquet files that a reader of the tree finds, below the lake.
pub(super) fn visible(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}

fn rows(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    reader.get_row_iter(None).unwrap().map(|row| row.unwrap()).collect()
}

fn columns(path: &Path) -> Vec<String> {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    schema.iter().map(|column| column.name().to_owned()).collect()
}

/// (directory, kafka_offset, x_a) of every row in the lake, sorted, by what the manifests list.
pub(super) fn content(dir: &Path) -> Vec<(String, i64, Option<String>)> {
    let listed = LakeIndex::read(&crate::storage::Dir::new(dir)).unwrap().files;
    let mut names: Vec<_> = listed.iter().map(|file| file.path.clone()).collect();
    names.sort();
    assert_eq!(names, visible(dir), "the manifests list what readers find");
    let mut content = Vec::new();
    for file in &listed {
        let found = rows(&dir.join(&file.path));
        assert_eq!(found.len() as u64, file.rows);
        let partition = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        for row in found {
            let cell =
                |name: &str| row.get_column_iter().find(|(n, _)| *n == name).map(|(_, field)| field.clone());
            let Some(Field::Long(offset)) = cell("kafka_offset") else { panic!("{row:?}") };
            let extra = match cell("x_a") {
                Some(Field::Str(text)) => Some(text),
                _ => None,
            };
            content.push((partition.to_owned(), offset, extra));
        }
    }
    content.sort();
    content
}

pub(super) fn expected(
    dir: &str,
    offsets: std::ops::Range<i64>,
    extra: bool,
) -> Vec<(String, i64, Option<String>)> {
    offsets.map(|o| (dir.to_owned(), o, (extra && o % 2 == 0).then(|| o.to_string()))).collect()
}

#[test]
fn rows_come_back_with_their_types() {
    let dir = tempfile::tempdir().unwrap();
    run(&mut open(dir.path()), 1, vec![batch("event_date=1970-01-01", 0, &["a"], 0..3)]);
    let files = visible(dir.path());
    assert_eq!(files.len(), 1);
    assert!(files[0].starts_with("event_date=1970-01-01/part-0000000001-00000-"), "{files:?}");
    let found = rows(&dir.path().join(&files[0]));
    let row = |i: usize| found[i].get_column_iter().map(|(_, field)| field.clone()).collect::<Vec<_>>();
    let text = |text: &str| Field::Str(text.to_owned());
    assert_eq!(
        row(0),
        [
            Field::TimestampMicros(0),
            text("user_0"),
            Field::Bool(true),
            Field::Null,
            Field::Long(0),
            text("0")
        ]
    );
    assert_eq!(
        row(1),
        [
            Field::TimestampMicros(1),
            text("user_1"),
            Field::Bool(false),
            Field::Double(0.5),
            Field::Long(1),
            Field::Null
        ]
    );
}

#[test]
fn file_has_the_columns_of_all_its_batches() {
    let dir = tempfile::tempdir().unwrap();
    let batches = vec![
        batch("", 0, &["b"], 0..2),
        batch("", 0, &[], 2..4),
        batch("", 0, &["rest", "z"], 4..6),
        batch("", 0, &["a", "Z"], 6..8),
    ];
    run(&mut open(dir.path()), 1, batches);
    let files = visible(dir.path());
    assert_eq!(files.len(), 1);
    let path = dir.path().join(&files[0]);
    let extras = ["x_Z", "x_a", "x_b", "x_z", "x_rest"];
    assert_eq!(columns(&path)[..5], ["event_time", "user_id", "late", "speed", "kafka_offset"]);
    assert_eq!(columns(&path)[5..], extras);
    for (offset, row) in rows(&path).iter().enumerate() {
        let present: Vec<_> = extras
            .iter()
            .enumerate()
            .filter(|(i, _)| !matches!(row.get_column_iter().nth(5 + i).unwrap().1, Field::Null))
            .map(|(_, name)| *name)
            .collect();
        let expected: &[&str] = match offset {
            0 => &["x_b"],
            4 => &["x_z", "x_rest"],
            6 => &["x_Z", "x_a"],
            _ => &[],
        };
        assert_eq!(present, expected, "offset {offset}");
    }
}

#[test]
fn writer_partitions_and_directories_never_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let batches = vec![batch("a=1", 0, &[], 0..2), batch("a=1", 1, &[], 2..4), batch("a=2", 0, &[], 4..6)];
    run(&mut open(dir.path()), 1, batches);
    assert_eq!(visible(dir.path()).len(), 3);
}

#[test]
fn row_groups_fill_a_file_until_its_columns_change_or_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { group_rows: 10, ..Limits::default() };
    let mut sink = open(dir.path()).with_limits(limits);
    let batches = (0..6).map(|i| batch("", 0, if i < 4 { &["a"] } else { &["b"] }, 10 * i..10 * i + 10));
    run(&mut sink, 1, batches.collect());
    let groups: Vec<_> = visible(dir.path())
        .iter()
        .map(|name| {
            SerializedFileReader::new(fs::File::open(dir.path().join(name)).unwrap())
                .unwrap()
                .num_row_groups()
        })
        .collect();
    assert_eq!(groups, [4, 2]);
    let mut sink = sink.with_limits(Limits { file_bytes: 1, ..limits });
    run(&mut sink, 2, (6..9).map(|i| batch("", 0, &[], 10 * i..10 * i + 10)).collect());
    assert_eq!(visible(dir.path()).len(), 2 + 3);
    // A row group without a column that the file has is null there.
    let mut sink = sink.with_limits(limits);
    run(&mut sink, 3, vec![batch("", 0, &["a"], 90..100), batch("", 0, &[], 100..110)]);
    assert_eq!(visible(dir.path()).len(), 6);
    assert_eq!(content(dir.path()).len(), 110);
}

#[test]
fn many_partitions_exhaust_neither_memory_nor_files() {
    let dir = tempfile::tempdir().unwrap();
    let limits =
        Limits { group_rows: 4, memory_bytes: 4096, open_files: 3, partitions: 8, ..Limits::default() };
    let mut sink = open(dir.path()).with_limits(limits);
    for i in 0..200_i64 {
        sink.write(1, batch(&format!("second={}", i * 37 % 50), 0, &["a"], 5 * i..5 * i + 5)).unwrap();
        let open = &sink.open[&1];
        assert!(open.waiting_bytes() <= 4096);
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        assert!(descriptors < 256, "{descriptors}");
    }
    run(&mut sink, 1, vec![]);
    let offsets: BTreeSet<_> = content(dir.path()).into_iter().map(|(_, offset, _)| offset).collect();
    assert_eq!(offsets, (0..1000).collect());
}

#[test]
fn nothing_is_visible_before_the_commit_and_nothing_is_left_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    sink.write(1, batch("a=1", 0, &[], 0..5)).unwrap();
    let staged = sink.prepare(1).unwrap();
    assert!(visible(dir.path()).is_empty());
    sink.commit(1, 1, &staged).unwrap();
    assert_eq!(visible(dir.path()).len(), 1);
    assert_eq!(fs::read_dir(dir.path().join("_tidegate/staging")).unwrap().count(), 0);
    run(&mut sink, 2, vec![]);
    assert_eq!(sink.committed().unwrap(), Some(2));
    let index = LakeIndex::read(&crate::storage::Dir::new(dir.path())).unwrap();
    assert_eq!((index.epoch, index.files.len()), (Some(1), 1), "an epoch without rows has no manifest");
}

#[test]
fn damaged_staged_file_is_refused_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    sink.write(1, batch("a=1", 0, &[], 0..5)).unwrap();
    let staged = sink.prepare(1).unwrap();
    let path = sink.books.dir(&sink.books.dir_name(1)).join("00000.staged");
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(dir.path()).commit(1, 1, &staged), Err(SinkError::Failed { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(dir.path()).commit(1, 1, &staged), Err(SinkError::Failed { .. })));
    assert!(visible(dir.path()).is_empty());
}

#[test]
fn lake_of_another_sink_is_refused_and_one_without_a_name_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    run(&mut open(dir.path()), 1, vec![batch("a=1", 0, &[], 0..5)]);
    let other = || ParquetLake::open(dir.path(), "other", Durability::Process);
    let refused = other().unwrap_err();
    assert!(matches!(&refused, SinkError::NotOurs { sink, owner, .. } if sink == "other" && owner == "lake"));
    assert!(!refused.is_retriable());
    drop(open(dir.path()));
    let owner = dir.path().join(BOOKS).join("owner.json");
    fs::write(&owner, "{").unwrap();
    assert!(other().unwrap_err().to_string().contains("damaged"));
    // What an older version left has no such file.
    fs::remove_file(&owner).unwrap();
    other().unwrap();
    let refused = ParquetLake::open(dir.path(), "lake", Durability::Process);
    assert!(matches!(refused, Err(SinkError::NotOurs { .. })));
}

#[test]
fn batch_that_does_not_fit_is_refused_before_the_epoch_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    assert!(sink.write(1, batch("../a=1", 0, &[], 0..1)).is_err());
    let mut other = batch("a=1", 0, &["a"], 0..1);
    other.schema = Arc::new(fixed());
    assert!(sink.write(1, other).is_err());
    sink.write(1, batch("a=1", 0, &["a"], 0..1)).unwrap();
    let schema = Schema::new("activity", &[("x_a", ColumnType::Int)], &[]);
    let mut rows = schema.batch();
    rows.push(&[Cell::Int(1)]);
    let other = LakeBatch { schema: Arc::new(schema), rows, ..batch("a=1", 0, &[], 0..1) };
    assert!(sink.write(1, other).unwrap_err().to_string().contains("x_a"));
}

fn trial_output(epoch: u64, cut: u64) -> Vec<LakeBatch> {
    let from = 10 * (epoch as i64 - 1);
    let middle = from + cut as i64 % 10;
    vec![
        batch("d=1", 0, &["a"], from..middle),
        batch("d=1", 0, &["a"], middle..from + 10),
        batch(&format!("d=2/e={epoch}"), 1, &[], from..from + 10),
    ]
}

fn trial_check(dir: &Path, _: &ParquetLake, epoch: u64) {
    let mut wanted = expected("d=1", 0..10 * epoch as i64, true);
    for e in 1..=epoch {
        wanted.extend(expected(&format!("d=2/e={e}"), 10 * (e as i64 - 1)..10 * e as i64, false));
    }
    wanted.sort();
    assert_eq!(content(dir), wanted);
}

fn trial() -> Trial<'static, ParquetLake> {
    Trial {
        epochs: 3,
        open: &|dir, disk| ParquetLake::open_on(disk, dir, "lake"),
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
    fn every_row_is_there_once_whatever_the_batches_epochs_and_limits(
        steps in prop::collection::vec((0_usize..3, 0_u32..2, 0_i64..9, any::<bool>(), 0_u8..4), 0..30),
        (group_rows, memory_bytes, open_files, partitions) in (1_usize..20, 100_usize..4000, 1_usize..4, 1_usize..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { group_rows, memory_bytes, open_files, partitions, ..Limits::default() };
        let mut sink = open(dir.path()).with_limits(limits);
        let (mut next, mut epoch, mut wanted) = (0, 1, Vec::new());
        for (place, writer, count, extra, after) in steps {
            let place = ["", "d=1", "d=2/e=1"][place];
            let extras: &[&str] = if extra { &["a"] } else { &[] };
            sink.write(epoch, batch(place, writer, extras, next..next + count)).unwrap();
            wanted.extend(expected(place, next..next + count, extra));
            next += count;
            if after == 0 {
                run(&mut sink, epoch, vec![]);
                epoch += 1;
            }
        }
        run(&mut sink, epoch, vec![]);
        wanted.sort();
        prop_assert_eq!(content(dir.path()), wanted);
    }
}
