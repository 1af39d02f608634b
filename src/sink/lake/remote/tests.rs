use std::path::Path;

use super::*;
use crate::sink::lake::tests::{batch, content, expected, visible};
use crate::sink::lake::{Compaction, LakeIndex};
use crate::storage::Dir;
use crate::storage::failing::Failing;

fn open(place: Arc<dyn Storage>, state: &Path) -> RemoteLake {
    RemoteLake::open(place, state, "lake").unwrap()
}

/// The rows of an epoch: ten in one directory, ten in another.
fn output(epoch: u64) -> Vec<LakeBatch> {
    let offsets = 10 * (epoch as i64 - 1)..10 * epoch as i64;
    vec![batch("d=1", 0, &["a"], offsets.clone()), batch(&format!("d=2/e={epoch}"), 1, &[], offsets)]
}

fn wanted(epochs: u64) -> Vec<(String, i64, Option<String>)> {
    let mut wanted = expected("d=1", 0..10 * epochs as i64, true);
    for epoch in 1..=epochs {
        let offsets = 10 * (epoch as i64 - 1)..10 * epoch as i64;
        wanted.extend(expected(&format!("d=2/e={epoch}"), offsets, false));
    }
    wanted.sort();
    wanted
}

/// Goes on with the epochs behind `decided` until the place dies; the epochs that have been decided.
fn run(lake: &mut RemoteLake, decided: &mut Vec<Staged>, generation: u64) -> Result<(), SinkError> {
    if let Some(last) = decided.last() {
        lake.commit(decided.len() as u64, generation, last)?;
    }
    while decided.len() < 3 {
        let epoch = decided.len() as u64 + 1;
        for batch in output(epoch) {
            lake.write(epoch, batch)?;
        }
        let staged = lake.prepare(epoch)?;
        decided.push(staged.clone());
        lake.commit(epoch, generation, &staged)?;
    }
    Ok(())
}

#[test]
fn nothing_is_visible_before_the_commit_and_nothing_is_left_after_it() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lake = open(Arc::new(Dir::new(dir.path())), state.path());
    output(1).into_iter().for_each(|batch| lake.write(1, batch).unwrap());
    let staged = lake.prepare(1).unwrap();
    assert!(visible(dir.path()).is_empty());
    assert_eq!(lake.committed().unwrap(), None);
    lake.commit(1, 1, &staged).unwrap();
    assert_eq!(content(dir.path()), wanted(1));
    assert_eq!(lake.committed().unwrap(), Some(1));
    let books = Dir::new(&dir.path().join(BOOKS));
    assert!(books.list("staging").unwrap().is_empty());
    assert!(Dir::new(state.path()).list("").unwrap().iter().all(|file| !file.path.contains("staging")));
    lake.commit(1, 1, &staged).unwrap();
    assert_eq!(content(dir.path()), wanted(1));
}

#[test]
fn dies_at_every_change_twice_in_a_row_and_every_row_is_there_once() {
    for changes in 0.. {
        for again in [0, 1, 3, 7] {
            let dir = tempfile::tempdir().unwrap();
            let mut decided = Vec::new();
            let mut died = false;
            // Each life on a machine of its own: what was staged locally is gone.
            for (generation, changes) in [(1, changes), (2, again), (3, i64::MAX)] {
                let state = tempfile::tempdir().unwrap();
                let place = Arc::new(Failing::after(dir.path(), changes));
                let opened = RemoteLake::open(place, state.path(), "lake");
                let outcome = opened.and_then(|mut lake| run(&mut lake, &mut decided, generation));
                died |= generation == 1 && outcome.is_err();
                assert!(outcome.is_ok() || outcome.is_err_and(|error| error.is_retriable()));
            }
            assert_eq!(content(dir.path()), wanted(3), "died after {changes}, then after {again}");
            if !died {
                return assert!(changes > 10, "{changes}");
            }
        }
    }
}

#[test]
fn change_that_failed_can_be_tried_again_by_the_same_process() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for changes in 0..20 {
        let place = Arc::new(Failing::after(&dir.path().join(changes.to_string()), changes));
        let opened = RemoteLake::open(Arc::clone(&place) as Arc<dyn Storage>, state.path(), "lake");
        let mut lake = opened.unwrap_or_else(|_| {
            place.revive();
            open(Arc::clone(&place) as Arc<dyn Storage>, state.path())
        });
        output(1).into_iter().for_each(|batch| lake.write(1, batch).unwrap());
        let staged = match lake.prepare(1) {
            Ok(staged) => staged,
            Err(_) => {
                place.revive();
                lake.prepare(1).unwrap()
            }
        };
        if lake.commit(1, 1, &staged).is_err() {
            place.revive();
            lake.commit(1, 1, &staged).unwrap();
        }
        assert_eq!(content(&dir.path().join(changes.to_string())), wanted(1));
    }
}

#[test]
fn older_generation_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = || Arc::new(Dir::new(dir.path()));
    let mut old = open(place(), state.path());
    output(1).into_iter().for_each(|batch| old.write(1, batch).unwrap());
    let staged = old.prepare(1).unwrap();
    let mut new = open(place(), other.path());
    let mut decided = Vec::new();
    run(&mut new, &mut decided, 2).unwrap();
    assert!(matches!(old.commit(1, 1, &staged), Err(SinkError::Fenced { ours: 1, newer: 2, .. })));
    assert_eq!(content(dir.path()), wanted(3));
}

#[test]
fn lake_of_another_sink_is_refused_and_one_without_a_name_is_taken_over() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place: Arc<dyn Storage> = Arc::new(Dir::new(dir.path()));
    let mut lake = open(Arc::clone(&place), state.path());
    run(&mut lake, &mut Vec::new(), 1).unwrap();
    let other = || RemoteLake::open(Arc::clone(&place), state.path(), "other");
    let refused = other().unwrap_err();
    assert!(matches!(&refused, SinkError::NotOurs { sink, owner, .. } if sink == "other" && owner == "lake"));
    let shown = refused.to_string();
    assert!(["other", "lake", &place.place()].iter().all(|name| shown.contains(name)), "{shown}");
    assert_eq!(content(dir.path()), wanted(3));
    // What an older version left has no such file.
    place.remove(&[format!("{BOOKS}/owner.json")]).unwrap();
    other().unwrap();
    assert!(matches!(RemoteLake::open(place, state.path(), "lake"), Err(SinkError::NotOurs { .. })));
}

#[test]
fn epoch_that_is_compacted_is_never_published_again() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lake = open(Arc::new(Dir::new(dir.path())), state.path());
    let mut decided = Vec::new();
    run(&mut lake, &mut decided, 1).unwrap();
    let place = Dir::new(dir.path());
    let done = Compaction { level: Some("d".to_owned()), ..Compaction::default() }.run(&place).unwrap();
    assert_eq!((done.merged, done.into), (6, 2));
    let before = content(dir.path());
    for (epoch, staged) in (1..).zip(&decided) {
        lake.commit(epoch, 1, staged).unwrap();
    }
    assert_eq!(content(dir.path()), before);
    assert_eq!(lake.committed().unwrap(), Some(3));
    output(4).into_iter().for_each(|batch| lake.write(4, batch).unwrap());
    let staged = lake.prepare(4).unwrap();
    lake.commit(4, 1, &staged).unwrap();
    assert_eq!(LakeIndex::read(&place).unwrap().rows(), 80);
}
