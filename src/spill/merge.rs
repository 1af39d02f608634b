//! External merge: sorted runs on disk come back as one sorted stream, through bounded memory.
//!
//! A merge keeps one block of each run in memory. When there are more runs than the memory limit has blocks,
//! neighbours are first merged into longer runs in a new file, pass by pass, so that memory is bounded
//! whatever the number of runs; each pass copies the data once. (Knuth, *The Art of Computer Programming*,
//! volume 3, section 5.4.)

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::{Path, PathBuf};

use super::codec::{Codec, Element};
use super::error::SpillError;
use super::file::{Block, SpillFile};

/// The size of a block where the memory limit allows it: large enough that reading costs more than asking for
/// it.
const BLOCK_BYTES: usize = 64 * 1024;

/// Sorted runs of `T` on disk.
///
/// # Guarantees
/// * [`SortedRuns::merge`] gives every element of every run once, in ascending order; equal ones in the order
///   of their runs, and within a run in its order. That is a function of the runs as pushed, not of the
///   memory limit.
/// * Memory: about the limit given, or three elements if that is more, and 16 bytes a block on disk.
/// * Disk: the elements once, twice while passes are needed.
#[derive(Debug)]
pub struct SortedRuns<T> {
    file: SpillFile<T>,
    runs: Vec<Vec<Block>>,
    plan: Plan,
}

/// What stays the same from pass to pass.
#[derive(Clone, Debug)]
struct Plan {
    directory: PathBuf,
    codec: Codec,
    /// Elements in a block.
    block: usize,
    /// How many runs are merged at a time; at least 2.
    fan_in: usize,
}

impl<T: Element + Ord> SortedRuns<T> {
    /// No runs yet, in a new file in `directory`; merging will use about `memory_bytes`.
    ///
    /// # Errors
    /// As [`SpillFile::create`].
    pub fn create(directory: &Path, codec: Codec, memory_bytes: usize) -> Result<Self, SpillError> {
        // Two blocks to merge and one to write are the least that works.
        let block = (memory_bytes / 3).min(BLOCK_BYTES) / size_of::<T>().max(1);
        let block = block.max(1);
        let fan_in = (memory_bytes / (block * size_of::<T>().max(1))).saturating_sub(1).max(2);
        let plan = Plan { directory: directory.to_owned(), codec, block, fan_in };
        Ok(SortedRuns { file: SpillFile::create(directory, codec)?, runs: Vec::new(), plan })
    }

    /// Writes `run`, which must be in ascending order.
    ///
    /// # Errors
    /// [`SpillError::Unordered`], and as [`SpillFile::append`]. Nothing of the run is kept then.
    pub fn push(&mut self, run: &[T]) -> Result<(), SpillError> {
        if let Some(at) = run.windows(2).position(|pair| pair[1] < pair[0]) {
            return Err(SpillError::Unordered { at: at + 1 });
        }
        let blocks: Result<Vec<Block>, _> =
            run.chunks(self.plan.block).map(|elements| self.file.append(elements)).collect();
        self.runs.push(blocks?);
        Ok(())
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// How many elements there are.
    pub fn elements(&self) -> u64 {
        self.runs.iter().flatten().map(|block| block.elements() as u64).sum()
    }

    /// How many bytes they take on disk.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// All elements in order. Runs are merged into longer ones first if there are too many for the memory
    /// limit.
    ///
    /// # Errors
    /// As [`SpillFile::append`] and [`SpillFile::read`].
    pub fn merge(mut self) -> Result<Merge<T>, SpillError> {
        while self.runs.len() > self.plan.fan_in {
            self = self.pass()?;
        }
        Merge::new(self.file, self.runs)
    }

    /// Merges neighbouring runs, as many at a time as memory allows, into a new file.
    fn pass(self) -> Result<Self, SpillError> {
        let SortedRuns { mut file, runs, plan } = self;
        let mut next =
            SortedRuns { file: SpillFile::create(&plan.directory, plan.codec)?, runs: Vec::new(), plan };
        let mut output = Vec::with_capacity(next.plan.block);
        for group in runs.chunks(next.plan.fan_in) {
            let mut merge = Merge::new(file, group.to_vec())?;
            let mut blocks = Vec::new();
            loop {
                output.clear();
                while output.len() < next.plan.block {
                    match merge.next() {
                        None => break,
                        Some(element) => output.push(element?),
                    }
                }
                if output.is_empty() {
                    break;
                }
                blocks.push(next.file.append(&output)?);
            }
            next.runs.push(blocks);
            file = merge.file;
        }
        Ok(next)
    }
}

/// The elements of some runs in ascending order.
///
/// After an error it ends.
#[derive(Debug)]
pub struct Merge<T> {
    file: SpillFile<T>,
    runs: Vec<Run<T>>,
    /// The next element of every run that has one, with the run's index, which orders equal elements.
    heads: BinaryHeap<Reverse<(T, usize)>>,
}

/// What is left of a run: the block in memory, and the blocks on disk.
#[derive(Debug)]
struct Run<T> {
    elements: Vec<T>,
    next: usize,
    blocks: std::vec::IntoIter<Block>,
}

impl<T: Element + Ord> Merge<T> {
    fn new(file: SpillFile<T>, runs: Vec<Vec<Block>>) -> Result<Self, SpillError> {
        let runs: Vec<Run<T>> = runs
            .into_iter()
            .map(|blocks| Run { elements: Vec::new(), next: 0, blocks: blocks.into_iter() })
            .collect();
        let mut merge = Merge { file, runs, heads: BinaryHeap::new() };
        for (i, run) in merge.runs.iter_mut().enumerate() {
            if let Some(head) = run.next(&merge.file)? {
                merge.heads.push(Reverse((head, i)));
            }
        }
        Ok(merge)
    }
}

impl<T: Element + Ord> Iterator for Merge<T> {
    type Item = Result<T, SpillError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.heads.peek_mut()?;
        let Reverse((element, run)) = *head;
        match self.runs[run].next(&self.file) {
            // One sift instead of a removal and an insertion.
            Ok(Some(next)) => *head = Reverse((next, run)),
            Ok(None) => {
                PeekMut::pop(head);
            }
            Err(error) => {
                drop(head);
                self.heads.clear();
                return Some(Err(error));
            }
        }
        Some(Ok(element))
    }
}

impl<T: Element> Run<T> {
    /// The run's next element, read from disk a block at a time.
    fn next(&mut self, file: &SpillFile<T>) -> Result<Option<T>, SpillError> {
        while self.next == self.elements.len() {
            let Some(block) = self.blocks.next() else { return Ok(None) };
            self.next = 0;
            file.read(block, &mut self.elements)?;
        }
        self.next += 1;
        Ok(Some(self.elements[self.next - 1]))
    }
}

#[cfg(test)]
mod tests {
    use abomonation::Abomonation;
    use bytemuck::{Pod, Zeroable};
    use proptest::prelude::*;
    use tempfile::{TempDir, tempdir};

    use super::*;

    /// Ordered by its key alone, so that the order of equal elements shows.
    #[derive(Clone, Copy, Debug, Pod, Zeroable)]
    #[repr(C)]
    struct Keyed {
        key: u32,
        place: u32,
    }

    impl Abomonation for Keyed {}

    impl Ord for Keyed {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.key.cmp(&other.key)
        }
    }

    impl PartialOrd for Keyed {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Keyed {
        fn eq(&self, other: &Self) -> bool {
            self.key == other.key
        }
    }

    impl Eq for Keyed {}

    /// The runs, and the directory that further passes need.
    fn spilt(runs: &[Vec<Keyed>], codec: Codec, memory_bytes: usize) -> (SortedRuns<Keyed>, TempDir) {
        let directory = tempdir().unwrap();
        let mut spilt = SortedRuns::create(directory.path(), codec, memory_bytes).unwrap();
        runs.iter().for_each(|run| spilt.push(run).unwrap());
        (spilt, directory)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]

        #[test]
        fn merge_is_a_stable_sort_of_all_runs_in_any_memory(
            mut runs in prop::collection::vec(prop::collection::vec(0u32..20, 0..40), 0..12),
            memory_bytes in 0usize..400,
            codec in prop::sample::select(vec![Codec::Abomonation, Codec::Bytemuck]),
        ) {
            let mut place = 0..;
            let runs: Vec<Vec<Keyed>> = runs
                .iter_mut()
                .map(|run| {
                    run.sort_unstable();
                    run.iter().map(|&key| Keyed { key, place: place.next().unwrap() }).collect()
                })
                .collect();
            let mut expected = runs.concat();
            expected.sort();
            let (spilt, _directory) = spilt(&runs, codec, memory_bytes);
            prop_assert_eq!(spilt.elements(), expected.len() as u64);
            prop_assert_eq!(spilt.runs(), runs.len());
            let merged: Vec<Keyed> = spilt.merge().unwrap().map(Result::unwrap).collect();
            let pairs = |elements: &[Keyed]| elements.iter().map(|e| (e.key, e.place)).collect::<Vec<_>>();
            prop_assert_eq!(pairs(&merged), pairs(&expected));
        }
    }

    #[test]
    fn memory_of_a_merge_is_bounded_by_passes() {
        let runs: Vec<Vec<Keyed>> =
            (0..40).map(|place| (0..20).map(|key| Keyed { key, place }).collect()).collect();
        let memory_bytes = 10 * 8 * 8;
        let (mut spilt, _directory) = spilt(&runs, Codec::default(), memory_bytes);
        while spilt.runs.len() > spilt.plan.fan_in {
            spilt = spilt.pass().unwrap();
        }
        assert!((spilt.plan.fan_in + 1) * spilt.plan.block * size_of::<Keyed>() <= memory_bytes);
        let mut merge = spilt.merge().unwrap();
        let held =
            |merge: &Merge<Keyed>| merge.runs.iter().map(|run| run.elements.capacity() * 8).sum::<usize>();
        let mut count = 0;
        while let Some(element) = merge.next() {
            element.unwrap();
            assert!(held(&merge) <= memory_bytes, "{} bytes", held(&merge));
            count += 1;
        }
        assert_eq!(count, 800);
    }

    #[test]
    fn unordered_run_is_refused_whole() {
        let (mut runs, _directory) = spilt(&[], Codec::default(), 1000);
        let run = [3, 5, 4].map(|key| Keyed { key, place: 0 });
        assert!(matches!(runs.push(&run), Err(SpillError::Unordered { at: 2 })));
        assert_eq!((runs.runs(), runs.bytes()), (0, 0));
    }

    #[test]
    fn merge_ends_after_an_error() {
        let run: Vec<Keyed> = (0..10).map(|key| Keyed { key, place: 0 }).collect();
        let (runs, _directory) = spilt(&[run], Codec::default(), 3 * 2 * 8);
        let (empty, _other) = spilt(&[], Codec::default(), 1000);
        let mut merge = runs.merge().unwrap();
        // From the second block on, the disk has lost everything.
        merge.file = empty.file;
        let merged: Vec<_> = merge.by_ref().collect();
        assert!(matches!(merged.last(), Some(Err(SpillError::Torn { .. }))));
        assert!(merge.next().is_none());
    }
}
