//! Topics recorded as a fixture: what they hold, as kcat lines, exact to offsets, keys, headers and timestamps.

use std::path::Path;
use std::time::{Duration, Instant};

use thiserror::Error;
use tidegate::record::{Partition, Record};
use tidegate::source::kafka::{KafkaSource, Settings, Start};
use tidegate::source::{Assignment, Poll, Reader, Source, SourceError, Visit};

use crate::generate::{Form, Packed, Target, TargetError};

/// Records taken from a partition before the next one has its turn.
const BATCH: usize = 10_000;

/// How long there may be nothing before the reader sleeps a little.
const NAP: Duration = Duration::from_millis(2);

/// When a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When every partition has been read to where it ended at the beginning.
    End,
    /// After this time.
    For(Duration),
}

/// What has been recorded of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Which.
    pub partition: Partition,
    /// How many records.
    pub records: u64,
    /// The offset where reading began.
    pub from: i64,
    /// The offset behind the last record.
    pub to: i64,
}

/// Why a recording failed. Nothing of it is visible then.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The topics could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The fixture could not be written.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It was stopped before the end.
    #[error("stopped before the end of the topics; nothing was written")]
    Stopped,
}

/// Records the topics into `dir`, which is empty or not there; the files appear when all is read.
///
/// A stop ends a recording for a time early and leaves what was read; one to the end of the topics it ends with
/// [`RecordError::Stopped`]. `told` is called now and then with the number of records.
///
/// # Errors
/// See [`RecordError`].
pub fn record(
    settings: Settings,
    start: &Start,
    dir: &Path,
    packed: Packed,
    until: Until,
    stop: &dyn Fn() -> bool,
    told: &mut dyn FnMut(u64),
) -> Result<Vec<Recorded>, RecordError> {
    let source = KafkaSource::open(settings)?;
    let ids: Vec<Partition> = source.partitions().iter().map(|info| info.id.clone()).collect();
    let starts = source.resolve_start(start)?;
    let ends = match until {
        Until::End => source.ends()?,
        Until::For(_) => vec![i64::MAX; ids.len()],
    };
    let mut target = Target::create_of(dir, ids.clone(), Form::Kcat(packed))?;
    let assigned = starts.iter().enumerate();
    let assigned: Vec<_> =
        assigned.map(|(partition, &from_offset)| Assignment { partition, from_offset }).collect();
    let mut reader = source.reader(&assigned)?;
    let recorded = ids.into_iter().zip(&starts);
    let mut recorded: Vec<_> =
        recorded.map(|(partition, &from)| Recorded { partition, records: 0, from, to: from }).collect();

    let mut open: Vec<usize> = (0..reader.lanes()).collect();
    let began = Instant::now();
    while !open.is_empty() {
        let expired = matches!(until, Until::For(time) if began.elapsed() >= time);
        if expired || stop() {
            if until == Until::End {
                return Err(RecordError::Stopped);
            }
            break;
        }
        let mut idle = true;
        let mut failure = None;
        open.retain(|&lane| match read(&mut *reader, lane, ends[lane], &mut target, &mut recorded) {
            Ok(outcome) => {
                idle &= outcome == Outcome::Idle;
                outcome != Outcome::End
            }
            Err(error) => {
                failure.get_or_insert(error);
                true
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        told(recorded.iter().map(|partition| partition.records).sum());
        if idle {
            std::thread::sleep(NAP);
        }
    }
    drop(reader);
    target.finish()?;
    Ok(recorded)
}

/// What a look at a lane has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// There may be more.
    More,
    /// There is nothing now.
    Idle,
    /// Everything before its end is recorded.
    End,
}

/// Records some of a lane, up to `end`.
fn read(
    reader: &mut dyn Reader,
    lane: usize,
    end: i64,
    target: &mut Target,
    recorded: &mut [Recorded],
) -> Result<Outcome, RecordError> {
    let mut failure = None;
    let mut passed = false;
    let mut visit = |partition: usize, record: &Record<'_>| {
        if record.offset >= end {
            passed = true;
            return Visit::Stop;
        }
        if let Err(error) = target.write_record(partition, record) {
            failure = Some(error);
            return Visit::Stop;
        }
        recorded[partition].records += 1;
        recorded[partition].to = record.offset + 1;
        Visit::Taken
    };
    let poll = reader.poll(lane, BATCH, &mut visit)?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    // Behind the last record a transaction's marker may stand, which is never shown.
    let at_end = reader.status(lane).is_some_and(|status| status.position >= end);
    Ok(match poll {
        _ if passed || at_end => Outcome::End,
        Poll::Idle => Outcome::Idle,
        _ => Outcome::More,
    })
}
