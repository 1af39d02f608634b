//! The near end of the aggregates: what a window takes from a reading.

use tidegate::aggregate::{AnyValue, Avg, Count, Finite, Max, Min, Origin, Sum};
use tidegate::ingest::Position;
use tidegate::operators::keyed_window::Measure;

use super::event::{Reading, ReadingDecoder};

/// Temperature, humidity, energy, count; where and what, by the first record; the largest Kafka timestamp in
/// milliseconds, of those that have one.
pub(super) type Aggregates = (
    (Avg, Max<Finite>, Min<Finite>),
    Avg,
    Sum,
    Count,
    (AnyValue<[u8]>, AnyValue<[u8]>, AnyValue<[u8]>),
    Max<Option<i64>>,
);

/// Aggregates readings by sensor.
pub(super) struct BySensor;

impl Measure<ReadingDecoder> for BySensor {
    type Aggregate = Aggregates;

    #[inline(always)]
    fn measure<'e>(
        &self,
        at: &Position<'_>,
        event: &'e Reading<'_>,
    ) -> Option<(&'e [u8], <Aggregates as tidegate::aggregate::Aggregate>::Input<'e>)> {
        // The decoder gives finite numbers only.
        let temperature = Finite::new(event.temperature())?;
        let humidity = Finite::new(event.humidity())?;
        let energy = Finite::new(event.energy_consumption())?;
        let origin =
            Origin { event_time_us: at.time_us, partition: at.place.rank.into(), offset: at.record.offset };
        let places = ((origin, event.location()), (origin, event.state()), (origin, event.device_type()));
        let temperatures = (temperature, temperature, temperature);
        let input = (temperatures, humidity, energy, (), places, at.record.kafka_time.ms());
        Some((event.sensor_id(), input))
    }
}
