//! Where records come from: the contract of a source, and its implementations.
//!
//! A [`Source`] knows its partitions. Each worker asks it for a [`Reader`] of the partitions that the
//! worker owns and polls that reader; every record reaches the engine through the same call.
//!
//! ```text
//! Source::partitions ──► engine assigns ──► Source::reader(assignment) ──► Reader::poll(lane) ──► visit(record)
//! ```
//!
//! A reader is divided into **lanes**, each an ordered stream of records that can be read on its own.
//! Records of one partition lie in one lane and come in log order. Which lane is polled next is the
//! engine's choice, so that it can keep partitions together in event time and hold back those ahead.

pub mod bounded;
pub mod fixture;
pub mod growing;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod line_ends;
pub mod memory;
mod slab;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::record::{Partition, Record};

/// What a source knows of a partition before reading it.
#[derive(Clone, Debug)]
pub struct PartitionInfo {
    /// Which partition.
    pub id: Partition,
    /// Roughly how many records it holds, for progress display only.
    pub records_hint: u64,
    /// The offset that a run without a checkpoint begins at.
    pub from_offset: i64,
}

/// A partition that a worker owns, and where to begin.
#[derive(Clone, Copy, Debug)]
pub struct Assignment {
    /// Index into [`Source::partitions`].
    pub partition: usize,
    /// Records with an offset below this may be left out.
    pub from_offset: i64,
}

/// What a checkpoint keeps of its input beside how far it was read, so that another input is not taken for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputMark {
    /// Each topic's identity, where topics have one: see [`KafkaSource::topic_ids`](kafka::KafkaSource::topic_ids).
    pub topic_ids: BTreeMap<String, String>,
    /// Where the partitions of a bounded input end: the first offset that is not read any more.
    pub ends: BTreeMap<Partition, i64>,
    /// Where the partitions of a source that resumes by offset were to be read from at first: one of which nothing has been
    /// read yet begins there, whatever has come or gone since.
    pub starts: BTreeMap<Partition, i64>,
}

/// Something that holds Kafka partitions.
pub trait Source: Send + Sync {
    /// All partitions, in the order of [`Partition`].
    fn partitions(&self) -> &[PartitionInfo];

    /// Whether a reader goes on at [`Assignment::from_offset`] exactly where an earlier one stopped, as Kafka's do. A
    /// recorded log may repeat offsets, which are counted: there the records already seen are shown again, and
    /// passed over.
    fn resumes_by_offset(&self) -> bool {
        false
    }

    /// Whether it is read as it is written. Columns of wall-clock time then say when their epoch was read, and otherwise repeat
    /// Kafka's timestamps, so that the same log gives the same answer.
    fn is_live(&self) -> bool {
        false
    }

    /// What a checkpoint is to keep of this input.
    fn mark(&self) -> InputMark {
        InputMark::default()
    }

    /// Begins with an input of which there is no checkpoint.
    ///
    /// # Errors
    /// When it cannot begin where it was told to.
    fn begin(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Goes on with the input that a checkpoint was of.
    ///
    /// # Errors
    /// [`SourceError::Replaced`] when this is another one.
    fn resume(&self, former: &InputMark) -> Result<(), SourceError> {
        let _ = former;
        Ok(())
    }

    /// The same input with the partitions that it has now and [`Source::partitions`] does not name; `None` where there are no more.
    ///
    /// To be asked every half minute or so by whoever reads it for ever: reading new partitions takes a reader of the new source.
    ///
    /// # Errors
    /// When this is not the input that it was, such as [`SourceError::Replaced`]; [`SourceError::Unreachable`] is worth another
    /// try later.
    fn grown(&self) -> Result<Option<Arc<dyn Source>>, SourceError> {
        Ok(None)
    }

    /// Whether the input, whose end has been read, is still what it was: `seen` says how many records of each partition
    /// were shown. Reads it, where there is no quicker way to know.
    ///
    /// # Errors
    /// [`SourceError::Grown`] or [`SourceError::Shorter`] when it is not; otherwise as [`Source::reader`].
    fn check_ended(&self, former: &InputMark, seen: &BTreeMap<Partition, u64>) -> Result<(), SourceError> {
        let _ = former;
        let all = self.partitions();
        let assigned: Vec<_> =
            all.iter().enumerate().map(|(partition, _)| Assignment { partition, from_offset: 0 }).collect();
        let mut left: Vec<u64> = all.iter().map(|info| seen.get(&info.id).copied().unwrap_or(0)).collect();
        let mut reader = self.reader(&assigned)?;
        for lane in 0..reader.lanes() {
            let mut grown = None;
            let mut poll = Poll::More;
            while poll == Poll::More && grown.is_none() {
                poll = reader.poll(lane, CHECK_BATCH, &mut |partition, _record| {
                    if left[partition] == 0 {
                        grown = Some(partition);
                        return Visit::Stop;
                    }
                    left[partition] -= 1;
                    Visit::Taken
                })?;
            }
            if let Some(partition) = grown {
                return Err(SourceError::Grown { partition: all[partition].id.clone() });
            }
        }
        match left.iter().position(|left| *left > 0) {
            Some(partition) => Err(SourceError::Shorter { partition: all[partition].id.clone() }),
            None => Ok(()),
        }
    }

    /// A reader of the assigned partitions, for one worker.
    ///
    /// # Errors
    /// When something that the reader needs cannot be opened.
    fn reader(&self, assigned: &[Assignment]) -> Result<Box<dyn Reader>, SourceError>;
}

/// How many records [`Source::check_ended`] looks at in one call.
const CHECK_BATCH: usize = 4096;

/// What the engine says to a record that it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It was taken: go on.
    Taken,
    /// It was not taken: end this poll and show the same record first at the next.
    Stop,
}

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// There is more to read at once (or the engine said [`Visit::Stop`]).
    More,
    /// Nothing now; more may come (live sources).
    Idle,
    /// The lane has ended; it is not polled again.
    End,
}

/// How far a lane of a live source has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// The offset behind the last record that was taken or passed over.
    pub position: i64,
    /// The offset behind the partition's last record, as of the last answer of the broker; `None` before the first.
    pub end: Option<i64>,
    /// Everything up to `end` was read, nothing waits in a buffer, and no open transaction hides records.
    pub at_end: bool,
    /// Offsets that the reader has passed over because their records were gone.
    pub lost: u64,
}

impl LaneStatus {
    /// How many offsets are still to be read; 0 while the end is not known.
    pub fn lag(&self) -> u64 {
        self.end.map_or(0, |end| end.saturating_sub(self.position).max(0).unsigned_abs())
    }
}

/// A worker's cursor over its partitions.
pub trait Reader {
    /// How many lanes there are.
    fn lanes(&self) -> usize;

    /// The partitions (indices into [`Source::partitions`]) whose records come through `lane`.
    fn lane_partitions(&self, lane: usize) -> &[usize];

    /// Shows at most `budget` records of `lane` to `visit`, in order, each with its partition's index.
    ///
    /// # Errors
    /// When the input is damaged or cannot be read. Records shown before stay valid; nothing of the
    /// damaged record is shown.
    fn poll(
        &mut self,
        lane: usize,
        budget: usize,
        visit: &mut dyn FnMut(usize, &Record<'_>) -> Visit,
    ) -> Result<Poll, SourceError>;

    /// How far `lane` has come, without asking anybody; `None` where lanes end by themselves.
    fn status(&self, _lane: usize) -> Option<LaneStatus> {
        None
    }

    /// Asks whether `lane` has been read to its end now, and says no where nobody answers in time: a
    /// partition whose broker is away is not idle. Waits for an answer, so ask rarely.
    fn confirm_end(&mut self, _lane: usize) -> bool {
        false
    }
}

/// Why a source cannot go on. Each ends the run: what was read before stays exact, and nothing is guessed.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The operating system refused a file or a read. Mend the path or its permissions and start again.
    #[error("cannot read {path:?}: {cause}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A file does not hold what it should at a position. Copy the file again from where it came.
    #[error("{path:?} is damaged at {position}: {what}")]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// Where: `line 12` or `byte 4096`.
        position: String,
        /// What is wrong there.
        what: String,
    },
    /// A partition ends before the place that a checkpoint says was read. Give the log that the checkpoint is of.
    #[error(
        "partition {partition} ends before the place up to which the checkpoint has read it: this is not the log that \
         the checkpoint is of, or it was cut; give the whole log, or start anew with an empty checkpoint and output"
    )]
    Shorter {
        /// The partition.
        partition: Partition,
    },
    /// A partition that a checkpoint has seen end goes on: what was closed when it ended cannot be opened again.
    #[error(
        "partition {partition} has grown since a run came to its end: windows have closed on that end, and what came \
         later would be counted in none of them. Give the log as it was, or start anew with an empty checkpoint and output"
    )]
    Grown {
        /// The partition.
        partition: Partition,
    },
    /// No broker answers. It may be enough to wait and start again.
    #[error("no Kafka broker of {servers} answers: {cause}. See that they run and can be reached from here")]
    Unreachable {
        /// Who was asked.
        servers: String,
        /// What happened.
        cause: String,
    },
    /// Kafka or its client refuses what it is asked, however often: a property, a password, a right.
    #[error("Kafka refuses {what}: {cause}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said, and what to do.
        cause: String,
    },
    /// A topic is not there. Make it, or mend its name.
    #[error("there is no topic {topic:?} on {servers}: make it, or mend its name in the settings")]
    NoTopic {
        /// The topic.
        topic: String,
        /// Who was asked.
        servers: String,
    },
    /// Records that were not read yet have been deleted by the topic's retention.
    #[error(
        "{partition}: the records from offset {position} on are gone, the earliest is {earliest}. \
         Raise the topic's retention; to go on without them, set the policy for lost records to skip"
    )]
    Gone {
        /// The partition.
        partition: Partition,
        /// The next record that was to be read.
        position: i64,
        /// The earliest record that is there.
        earliest: i64,
    },
    /// The log is not the one that was read before: the topic was deleted and made again, or lost its end.
    #[error("{topic}: {what}. A checkpoint of the former log does not fit: begin with a new one")]
    Replaced {
        /// The topic or partition.
        topic: String,
        /// How it is known.
        what: String,
    },
}
