//! The source operator: read, decode, judge, combine, all in one place.
//!
//! ```text
//! reader ─► offset check ─► decode ─► ahead? ─► validate ─► verdicts and local aggregates (fronts) ─► partition watermark
//!                             └─ dead letters ─────┘              └─ late records
//! ```
//!
//! Lateness is judged here, against the record's own partition watermark **at its position**, so it is a
//! function of the log alone. The worker holds its capability at the smallest watermark of its partitions;
//! timely's frontier, the minimum over all workers, decides when a window closes and never what is in it.

mod dedup;
mod front;
mod idle;
mod lake_front;
mod ledger;
mod operator;
mod partition;
mod partition_state;
mod quality;
mod range;
mod remembered;
mod rows_front;
mod shown;
mod side;
mod topic_front;
mod validate;

pub use dedup::Dedup;
pub use front::{Edge, Front, FrontSet, Place, Port, Position, Verdicts};
pub use idle::{BadDecision, IdleDecision, IdlePolicy, idle_topic, read_decisions};
pub use lake_front::{LakeBlock, LakeFront, LakeRow, MOST_EXTRAS, REST};
pub use ledger::{Counts, Ledger, OpenCounts, OpenRecords, OutputCounts, Verdict};
pub use operator::{Ingested, Interleave, Settings, ingest, ingest_validated};
pub use partition::PartitionWatermark;
pub use quality::{Breach, QualityCounts, QualityFront};
pub use range::{BadRange, Range};
pub use rows_front::{EventRows, RowsBlock, RowsFront};
pub use side::SideTopics;
pub use topic_front::{Render, TopicFront, Unchanged};
pub use validate::{AcceptAll, BadState, Validate};

use crate::decode::Rejected;
use crate::decode::json::{Decoded, JsonDecoder};
use crate::record::Record;

/// Makes typed events of records.
pub trait Decode: 'static {
    /// An event, borrowed from the record and the decoder's scratch space.
    type Event<'a>;

    /// Whether a record can hold several events: they are then asked for by [`decode_each`](Self::decode_each), and by
    /// [`decode`](Self::decode) else.
    const MANY: bool = false;

    /// The event in `record`.
    ///
    /// # Errors
    /// Why there is none; the record goes to the dead letters.
    fn decode<'a>(&'a mut self, record: &Record<'a>) -> Result<Self::Event<'a>, Rejected>;

    /// Shows every event of `record` to `each`, at least one, or why there is none; by default the one that
    /// [`decode`](Self::decode) gives.
    ///
    /// The events of a record are judged one by one against the watermark before the record, which then moves to
    /// the largest event time among those that were accepted. The ledger counts events: a record with three is
    /// three read.
    fn decode_each<'a>(
        &'a mut self,
        record: &Record<'a>,
        mut each: impl FnMut(Part<'_>, Result<Self::Event<'a>, Rejected>),
    ) where
        Self: Sized,
    {
        each(Part::WHOLE, self.decode(record));
    }

    /// The event's own time, in microseconds since the epoch.
    fn event_time_us(event: &Self::Event<'_>) -> i64;
}

/// Documents as they are declared are events of their own.
impl<const N: usize> Decode for JsonDecoder<N> {
    type Event<'a> = Decoded<'a, N>;

    #[inline(always)]
    fn decode<'a>(&'a mut self, record: &Record<'a>) -> Result<Decoded<'a, N>, Rejected> {
        JsonDecoder::decode(self, record.value)
    }

    #[inline(always)]
    fn event_time_us(event: &Decoded<'_, N>) -> i64 {
        event.event_time_us()
    }
}

/// What a late or dead letter says of an event that is a part of its record.
#[derive(Clone, Copy, Default)]
pub struct Part<'a> {
    /// The event's name within its record: the header `entity_id`.
    pub id: Option<&'a [u8]>,
    /// Makes a payload of the event alone; without it the letter has the record's.
    pub alone: Option<&'a dyn Fn() -> Vec<u8>>,
}

impl Part<'_> {
    /// All of a record.
    pub const WHOLE: Part<'static> = Part { id: None, alone: None };
}
