//! Synthetic readings of sensors for `iot`, with faults that are marked.
//!
//! Sensors stand in a few cities and report in turn. A reading arrives up to 20 s after it was made; a late one 2 to 8
//! minutes, beyond the pipeline's delay. Some readings are faulty, each in one way that validation knows; which ones is
//! told, so that what validation finds can be scored.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use tidegate::time::{self, TimeFormatter};

use super::activity::{BadSpec, Generated, PARTITIONS_MAX};
use super::random::Random;

/// A reading arrives at most this long after it was made, unless it is late.
pub const DISORDER_MS: u64 = 20_000;
/// A late one arrives at least this long after it was made …
pub const LATE_MIN_MS: u64 = 120_000;
/// … and less than this long.
pub const LATE_MAX_MS: u64 = 480_000;

/// City, its state, and the code in the names of its sensors.
const PLACES: [(&str, &str, &str); 6] = [
    ("Mumbai", "Maharashtra", "MUM"),
    ("Pune", "Maharashtra", "PUN"),
    ("Delhi", "Delhi", "DEL"),
    ("Bengaluru", "Karnataka", "BLR"),
    ("Chennai", "Tamil Nadu", "CHE"),
    ("Kolkata", "West Bengal", "KOL"),
];
const DEVICES: [&str; 3] = ["Temperature Sensor", "Smart Meter", "Climate Station"];

/// What is wrong with a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 140 to 190 °C.
    TooHot,
    /// Humidity over 100 %.
    TooHumid,
    /// Negative energy.
    NegativeEnergy,
    /// Too hot and too humid at once: two rules.
    TwoRules,
    /// The reading of the same sensor and instant that came just before it in the partition.
    Repeated,
    /// No humidity.
    MissingMember,
    /// A temperature in quotes.
    WrongType,
    /// Half of an object.
    CutShort,
    /// Two days ahead of its arrival.
    WrongClock,
}

const KINDS: [FaultKind; 9] = [
    FaultKind::TooHot,
    FaultKind::TooHumid,
    FaultKind::NegativeEnergy,
    FaultKind::TwoRules,
    FaultKind::Repeated,
    FaultKind::MissingMember,
    FaultKind::WrongType,
    FaultKind::CutShort,
    FaultKind::WrongClock,
];

impl FaultKind {
    /// As the marks and the header `fault` call it.
    pub fn name(self) -> &'static str {
        [
            "too_hot",
            "too_humid",
            "negative_energy",
            "two_rules",
            "repeated",
            "missing_member",
            "wrong_type",
            "cut_short",
            "wrong_clock",
        ][self as usize]
    }

    /// The rules that are to find it, as `data_quality` names them.
    pub fn rules(self) -> &'static [&'static str] {
        match self {
            FaultKind::TooHot => &["temperature_range"],
            FaultKind::TooHumid => &["humidity_range"],
            FaultKind::NegativeEnergy => &["energy_range"],
            FaultKind::TwoRules => &["temperature_range", "humidity_range"],
            FaultKind::Repeated => &["duplicate"],
            FaultKind::MissingMember | FaultKind::WrongType => &["schema"],
            FaultKind::CutShort => &["not_json"],
            FaultKind::WrongClock => &["ahead"],
        }
    }
}

/// A fault that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// The rules that are to find it.
    pub rules: &'static [&'static str],
    /// The partition of its record.
    pub partition: i32,
    /// The record's offset, where the partition begins with this reading's specification.
    pub offset: i64,
}

/// What is generated. The same specification gives the same bytes, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Chooses values, delays and faults.
    pub seed: u64,
    /// How many readings.
    pub records: u64,
    /// How many partitions they are spread over, by sensor.
    pub partitions: u32,
    /// How many sensors.
    pub sensors: u32,
    /// When the first one arrives, in milliseconds since the epoch.
    pub start_ms: i64,
    /// How long after it the last one arrives.
    pub span: Duration,
    /// One in so many is late, on average; 0: none.
    pub late_every: u32,
    /// One in so many is faulty, on average; 0: none.
    pub fault_every: u32,
}

impl Default for Spec {
    /// 100,000 readings of 60 sensors in the first hour of 2026, 4 partitions, 2 % late, 1 % faulty.
    fn default() -> Self {
        Spec {
            seed: 1,
            records: 100_000,
            partitions: 4,
            sensors: 60,
            start_ms: 1_767_225_600_000,
            span: Duration::from_secs(3_600),
            late_every: 50,
            fault_every: 100,
        }
    }
}

/// The readings of a [`Spec`], one after the other in the order of their arrival.
///
/// # Examples
/// ```
/// use tidegate_dataflows::generate::iot::{Readings, Spec};
///
/// let mut readings = Readings::new(Spec { records: 1, fault_every: 0, ..Spec::default() })?;
/// let reading = readings.next_event().expect("there is one");
/// assert!(reading.payload.starts_with(b"{\"sensor_id\":\"SENSOR_"));
/// assert!(readings.next_event().is_none());
/// # Ok::<(), tidegate_dataflows::generate::activity::BadSpec>(())
/// ```
#[derive(Clone, Debug)]
pub struct Readings {
    spec: Spec,
    random: Random,
    next: u64,
    offsets: Vec<i64>,
    /// The last reading of each partition that is in order: sensor and event time.
    last: Vec<Option<(u64, i64)>>,
    faults: Vec<Fault>,
    formatter: TimeFormatter,
    key: String,
    payload: String,
}

impl Readings {
    /// The readings of `spec`, from the first.
    ///
    /// # Errors
    /// When there can be no such readings.
    pub fn new(spec: Spec) -> Result<Readings, BadSpec> {
        let counts = [("partitions", spec.partitions), ("sensors", spec.sensors)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(BadSpec::Zero(name));
        }
        if spec.partitions > PARTITIONS_MAX {
            return Err(BadSpec::Partitions(spec.partitions));
        }
        let first_ms = spec.start_ms.checked_sub(LATE_MAX_MS as i64);
        let last_ms = i64::try_from(spec.span.as_millis()).ok().and_then(|ms| spec.start_ms.checked_add(ms));
        // Two days for the wrong clocks.
        let last_ms = last_ms.and_then(|ms| ms.checked_add(AHEAD_MS));
        if first_ms.and_then(time::from_epoch_ms).is_none() || last_ms.and_then(time::from_epoch_ms).is_none()
        {
            return Err(BadSpec::Time);
        }
        Ok(Readings {
            random: Random::new(spec.seed),
            next: 0,
            offsets: vec![0; spec.partitions as usize],
            last: vec![None; spec.partitions as usize],
            faults: Vec::new(),
            formatter: TimeFormatter::default(),
            key: String::new(),
            payload: String::new(),
            spec,
        })
    }

    /// The faults that were injected so far.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The next reading; `None` after the last.
    pub fn next_event(&mut self) -> Option<Generated<'_>> {
        let Spec { records, partitions, sensors, start_ms, span, late_every, fault_every, .. } = self.spec;
        if self.next == records {
            return None;
        }
        let since_ms = span.as_millis() * u128::from(self.next) / u128::from(records);
        self.next += 1;
        let kafka_ms = start_ms + since_ms as i64;

        let random = &mut self.random;
        let is_late = late_every > 0 && random.below(late_every.into()) == 0;
        let behind_ms = if is_late {
            LATE_MIN_MS + random.below(LATE_MAX_MS - LATE_MIN_MS)
        } else {
            random.below(DISORDER_MS)
        };
        let mut sensor = random.below(sensors.into());
        let partition = (sensor % u64::from(partitions)) as usize;
        let mut event_ms = kafka_ms - behind_ms as i64;
        // A late reading is late and nothing else, so that both can be counted.
        let is_faulty = fault_every > 0 && random.below(fault_every.into()) == 0 && !is_late;
        let mut fault = is_faulty.then(|| KINDS[random.below(KINDS.len() as u64) as usize]);
        match (fault, self.last[partition]) {
            // Its window must be open, or it would be late.
            (Some(FaultKind::Repeated), Some((of, at_ms))) if kafka_ms - at_ms < LATE_MIN_MS as i64 / 4 => {
                (sensor, event_ms) = (of, at_ms);
            }
            (Some(FaultKind::Repeated), _) => fault = None,
            (Some(FaultKind::WrongClock), _) => event_ms = kafka_ms + AHEAD_MS,
            _ => {}
        }
        if fault.is_none() && !is_late {
            self.last[partition] = Some((sensor, event_ms));
        }
        let offset = self.offsets[partition];
        self.offsets[partition] += 1;
        if let Some(kind) = fault {
            self.faults.push(Fault { kind, rules: kind.rules(), partition: partition as i32, offset });
        }
        self.write(sensor, event_ms, fault);
        let (key, payload) = (self.key.as_bytes(), self.payload.as_bytes());
        let fault = fault.map(FaultKind::name);
        Some(Generated { partition: partition as i32, offset, kafka_ms, key, payload, fault })
    }

    fn write(&mut self, sensor: u64, event_ms: i64, fault: Option<FaultKind>) {
        let random = &mut self.random;
        let (location, state, code) = PLACES[(sensor % PLACES.len() as u64) as usize];
        let device = DEVICES[(sensor / 2 % DEVICES.len() as u64) as usize];
        // Hundredths, so that no rounding of the machine enters.
        let mut temperature = 1_800 + 40 * (sensor % 30) as i64 + random.below(600) as i64;
        let mut humidity = 3_500 + random.below(4_000) as i64;
        let mut energy = random.below(200) as i64;
        if matches!(fault, Some(FaultKind::TooHot | FaultKind::TwoRules)) {
            temperature = 14_000 + random.below(5_000) as i64;
        }
        if matches!(fault, Some(FaultKind::TooHumid | FaultKind::TwoRules)) {
            humidity = 10_100 + random.below(2_000) as i64;
        }
        if fault == Some(FaultKind::NegativeEnergy) {
            energy = -1 - energy;
        }
        self.key.clear();
        self.payload.clear();
        let time = self.formatter.format(event_ms * 1_000);
        // The text has six fraction digits; sensors write three.
        let time = std::str::from_utf8(&time[..23]).unwrap_or_default();
        let quote = if fault == Some(FaultKind::WrongType) { "\"" } else { "" };
        let out = &mut self.payload;
        // Writing to a string does not fail.
        write!(self.key, "SENSOR_{code}_{sensor:03}").ok();
        write!(out, "{{\"sensor_id\":\"{}\",\"timestamp\":\"{time}Z\",", self.key).ok();
        write!(out, "\"temperature\":{quote}{}{quote},", Hundredths(temperature)).ok();
        if fault != Some(FaultKind::MissingMember) {
            write!(out, "\"humidity\":{},", Hundredths(humidity)).ok();
        }
        write!(out, "\"energy_consumption\":{},\"location\":\"{location}\",", Hundredths(energy)).ok();
        write!(out, "\"state\":\"{state}\",\"device_type\":\"{device}\"}}").ok();
        if fault == Some(FaultKind::CutShort) {
            out.truncate(out.len() / 2);
        }
    }
}

/// How far a wrong clock is ahead.
const AHEAD_MS: i64 = 172_800_000;

struct Hundredths(i64);

impl std::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:02}", self.0.abs() / 100, self.0.abs() % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spec: Spec) -> (Vec<(i32, i64, String)>, Vec<Fault>) {
        let mut readings = Readings::new(spec).unwrap();
        let mut out = Vec::new();
        while let Some(reading) = readings.next_event() {
            let payload = String::from_utf8(reading.payload.to_vec()).unwrap();
            out.push((reading.partition, reading.offset, payload));
        }
        let faults = readings.faults().to_vec();
        (out, faults)
    }

    #[test]
    fn same_seed_same_readings_and_another_seed_others() {
        let spec = Spec { records: 1_000, ..Spec::default() };
        assert_eq!(all(spec.clone()), all(spec.clone()));
        assert_ne!(all(spec.clone()).0, all(Spec { seed: 2, ..spec }).0);
    }

    #[test]
    fn faults_are_of_every_kind_and_stand_where_they_are_marked() {
        let (readings, faults) = all(Spec { records: 20_000, ..Spec::default() });
        for kind in KINDS {
            assert!(faults.iter().any(|fault| fault.kind == kind), "{kind:?}");
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for (partition, offset, payload) in &readings {
            let fault = faults.iter().find(|fault| (fault.partition, fault.offset) == (*partition, *offset));
            let object = serde_json::from_str::<serde_json::Value>(payload);
            let kind = fault.map(|fault| fault.kind);
            assert_eq!(object.is_err(), kind == Some(FaultKind::CutShort), "{payload}");
            let Ok(object) = object else { continue };
            let is_hot = object["temperature"].as_f64().is_some_and(|celsius| celsius > 100.0);
            assert_eq!(is_hot, matches!(kind, Some(FaultKind::TooHot | FaultKind::TwoRules)), "{payload}");
            assert_eq!(object["humidity"].is_null(), kind == Some(FaultKind::MissingMember), "{payload}");
        }
    }

    #[test]
    fn impossible_specifications_are_refused() {
        let refused = |spec| Readings::new(spec).err();
        assert_eq!(refused(Spec { sensors: 0, ..Spec::default() }), Some(BadSpec::Zero("sensors")));
        assert_eq!(refused(Spec { partitions: 513, ..Spec::default() }), Some(BadSpec::Partitions(513)));
        assert_eq!(refused(Spec { start_ms: i64::MAX, ..Spec::default() }), Some(BadSpec::Time));
    }
}
