//! A reading of one of the topics `hydraulic-<sensor>`.

use tidegate::aggregate::Finite;
use tidegate::decode::Rejected;
use tidegate::decode::json::{Decoded, JsonDecoder, Kind, Limits, Member};
use tidegate::ingest::Decode;
use tidegate::record::Record;

use super::sensors::SENSORS;

const TIMESTAMP: usize = 0;
const SENSOR: usize = 1;
const CYCLE: usize = 2;
const VALUE: usize = 3;

/// The bytes of a window's key: the cycle, then the sensor.
pub(super) const KEY_BYTES: usize = 9;

/// A decoded reading.
pub struct Reading<'a> {
    decoded: Decoded<'a, 4>,
    key: [u8; KEY_BYTES],
}

impl Reading<'_> {
    /// Which sensor, by its place in [`SENSORS`]. The payload says so, not the topic.
    #[inline(always)]
    pub fn sensor(&self) -> usize {
        self.decoded.choice(SENSOR)
    }
    /// In which cycle of the rig.
    #[inline(always)]
    pub fn cycle(&self) -> i64 {
        self.decoded.integer(CYCLE)
    }
    /// What it measured.
    #[inline(always)]
    pub fn value(&self) -> Finite {
        // The decoder refuses numbers beyond `f64`.
        Finite::new(self.decoded.number(VALUE)).unwrap_or_default()
    }
    /// Cycle and sensor as the key of windows.
    #[inline(always)]
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }
}

/// The cycle and the sensor of a window's key.
pub(super) fn of_key(key: &[u8]) -> Option<(i64, u8)> {
    let (cycle, sensor) = key.split_at_checked(8)?;
    Some((i64::from_le_bytes(cycle.try_into().ok()?), *sensor.first()?))
}

/// Decodes `{sensor, cycle, timestamp, value}`.
pub struct ReadingDecoder(JsonDecoder<4>);

impl ReadingDecoder {
    /// A decoder that refuses what is beyond `limits`.
    pub fn new(limits: Limits) -> Self {
        let mut members = [Member { name: "timestamp", kind: Kind::Time }; 4];
        members[TIMESTAMP] = Member { name: "timestamp", kind: Kind::Time };
        members[SENSOR] = Member { name: "sensor", kind: Kind::Choice(&SENSORS) };
        members[CYCLE] = Member { name: "cycle", kind: Kind::Integer };
        members[VALUE] = Member { name: "value", kind: Kind::Number };
        ReadingDecoder(JsonDecoder::new(members, limits))
    }
}

impl Decode for ReadingDecoder {
    type Event<'a> = Reading<'a>;

    #[inline(always)]
    fn decode<'a>(&'a mut self, record: &Record<'a>) -> Result<Reading<'a>, Rejected> {
        self.0.decode(record.value).map(|decoded| {
            let mut key = [0; KEY_BYTES];
            key[..8].copy_from_slice(&decoded.integer(CYCLE).to_le_bytes());
            key[8] = decoded.choice(SENSOR) as u8;
            Reading { decoded, key }
        })
    }

    #[inline(always)]
    fn event_time_us(reading: &Reading<'_>) -> i64 {
        reading.decoded.event_time_us()
    }
}
