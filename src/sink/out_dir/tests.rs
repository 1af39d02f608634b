use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::rows::{Cell, ColumnType, Schema};
use crate::sink::Sink;
use crate::sink::disk::faults::Faults;
use crate::sink::topic::{TopicBatch, TopicFiles};

/// Writes what a replay writes, the embedded sinks that are built in, through `out`.
fn replay(out: &OutDir) {
    let process = Durability::Process;
    let dir = out.path();
    let mut topics = TopicFiles::open(&dir.join("topics"), "activity", &["a", "a.late"], process).unwrap();
    let lines = b"{}\n".to_vec();
    topics.write(1, TopicBatch { topic: 0, partition: 0, lines, count: 1 }).unwrap();
    let staged = topics.prepare(1).unwrap();
    topics.commit(1, 1, &staged).unwrap();
    topics.finish().unwrap();
    let schema = Arc::new(Schema::new("t", &[("x", ColumnType::Int)], &["x"]));
    let mut rows = schema.batch();
    rows.push(&[Cell::Int(1)]);
    #[cfg(feature = "sqlite")]
    {
        use crate::sink::sqlite::{SqliteTables, TableBatch};
        let mut tables = SqliteTables::open(dir, "activity", vec![Arc::clone(&schema)], process).unwrap();
        tables.write(1, TableBatch { table: 0, rows: rows.clone(), provisional: false }).unwrap();
        let staged = tables.prepare(1).unwrap();
        tables.commit(1, 1, &staged).unwrap();
    }
    #[cfg(feature = "lake")]
    {
        use crate::sink::lake::{LakeBatch, ParquetLake};
        let mut lake = ParquetLake::open(&dir.join("lake/activity"), "activity", process).unwrap();
        let batch = LakeBatch { partition_dir: "d=1/e=2".into(), writer_partition: 0, schema, rows };
        lake.write(1, batch).unwrap();
        let staged = lake.prepare(1).unwrap();
        lake.commit(1, 1, &staged).unwrap();
    }
    fs::write(dir.join("summary.json"), "{}").unwrap();
    fs::write(dir.join(BOOKS).join("manifest-1.json"), "{}").unwrap();
}

/// All files below `dir` with their content, the lock left out.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path);
            } else if !path.ends_with(".tidegate/lock") {
                let content = fs::read(&path).unwrap_or_default();
                found.insert(path, content);
            }
        }
    }
    found
}

fn only_the_marker(dir: &Path) -> bool {
    let top: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    top == [BOOKS] && files(dir).into_keys().eq([dir.join(BOOKS).join(MARKER)])
}

#[test]
fn replay_replaces_what_an_earlier_replay_left() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("new/out");
    for _ in 0..3 {
        let out = OutDir::prepare_replay(&dir).unwrap();
        assert!(only_the_marker(&dir));
        replay(&out);
        out.finish().unwrap();
    }
}

#[test]
fn nothing_that_tidegate_did_not_make_is_touched() {
    let foreign = [
        "notes.txt",
        "topics/mine.jsonl",
        "topics/a.jsonl.bak",
        "lake/readme",
        "lake/activity/notes.txt",
        "lake/activity/d=1/mine.parquet",
        "lake/activity/d=1/part-1.parquet",
        "lake/activity/own/part-0000000001-00000-00000000.parquet",
        "lake/mine/x.csv",
        "delta/x/y",
        ".hidden",
    ];
    for name in foreign {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("out");
        replay(&OutDir::prepare_replay(&dir).unwrap());
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        let before = files(&dir);
        let error = OutDir::prepare_replay(&dir).unwrap_err();
        let first = Path::new(name).components().next_back().unwrap().as_os_str().to_str().unwrap();
        let shown = error.to_string();
        assert!(shown.contains(first) || name.contains("own/"), "{name}: {shown}");
        assert!(matches!(error, OutDirError::Foreign { .. }));
        assert_eq!(files(&dir), before, "{name}");
    }
}

#[test]
fn directory_of_somebody_else_is_refused_and_left_as_it_is() {
    for name in ["tables.sqlite", "summary.json", "lake/activity/x.parquet", "some/file", ".git"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        let before = files(dir.path());
        for refused in [OutDir::prepare_replay(dir.path()), OutDir::prepare_run(dir.path())] {
            assert!(matches!(refused, Err(OutDirError::Foreign { .. })), "{name}");
        }
        assert_eq!(files(dir.path()), before);
        assert!(!dir.path().join(BOOKS).exists());
    }
}

#[cfg(unix)]
#[test]
fn symbolic_link_is_not_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("part-0000000001-00000-00000000.parquet"), "mine").unwrap();
    let dir = tempfile::tempdir().unwrap();
    replay(&OutDir::prepare_replay(dir.path()).unwrap());
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("lake/link")).unwrap();
    assert!(matches!(OutDir::prepare_replay(dir.path()), Err(OutDirError::Foreign { .. })));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[test]
fn run_keeps_its_output_and_is_not_replaced_by_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    replay(&OutDir::prepare_run(dir.path()).unwrap());
    let before = files(dir.path());
    assert!(matches!(OutDir::prepare_replay(dir.path()), Err(OutDirError::OtherKind { .. })));
    drop(OutDir::prepare_run(dir.path()).unwrap());
    assert_eq!(files(dir.path()), before);
    let dir = tempfile::tempdir().unwrap();
    replay(&OutDir::prepare_replay(dir.path()).unwrap());
    assert!(matches!(OutDir::prepare_run(dir.path()), Err(OutDirError::OtherKind { .. })));
}

#[test]
fn second_process_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let first = OutDir::prepare_replay(dir.path()).unwrap();
    replay(&first);
    let before = files(dir.path());
    let refused = OutDir::prepare_replay(dir.path()).unwrap_err();
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    assert_eq!(files(dir.path()), before);
    drop(first);
    OutDir::prepare_replay(dir.path()).unwrap();
}

#[test]
fn damaged_marker_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    replay(&OutDir::prepare_replay(dir.path()).unwrap());
    fs::write(dir.path().join(BOOKS).join(MARKER), "{").unwrap();
    assert!(matches!(OutDir::prepare_replay(dir.path()), Err(OutDirError::Marker { .. })));
}

#[test]
fn clean_up_that_dies_anywhere_leaves_a_directory_of_ours() {
    for changes in 0.. {
        let dir = tempfile::tempdir().unwrap();
        replay(&OutDir::prepare_replay(dir.path()).unwrap());
        let (disk, faults) = Faults::after(changes);
        let outcome = OutDir::prepare(disk, dir.path(), Kind::Replay);
        if outcome.is_ok() {
            assert!(changes > 10);
            break;
        }
        assert!(faults.exhausted());
        let out = OutDir::prepare_replay(dir.path()).unwrap();
        assert!(only_the_marker(dir.path()), "after {changes} changes");
        replay(&out);
    }
    let parent = tempfile::tempdir().unwrap();
    for changes in 0..4 {
        let dir = parent.path().join(changes.to_string());
        drop(OutDir::prepare(Faults::after(changes).0, &dir, Kind::Replay));
        OutDir::prepare_replay(&dir).unwrap();
    }
}
