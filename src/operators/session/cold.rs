//! Events that wait, on local disk: those that are far from the frontier, when memory is short.
//!
//! Events of some 18 minutes lie in a file of their own, so that its space is free when the frontier has passed them, and a day of them
//! does not take all file descriptors; those of a [`super::pending`] bucket lie in blocks, which come back together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Mark;
use super::pending::Waiting;
use crate::spill::{Block, Codec, SpillError, SpillFile, Word};

/// So many buckets of about a second share a file, as a power of two.
const FILE_BITS: u32 = 10;

/// A block has at most so many events: 160 KiB.
const BLOCK_EVENTS: usize = 4 << 10;

/// What an event is on disk.
const WORDS: usize = 4;

struct Span {
    file: SpillFile<Word>,
    buckets: BTreeMap<i64, Vec<Block>>,
}

/// The buckets that are on disk, or of which some is.
pub(super) struct ColdBuckets {
    directory: PathBuf,
    spans: BTreeMap<i64, Span>,
    words: Vec<Word>,
}

impl ColdBuckets {
    /// None yet; files are made in `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        ColdBuckets { directory: directory.to_owned(), spans: BTreeMap::new(), words: Vec::new() }
    }

    /// The first bucket of which there is something.
    pub(super) fn first(&self) -> Option<i64> {
        self.spans.values().find_map(|span| span.buckets.keys().next().copied())
    }

    /// Takes the events of a bucket, beside those that are here.
    ///
    /// # Errors
    /// When they cannot be written; it is then as if nothing had been.
    pub(super) fn put(&mut self, bucket: i64, events: &[Waiting]) -> Result<(), SpillError> {
        let at = bucket >> FILE_BITS;
        if events.is_empty() {
            return Ok(());
        }
        let mut new = None;
        let span = match self.spans.get_mut(&at) {
            Some(span) => span,
            None => new.insert(Span {
                file: SpillFile::create(&self.directory, Codec::default())?,
                buckets: BTreeMap::new(),
            }),
        };
        let mut blocks = Vec::new();
        for events in events.chunks(BLOCK_EVENTS) {
            self.words.clear();
            self.words.extend(events.iter().flat_map(words_of));
            blocks.push(span.file.append(&self.words)?);
        }
        span.buckets.entry(bucket).or_default().extend(blocks);
        if let Some(new) = new {
            self.spans.insert(at, new);
        }
        Ok(())
    }

    /// Appends the events of a bucket to `events`, and forgets them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn take(&mut self, bucket: i64, events: &mut Vec<Waiting>) -> Result<(), SpillError> {
        let at = bucket >> FILE_BITS;
        let Some(span) = self.spans.get_mut(&at) else { return Ok(()) };
        for block in span.buckets.remove(&bucket).unwrap_or_default() {
            span.read(block, &mut self.words, |event| events.push(event))?;
        }
        if span.buckets.is_empty() {
            self.spans.remove(&at);
        }
        Ok(())
    }
}

impl Span {
    fn read(
        &self,
        block: Block,
        words: &mut Vec<Word>,
        mut each: impl FnMut(Waiting),
    ) -> Result<(), SpillError> {
        self.file.read(block, words)?;
        words.as_chunks::<WORDS>().0.iter().for_each(|words| each(event_of(words)));
        Ok(())
    }
}

fn words_of(event: &Waiting) -> [Word; WORDS] {
    let Waiting { time_us, offset, rank, key, mark, flagged } = *event;
    let mark = match mark {
        Mark::Join => 0,
        Mark::Start => 1,
        Mark::End => 2,
    };
    // The bits of signed numbers are kept.
    [time_us as u64, offset as u64, u64::from(rank) << 32 | u64::from(key), mark << 1 | u64::from(flagged)]
        .map(Word)
}

fn event_of(words: &[Word; WORDS]) -> Waiting {
    let [time_us, offset, at, what] = words.map(|word| word.0);
    let mark = match what >> 1 {
        0 => Mark::Join,
        1 => Mark::Start,
        _ => Mark::End,
    };
    Waiting {
        time_us: time_us as i64,
        offset: offset as i64,
        rank: (at >> 32) as u32,
        key: at as u32,
        mark,
        flagged: what & 1 == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_they_were() {
        let event = |time_us, mark, flagged| Waiting {
            time_us,
            offset: time_us - 7,
            rank: 3,
            key: u32::MAX,
            mark,
            flagged,
        };
        let events = [event(-1, Mark::Join, true), event(2, Mark::Start, false), event(3, Mark::End, true)];
        let mut cold = ColdBuckets::new(&std::env::temp_dir());
        cold.put(-1, &events[..1]).unwrap();
        cold.put(5, &events[1..2]).unwrap();
        cold.put(5, &events[2..]).unwrap();
        assert_eq!((cold.first(), cold.spans.len()), (Some(-1), 2));
        for (bucket, of_it) in [(-1, &events[..1]), (5, &events[1..])] {
            assert_eq!(cold.first(), Some(bucket));
            let mut found = Vec::new();
            cold.take(bucket, &mut found).unwrap();
            assert_eq!(found, of_it);
        }
        assert!(cold.first().is_none() && cold.spans.is_empty(), "the files are gone");
    }
}
