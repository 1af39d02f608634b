//! The state that a run begins with, until operators have taken theirs.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use bincode::Options;

use super::{StateBlock, StateError};
use crate::spill::{Block, Codec, SpillError, SpillFile, Word};

/// The state that a run begins with.
#[derive(Debug)]
pub struct Restored {
    pub(super) watermark_us: i64,
    /// From a partition's rank when the state was saved to its present rank.
    pub(super) ranks: Vec<u32>,
    pub(super) blocks: Blocks,
}

impl Restored {
    /// State saved when the dataflow's event time stood at `watermark_us`; `ranks` maps the ranks of partitions then to
    /// their ranks now.
    pub fn new(watermark_us: i64, ranks: Vec<u32>, blocks: impl Into<Blocks>) -> Self {
        Restored { watermark_us, ranks, blocks: blocks.into() }
    }
}

/// What is shorter stays in memory.
const LEAST_BYTES: usize = 64 << 10;

/// So much of an operator's state is in memory at a time, where it is on disk.
const SHARE_BYTES: usize = 64 << 20;

#[derive(Debug)]
enum Kept {
    Here(StateBlock),
    OnDisk { operator: String, bytes: usize, at: Block },
}

impl Kept {
    fn operator(&self) -> &str {
        match self {
            Kept::Here(block) => block.operator(),
            Kept::OnDisk { operator, .. } => operator,
        }
    }
}

/// Blocks of saved state, in their order: in memory or, where memory is limited, in a file on local disk, from which they are read
/// one by one.
#[derive(Debug)]
pub struct Blocks {
    kept: Vec<Kept>,
    directory: Option<PathBuf>,
    file: Option<SpillFile<Word>>,
    words: Vec<Word>,
    least_bytes: usize,
    share_bytes: usize,
}

impl Default for Blocks {
    fn default() -> Self {
        let (kept, directory, file, words) = (Vec::new(), None, None, Vec::new());
        Blocks { kept, directory, file, words, least_bytes: LEAST_BYTES, share_bytes: SHARE_BYTES }
    }
}

impl From<Vec<StateBlock>> for Blocks {
    fn from(blocks: Vec<StateBlock>) -> Self {
        Blocks { kept: blocks.into_iter().map(Kept::Here).collect(), ..Blocks::default() }
    }
}

impl Blocks {
    /// None yet; those of any size go to a file in `directory`, which is made when it is needed.
    pub fn on_disk(directory: &Path) -> Self {
        Blocks { directory: Some(directory.to_owned()), ..Blocks::default() }
    }

    /// The same, where every block goes to disk and next to nothing comes back at a time.
    #[cfg(test)]
    pub(crate) fn all_on_disk(directory: &Path) -> Self {
        Blocks { least_bytes: 0, share_bytes: 100, ..Blocks::on_disk(directory) }
    }

    /// Adds a block behind the others. One that cannot be written to disk stays in memory, with a warning.
    pub fn push(&mut self, block: StateBlock) {
        if self.directory.is_some() && block.byte_len() >= self.least_bytes {
            match self.write(&block) {
                Ok(at) => {
                    let (operator, bytes) = (block.operator().to_owned(), block.byte_len());
                    return self.kept.push(Kept::OnDisk { operator, bytes, at });
                }
                Err(cause) => tracing::warn!(%cause, "state that is restored stays in memory"),
            }
        }
        self.kept.push(Kept::Here(block));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn write(&mut self, block: &StateBlock) -> Result<Block, String> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let directory = self.directory.as_deref().unwrap_or(Path::new("."));
                std::fs::create_dir_all(directory)
                    .map_err(|cause| format!("cannot make {directory:?}: {cause}"))?;
                let said = |error: SpillError| error.to_string();
                self.file.insert(SpillFile::create(directory, Codec::default()).map_err(said)?)
            }
        };
        let bytes = bincode::serialize(block).map_err(|error| error.to_string())?;
        self.words.clear();
        Word::push_bytes(&mut self.words, &bytes);
        file.append(&self.words).map_err(|error| error.to_string())
    }

    /// The blocks of an operator.
    pub(super) fn of<'b>(
        &'b self,
        operator: &'b str,
    ) -> impl Iterator<Item = Result<Cow<'b, StateBlock>, StateError>> {
        self.kept.iter().filter(move |kept| kept.operator() == operator).map(move |kept| match kept {
            Kept::Here(block) => Ok(Cow::Borrowed(block)),
            Kept::OnDisk { at, .. } => {
                let read = self.read(*at).map(Cow::Owned);
                read.map_err(|cause| StateError { operator: operator.to_owned(), cause })
            }
        })
    }

    fn read(&self, at: Block) -> Result<StateBlock, String> {
        let Some(file) = &self.file else { return Err("there is no file".to_owned()) };
        let mut words = Vec::new();
        file.read(at, &mut words).map_err(|error| error.to_string())?;
        // The last word may be longer than what it was made of.
        let plain = bincode::DefaultOptions::new().with_fixint_encoding().allow_trailing_bytes();
        plain.deserialize(bytemuck::cast_slice(&words)).map_err(|error| error.to_string())
    }

    /// Into how many shares, by the hashes of keys, an operator's state is to be parted so that each fits into memory.
    pub(super) fn shares_of(&self, operator: &str) -> u64 {
        let bytes = self.kept.iter().filter(|kept| kept.operator() == operator).map(|kept| match kept {
            Kept::Here(_) => 0,
            Kept::OnDisk { bytes, .. } => *bytes,
        });
        bytes.sum::<usize>().div_ceil(self.share_bytes).max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_on_disk_are_those_that_were_given() {
        let directory = tempfile::tempdir().unwrap();
        let mut given = Vec::new();
        for (operator, entries) in [("Windows", 3), ("Sessions", 9_000), ("Windows", 10_000), ("Windows", 0)]
        {
            let mut block = StateBlock::delta(operator);
            (0..entries).for_each(|n: u64| block.put(n, &n.to_le_bytes(), 7, &n));
            given.push(block);
        }
        let mut on_disk = Blocks::on_disk(&directory.path().join("spill"));
        assert!(on_disk.is_empty());
        given.iter().cloned().for_each(|block| on_disk.push(block));
        assert_eq!(on_disk.kept.iter().filter(|kept| matches!(kept, Kept::OnDisk { .. })).count(), 2);
        for blocks in [on_disk, Blocks::from(given.clone())] {
            for operator in ["Windows", "Sessions", "Pivot"] {
                let read: Vec<_> = blocks.of(operator).map(|block| block.unwrap().into_owned()).collect();
                let of_it: Vec<_> =
                    given.iter().filter(|block| block.operator() == operator).cloned().collect();
                assert_eq!(read, of_it);
                assert_eq!(blocks.shares_of(operator), 1);
            }
        }
    }
}
