//! A reading of the topics `iot_data` and `validated_iot_data`.

use tidegate::decode::Rejected;
use tidegate::decode::json::{Decoded, JsonDecoder, Kind, Limits, Member};
use tidegate::ingest::Decode;
use tidegate::record::Record;

const MEMBERS: [Member; 8] = [
    Member::new("sensor_id", Kind::Text),
    Member::new("timestamp", Kind::Time),
    Member::new("temperature", Kind::Number),
    Member::new("humidity", Kind::Number),
    Member::new("energy_consumption", Kind::Number),
    Member::new("location", Kind::Text),
    Member::new("state", Kind::Text),
    Member::new("device_type", Kind::Text),
];

/// A decoded reading.
pub struct Reading<'a>(Decoded<'a, 8>);

impl<'a> Reading<'a> {
    /// Microseconds since the epoch.
    #[inline(always)]
    pub fn event_time_us(&self) -> i64 {
        self.0.event_time_us()
    }
    /// Which sensor.
    #[inline(always)]
    pub fn sensor_id(&self) -> &'a [u8] {
        self.0.text(0)
    }
    /// °C.
    #[inline(always)]
    pub fn temperature(&self) -> f64 {
        self.0.number(2)
    }
    /// Relative, in %.
    #[inline(always)]
    pub fn humidity(&self) -> f64 {
        self.0.number(3)
    }
    /// kWh since the reading before.
    #[inline(always)]
    pub fn energy_consumption(&self) -> f64 {
        self.0.number(4)
    }
    /// The city.
    #[inline(always)]
    pub fn location(&self) -> &'a [u8] {
        self.0.text(5)
    }
    /// The state that it lies in.
    #[inline(always)]
    pub fn state(&self) -> &'a [u8] {
        self.0.text(6)
    }
    /// What kind of sensor.
    #[inline(always)]
    pub fn device_type(&self) -> &'a [u8] {
        self.0.text(7)
    }
}

/// Decodes `{sensor_id, timestamp, temperature, humidity, energy_consumption, location, state, device_type}`.
pub struct ReadingDecoder(JsonDecoder<8>);

impl ReadingDecoder {
    /// A decoder that refuses what is beyond `limits`.
    pub fn new(limits: Limits) -> Self {
        ReadingDecoder(JsonDecoder::new(MEMBERS, limits))
    }
}

impl Decode for ReadingDecoder {
    type Event<'a> = Reading<'a>;

    #[inline(always)]
    fn decode<'a>(&'a mut self, record: &Record<'a>) -> Result<Reading<'a>, Rejected> {
        self.0.decode(record.value).map(Reading)
    }

    #[inline(always)]
    fn event_time_us(event: &Reading<'_>) -> i64 {
        event.event_time_us()
    }
}
