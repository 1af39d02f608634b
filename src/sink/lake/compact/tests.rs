use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::sink::Sink;
use crate::sink::lake::BOOKS;
use crate::sink::lake::tests::{batch, content, expected, open, run, visible};
use crate::storage::failing::Failing;
use crate::storage::{Dir, Storage};

fn compact(dir: &Path, level: Option<&str>) -> Compacted {
    let compaction = Compaction { level: level.map(str::to_owned), ..Compaction::default() };
    compaction.run(&Dir::new(dir)).unwrap()
}

/// A lake of six epochs, each with a file in `d=1` and one in `d=2/e=<epoch>`.
fn small_files(dir: &Path) -> Vec<(String, i64, Option<String>)> {
    let mut sink = open(dir);
    let mut wanted = Vec::new();
    for epoch in 1..=6 {
        let offsets = 10 * (epoch as i64 - 1)..10 * epoch as i64;
        let deep = format!("d=2/e={epoch}");
        run(
            &mut sink,
            epoch,
            vec![batch("d=1", 0, &["a"], offsets.clone()), batch(&deep, 1, &[], offsets.clone())],
        );
        wanted.extend(expected("d=1", offsets.clone(), true));
        wanted.extend(expected(&deep, offsets, false));
    }
    wanted.sort();
    wanted
}

#[test]
fn files_of_a_directory_become_one_and_no_row_is_lost_or_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = small_files(dir.path());
    let done = compact(dir.path(), None);
    assert_eq!((done.files_before, done.merged, done.into, done.files_after), (12, 6, 1, 7));
    assert_eq!(content(dir.path()), wanted);
    assert_eq!(compact(dir.path(), None).merged, 0, "nothing is left to merge");
    assert_eq!(content(dir.path()), wanted);
}

#[test]
fn deeper_levels_become_columns() {
    let dir = tempfile::tempdir().unwrap();
    let mut wanted = small_files(dir.path());
    let done = compact(dir.path(), Some("d"));
    assert_eq!((done.into, done.files_after), (2, 2));
    wanted.iter_mut().filter(|row| row.0 != "d=1").for_each(|row| row.0 = "d=2".to_owned());
    wanted.sort();
    assert_eq!(content(dir.path()), wanted);
    let merged = visible(dir.path()).into_iter().find(|path| path.starts_with("d=2")).unwrap();
    let rows = read_file(std::fs::read(dir.path().join(merged)).unwrap(), &|name| name == "e").unwrap();
    let values: BTreeSet<_> = rows
        .batches
        .iter()
        .flat_map(|batch| {
            (0..batch.len()).map(|row| format!("{:?}", batch.columns()[0].get(row))).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(values.len(), 6, "{values:?}");
    let level = Some("nowhere".to_owned());
    assert!(Compaction { level, ..Compaction::default() }.run(&Dir::new(dir.path())).is_err());
}

#[test]
fn a_run_goes_on_in_a_compacted_lake() {
    let dir = tempfile::tempdir().unwrap();
    let mut wanted = small_files(dir.path());
    compact(dir.path(), None);
    let mut sink = open(dir.path());
    run(&mut sink, 7, vec![batch("d=1", 0, &["a"], 60..70)]);
    wanted.extend(expected("d=1", 60..70, true));
    wanted.sort();
    assert_eq!(content(dir.path()), wanted);
    let done = compact(dir.path(), None);
    assert_eq!((done.merged, done.into), (2, 1));
    assert_eq!(content(dir.path()), wanted);
    let index = LakeIndex::read(&Dir::new(dir.path())).unwrap();
    assert_eq!((index.epoch, index.compactions, index.rows()), (Some(7), 2, 130));
}

#[test]
fn epoch_that_is_compacted_is_never_published_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    for epoch in 1..=2 {
        run(&mut sink, epoch, vec![batch("d=1", 0, &["a"], 0..10)]);
    }
    // The same content again, from a process that does not know; and the mark is lost.
    let mut other = open(dir.path());
    other.write(1, batch("d=1", 0, &["a"], 0..10)).unwrap();
    let staged = other.prepare(1).unwrap();
    compact(dir.path(), None);
    let before = content(dir.path());
    std::fs::remove_file(dir.path().join(BOOKS).join("mark.json")).unwrap();
    other.commit(1, 1, &staged).unwrap();
    assert_eq!(content(dir.path()), before);
}

/// The rows that the manifests list, each once: the top directory and the offset.
fn by_manifest(dir: &Path) -> BTreeSet<String> {
    let files = LakeIndex::read(&Dir::new(dir)).unwrap().files;
    let offsets = |file: &LakeFile| {
        let bytes = std::fs::read(dir.join(&file.path)).unwrap();
        let batches = read_file(bytes, &|name| name == "kafka_offset").unwrap().batches;
        let top = file.path.split('/').next().unwrap_or_default().to_owned();
        let of = |batch: &RowBatch, row| format!("{top} {:?}", batch.columns()[0].get(row));
        let rows = |batch: &RowBatch| (0..batch.len()).map(|row| of(batch, row)).collect::<Vec<_>>();
        batches.iter().flat_map(rows).collect::<Vec<_>>()
    };
    let rows: Vec<_> = files.iter().flat_map(offsets).collect();
    let distinct: BTreeSet<_> = rows.iter().cloned().collect();
    assert_eq!(distinct.len(), rows.len(), "no row twice");
    distinct
}

/// What the next compaction makes of the lake in `dir`: each row once, for readers of the tree too, and nothing beside it.
fn clears_up(dir: &Path, before: &BTreeSet<String>) {
    compact(dir, Some("d"));
    assert_eq!(by_manifest(dir), *before);
    assert_eq!(content(dir).len(), before.len());
    assert!(Dir::new(dir).list(&format!("{BOOKS}/compact")).unwrap().is_empty());
    let state = Dir::new(dir).names(&format!("{BOOKS}/state")).unwrap();
    assert_eq!(state.len(), 1, "the snapshot alone: {state:?}");
}

#[test]
fn a_compaction_that_dies_anywhere_loses_and_repeats_nothing() {
    let mut changes = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let wanted = small_files(dir.path());
        let before = by_manifest(dir.path());
        assert_eq!(before.len(), wanted.len());
        let place = Failing::after(dir.path(), changes);
        let compaction = Compaction { level: Some("d".to_owned()), ..Compaction::default() };
        let died = compaction.run(&place).is_err();
        assert_eq!(by_manifest(dir.path()), before, "after {changes} changes");
        clears_up(dir.path(), &before);
        if !died {
            break;
        }
        changes += 1;
    }
    assert!(changes > 10, "{changes}");
}

#[test]
fn a_compaction_that_was_wrongly_taken_for_dead_loses_and_repeats_nothing() {
    // The second comes in at each change of the first, merges the same or another way, and ends or dies itself.
    for (level, lives) in
        [(Some("d"), i64::MAX), (None, i64::MAX), (Some("d"), 4), (None, 9), (Some("d"), 12)]
    {
        let (mut changes, mut beaten) = (0, 0);
        loop {
            let dir = tempfile::tempdir().unwrap();
            small_files(dir.path());
            let before = by_manifest(dir.path());
            let path = dir.path().to_owned();
            let second = move || {
                let compaction = Compaction { level: level.map(str::to_owned), ..Compaction::default() };
                let outcome = compaction.run(&Failing::after(&path, lives));
                assert!(lives < i64::MAX || outcome.is_ok(), "{outcome:?}");
            };
            let place = Failing::interrupted(dir.path(), changes, second);
            let first = Compaction { level: Some("d".to_owned()), ..Compaction::default() }.run(&place);
            assert_eq!(by_manifest(dir.path()), before, "{level:?}, {lives}: after {changes} changes");
            clears_up(dir.path(), &before);
            if !place.exhausted() {
                first.unwrap();
                break;
            }
            beaten += usize::from(first.is_err());
            changes += 1;
        }
        assert!(changes > 10 && beaten > 0, "{level:?}, {lives}: {changes} changes, beaten {beaten} times");
    }
}
