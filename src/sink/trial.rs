//! Trials of embedded sinks: a run of several epochs that dies at any change of the file system, and its recovery.
//!
//! [`Trial::survives_every_crash`] plays the engine's part. A manifest is a line in a vector: what is in it is
//! decided, what is not is staged again by the next process, cut into other batches.

use std::path::Path;

use super::disk::faults::Faults;
use super::disk::{Disk, Durability};
use super::{Sink, SinkError, Staged};

/// What is tried: how to open the sink, what each epoch holds, and what must be there in the end.
pub(crate) struct Trial<'a, S: Sink> {
    pub(crate) epochs: u64,
    pub(crate) open: &'a dyn Fn(&Path, Disk) -> Result<S, SinkError>,
    /// The output of an epoch; the second argument varies how it is cut into batches.
    pub(crate) output: &'a dyn Fn(u64, u64) -> Vec<S::Batch>,
    /// What else is done after each commit.
    pub(crate) after_commit: &'a dyn Fn(&mut S) -> Result<(), SinkError>,
    /// Ends the run.
    pub(crate) finish: &'a dyn Fn(&mut S) -> Result<(), SinkError>,
    /// Checks that exactly the epochs up to the given one are visible; called also where a process died, with
    /// the last decided epoch, after its recovery.
    pub(crate) check: &'a dyn Fn(&Path, &S, u64),
}

/// The decided epochs and their generation: what a checkpoint directory would hold.
#[derive(Default)]
struct Manifests {
    decided: Vec<Staged>,
    generation: u64,
}

impl<S: Sink> Trial<'_, S> {
    /// Runs from the last manifest to the end, or to the first error. Counts as a new process.
    fn process(&self, dir: &Path, disk: Disk, manifests: &mut Manifests) -> Result<S, SinkError> {
        manifests.generation += 1;
        let generation = manifests.generation;
        let mut sink = (self.open)(dir, disk)?;
        if let Some(last) = manifests.decided.last() {
            let epoch = manifests.decided.len() as u64;
            sink.commit(epoch, generation, last)?;
            (self.check)(dir, &sink, epoch);
        }
        for epoch in manifests.decided.len() as u64 + 1..=self.epochs {
            for batch in (self.output)(epoch, generation) {
                sink.write(epoch, batch)?;
            }
            let staged = sink.prepare(epoch)?;
            manifests.decided.push(staged.clone());
            sink.commit(epoch, generation, &staged)?;
            (self.after_commit)(&mut sink)?;
            sink.commit(epoch, generation, &staged)?;
        }
        (self.finish)(&mut sink)?;
        Ok(sink)
    }

    /// Dies after each number of changes, and again while it recovers; with and without loss of power.
    pub(crate) fn survives_every_crash(&self) {
        for lose_power in [false, true] {
            let mut first = 0;
            while self.dies_twice(first, lose_power) {
                first += 1;
            }
            assert!(first > 20, "the run made only {first} changes: the trial tries nothing");
        }
    }

    /// Dies after `first` changes, then after each number of changes of the recovery, then comes to the end.
    /// False when the run ended before it died.
    fn dies_twice(&self, first: u64, lose_power: bool) -> bool {
        let mut second = 0;
        loop {
            let dir = memory_dir();
            let mut manifests = Manifests::default();
            if self.finishes(dir.path(), first, lose_power, &mut manifests) {
                return false;
            }
            let finished = self.finishes(dir.path(), second, lose_power, &mut manifests);
            let sink = self
                .process(dir.path(), Disk::new(Durability::Process), &mut manifests)
                .unwrap_or_else(|error| panic!("died after {first} and {second} changes: {error}"));
            (self.check)(dir.path(), &sink, self.epochs);
            if finished {
                return true;
            }
            // In strides: all pairs would take minutes.
            second += 8 + first % 11;
        }
    }

    /// One process on a disk that allows `changes`; whether the run came to its end.
    fn finishes(&self, dir: &Path, changes: u64, lose_power: bool, manifests: &mut Manifests) -> bool {
        let (disk, faults) = Faults::after(changes);
        let outcome = self.process(dir, disk, manifests).map(drop);
        match outcome {
            Ok(()) => true,
            Err(error) => {
                assert!(faults.exhausted(), "an error that the test did not make: {error}");
                let place = dir.display().to_string();
                assert!(error.to_string().contains(&place), "it does not name the file: {error}");
                if lose_power {
                    faults.lose_power();
                }
                false
            }
        }
    }

    /// Commits by a fresh instance that knows nothing but the manifest, twice, and fences the older generation.
    pub(crate) fn commits_from_the_manifest_alone(&self) {
        let dir = tempfile::tempdir().unwrap();
        let open = || (self.open)(dir.path(), Disk::new(Durability::Process)).unwrap();
        let mut sink = open();
        for batch in (self.output)(1, 0) {
            sink.write(1, batch).unwrap();
        }
        let staged = sink.prepare(1).unwrap();
        assert_eq!(sink.prepare(1).unwrap(), staged, "preparing again describes the same");
        let mut other = open();
        other.commit(1, 7, &staged).unwrap();
        other.commit(1, 7, &staged).unwrap();
        open().commit(1, 8, &staged).unwrap();
        for (late, generation) in [(1, 7), (2, 6)] {
            let staged = if late == 1 { staged.clone() } else { Staged::default() };
            let refused = sink.commit(late, generation, &staged);
            assert!(matches!(refused, Err(SinkError::Fenced { newer: 8, .. })), "{refused:?}");
        }
        let mut last = open();
        (self.finish)(&mut last).unwrap();
        (self.check)(dir.path(), &last, 1);
    }
}

/// A directory in memory where the system has such a place: thousands of runs are tried.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
