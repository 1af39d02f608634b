//! The near end of the pipeline: readings into windows by (cycle, sensor).

use tidegate::aggregate::Finite;
use tidegate::ingest::Position;
use tidegate::operators::keyed_window::Measure;

use super::event::{Reading, ReadingDecoder};
use super::features::Window;

/// Describes the readings of each (cycle, sensor).
pub(super) struct Readings;

impl Measure<ReadingDecoder> for Readings {
    type Aggregate = Window;

    #[inline(always)]
    fn measure<'e>(
        &self,
        at: &Position<'_>,
        reading: &'e Reading<'_>,
    ) -> Option<(&'e [u8], (Finite, Finite, Finite, Option<i64>))> {
        let value = reading.value();
        Some((reading.key(), (value, value, value, at.record.kafka_time.ms())))
    }
}
