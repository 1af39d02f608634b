//! Synthetic readings of the hydraulic rig for `hydraulic`, with faults that are marked.
//!
//! A cycle takes 60 seconds. Each sensor swings gently about its level, the same in every cycle, with noise that
//! stays within three deviations; only additions and multiplications, so that a seed means the same everywhere.
//! Readings arrive a little after they were made, some of them out of order, a few too late. Into this, faults are
//! injected one after the other, each of a [`FaultKind`], and told to the caller, so that what the rules find can
//! be scored.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;
use tidegate::time::{self, TimeFormatter};

use super::activity::Generated;
use super::random::Random;
use crate::hydraulic::{SENSORS, SensorSet, rate_hz};

/// How long a cycle takes.
const CYCLE_MS: i64 = 60_000;
/// The finest step of time.
const TICK_MS: i64 = 10;
/// Readings out of order arrive at most this long after they were made.
const DISORDER_MS: u64 = 2_000;
/// Late readings arrive at least this long after they were made, beyond the pipeline's delay …
const LATE_MIN_MS: u64 = 12_000;
/// … and less than this long.
const LATE_MAX_MS: u64 = 30_000;
/// Before this no fault is injected, since rules need something to compare with.
const QUIET_MS: i64 = 90_000;

/// Level and swing of each sensor; the noise is a third of the swing.
const SIGNALS: [(f64, f64); SENSORS.len()] = [
    (160.0, 6.0),
    (108.0, 5.0),
    (2.0, 0.2),
    (10.0, 0.3),
    (9.9, 0.4),
    (9.7, 0.4),
    (2_480.0, 40.0),
    (6.7, 0.3),
    (10.2, 0.1),
    (38.0, 0.6),
    (43.0, 0.6),
    (40.0, 0.6),
    (33.0, 0.6),
    (0.6, 0.05),
    (40.0, 1.0),
    (1.9, 0.05),
    (55.0, 2.0),
];

/// A fault of the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// PS1 rises by 170 bar: `high_pressure`.
    PressureSurge,
    /// TS1 rises by 70 °C: `high_temperature`.
    Overheating,
    /// PS2 drops by 80 bar for a fifth of a second: `pressure_spike`.
    PressureSpike,
    /// TS3 jumps by 8 °C: `sudden_change`.
    TemperatureJump,
    /// FS2 is a tenth too low: `zscore`.
    WeakFlow,
    /// PS6 moves against PS5 for a cycle and a half: `correlation`.
    Decoupled,
}

const KINDS: [FaultKind; 6] = [
    FaultKind::PressureSurge,
    FaultKind::Overheating,
    FaultKind::PressureSpike,
    FaultKind::TemperatureJump,
    FaultKind::WeakFlow,
    FaultKind::Decoupled,
];

impl FaultKind {
    /// As the marks and the header `fault` call it.
    pub fn name(self) -> &'static str {
        ["pressure_surge", "overheating", "pressure_spike", "temperature_jump", "weak_flow", "decoupled"]
            [self as usize]
    }

    /// The sensor that it shows in.
    fn sensor(self) -> usize {
        [0, 9, 1, 11, 8, 5][self as usize]
    }

    /// The rule that is to find it.
    fn rule(self) -> &'static str {
        ["high_pressure", "high_temperature", "pressure_spike", "sudden_change", "zscore", "correlation"]
            [self as usize]
    }

    fn lasts_ms(self) -> i64 {
        [3_000, 4_000, 200, 5_000, 4_000, 90_000][self as usize]
    }
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// The rule that is to find it.
    pub rule: &'static str,
    /// The sensor that it shows in.
    pub sensor: &'static str,
    /// Event time of its first reading.
    pub start: String,
    /// Event time before which its last reading is.
    pub end: String,
}

/// What is generated. The same specification gives the same bytes, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Chooses noise, delays and faults.
    pub seed: u64,
    /// How many cycles of a minute.
    pub cycles: u32,
    /// The sensors.
    pub sensors: SensorSet,
    /// Readings a second of the pressures and the motor power, which the rig takes 100 times; a divisor of 100.
    pub high_rate_hz: u32,
    /// When the first cycle begins, in milliseconds since the epoch; it begins with the minute.
    pub start_ms: i64,
    /// One reading in so many is late, on average; 0: none.
    pub late_every: u32,
    /// The seconds from one fault's end to the next one's beginning, on average; 0: no faults.
    pub fault_every_s: u32,
}

impl Default for Spec {
    /// 20 cycles of the 8th of November 2025, with all sensors, 1 % late, a fault every 45 s.
    fn default() -> Self {
        Spec {
            seed: 1,
            cycles: 20,
            sensors: SensorSet::ALL,
            high_rate_hz: 100,
            start_ms: 1_762_612_200_000,
            late_every: 100,
            fault_every_s: 45,
        }
    }
}

/// A specification that describes nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadSpec {
    /// No reading would be taken.
    #[error("there must be at least one cycle and one sensor")]
    Nothing,
    /// The rate does not fit the steps of time.
    #[error("the high rate must be one of 1, 2, 4, 5, 10, 20, 25, 50, 100 a second, not {0}")]
    Rate(u32),
    /// A time that cannot be written.
    #[error("the readings would leave the years 0001 to 9999; choose another start or fewer cycles")]
    Time,
}

struct Waiting {
    sensor: usize,
    event_ms: i64,
    cycle: i64,
    value: f64,
    /// The number of the fault that it shows.
    fault: Option<usize>,
}

/// The readings of a [`Spec`], one after the other in the order of their arrival.
pub struct Rig {
    spec: Spec,
    random: Random,
    tick: i64,
    /// Readings that have been made and not arrived, by arrival and number.
    waiting: BTreeMap<(i64, u64), Waiting>,
    made: u64,
    offsets: [i64; SENSORS.len()],
    faults: Vec<(FaultKind, i64, i64)>,
    /// Whether a reading that shows the fault has been given.
    shown: Vec<bool>,
    formatter: TimeFormatter,
    payload: Vec<u8>,
}

impl Rig {
    /// The readings of `spec`, from the first.
    ///
    /// # Errors
    /// When there can be no such readings.
    pub fn new(spec: Spec) -> Result<Rig, BadSpec> {
        if spec.cycles == 0 || spec.sensors.is_empty() {
            return Err(BadSpec::Nothing);
        }
        if spec.high_rate_hz == 0 || !100_u32.is_multiple_of(spec.high_rate_hz) {
            return Err(BadSpec::Rate(spec.high_rate_hz));
        }
        let start_ms = spec.start_ms.div_euclid(CYCLE_MS) * CYCLE_MS;
        let end_ms = i64::from(spec.cycles).checked_mul(CYCLE_MS).and_then(|ms| start_ms.checked_add(ms));
        if [Some(start_ms), end_ms].iter().any(|ms| ms.and_then(time::from_epoch_ms).is_none()) {
            return Err(BadSpec::Time);
        }
        let spec = Spec { start_ms, ..spec };
        let mut random = Random::new(spec.seed);
        let faults = draw_faults(&spec, &mut random);
        Ok(Rig {
            spec,
            random,
            tick: 0,
            waiting: BTreeMap::new(),
            made: 0,
            offsets: [0; SENSORS.len()],
            shown: vec![false; faults.len()],
            faults,
            formatter: TimeFormatter::default(),
            payload: Vec::new(),
        })
    }

    /// The faults that the readings so far show, in the order of their beginning.
    pub fn faults(&self) -> Vec<Fault> {
        let text = |ms: i64| String::from_utf8_lossy(&time::format(ms * 1_000)).into_owned();
        let fault = |&(kind, start_ms, end_ms): &(FaultKind, i64, i64)| Fault {
            kind,
            rule: kind.rule(),
            sensor: SENSORS[kind.sensor()],
            start: text(start_ms),
            end: text(end_ms),
        };
        self.faults.iter().zip(&self.shown).filter(|(_, shown)| **shown).map(|(own, _)| fault(own)).collect()
    }

    /// How many readings there will be.
    pub fn records(&self) -> u64 {
        let a_second: u64 = self.spec.sensors.iter().map(|sensor| u64::from(self.rate(sensor))).sum();
        a_second * 60 * u64::from(self.spec.cycles)
    }

    /// The next reading to arrive; `None` after the last. Its partition is the sensor's place among those that
    /// are generated.
    pub fn next_event(&mut self) -> Option<Generated<'_>> {
        let last_tick = i64::from(self.spec.cycles) * CYCLE_MS / TICK_MS;
        while self.tick < last_tick
            && self.waiting.first_key_value().is_none_or(|((at_ms, _), _)| *at_ms >= self.now_ms())
        {
            self.measure();
        }
        let ((kafka_ms, _), reading) = self.waiting.pop_first()?;
        let offset = self.offsets[reading.sensor];
        self.offsets[reading.sensor] += 1;
        let name = SENSORS[reading.sensor];
        let time = self.formatter.format(reading.event_ms * 1_000);
        let out = &mut self.payload;
        out.clear();
        out.extend_from_slice(b"{\"sensor\":\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(format!("\",\"cycle\":{},\"timestamp\":\"", reading.cycle).as_bytes());
        out.extend_from_slice(&time[..23]);
        out.extend_from_slice(format!("Z\",\"value\":{:.3}}}", reading.value).as_bytes());
        let partition =
            self.spec.sensors.iter().take_while(|sensor| *sensor != reading.sensor).count() as i32;
        if let Some(number) = reading.fault {
            self.shown[number] = true;
        }
        let fault = reading.fault.map(|number| self.faults[number].0.name());
        Some(Generated { partition, offset, kafka_ms, key: name.as_bytes(), payload: &self.payload, fault })
    }

    fn now_ms(&self) -> i64 {
        self.spec.start_ms + self.tick * TICK_MS
    }

    fn rate(&self, sensor: usize) -> u32 {
        rate_hz(sensor).min(if rate_hz(sensor) == 100 { self.spec.high_rate_hz } else { 10 })
    }

    /// Takes the readings of a tick.
    fn measure(&mut self) {
        let (event_ms, in_cycle_ms) = (self.now_ms(), self.tick * TICK_MS % CYCLE_MS);
        let cycle = self.tick * TICK_MS / CYCLE_MS;
        for sensor in self.spec.sensors.iter() {
            if in_cycle_ms % (1_000 / i64::from(self.rate(sensor))) != 0 {
                continue;
            }
            let fault = self.faults.iter().position(|(kind, start_ms, end_ms)| {
                kind.sensor() == sensor && (*start_ms..*end_ms).contains(&event_ms)
            });
            let value = self.value(sensor, in_cycle_ms, fault);
            let behind_ms = self.behind_ms();
            let reading = Waiting { sensor, event_ms, cycle, value, fault };
            self.waiting.insert((event_ms + behind_ms as i64, self.made), reading);
            self.made += 1;
        }
        self.tick += 1;
    }

    fn behind_ms(&mut self) -> u64 {
        let late_every = u64::from(self.spec.late_every);
        if late_every > 0 && self.random.below(late_every) == 0 {
            return LATE_MIN_MS + self.random.below(LATE_MAX_MS - LATE_MIN_MS);
        }
        if self.random.below(20) == 0 { self.random.below(DISORDER_MS) } else { 4 }
    }

    fn value(&mut self, sensor: usize, in_cycle_ms: i64, fault: Option<usize>) -> f64 {
        let (level, swing) = SIGNALS[sensor];
        // Up in the first half of a cycle, down in the second: from −1 to 1.
        let wave = 1.0 - (in_cycle_ms as f64 / (CYCLE_MS as f64 / 4.0) - 2.0).abs();
        let noise = (self.random.unit() + self.random.unit() - 1.0) * swing / 3.0;
        let (offset, wave) = match fault.map(|number| self.faults[number].0) {
            None => (0.0, wave),
            Some(FaultKind::PressureSurge) => (170.0, wave),
            Some(FaultKind::Overheating) => (70.0, wave),
            Some(FaultKind::PressureSpike) => (-80.0, wave),
            Some(FaultKind::TemperatureJump) => (8.0, wave),
            Some(FaultKind::WeakFlow) => (-1.0, wave),
            Some(FaultKind::Decoupled) => (0.0, -wave),
        };
        level + swing * wave + noise + offset
    }
}

/// Faults in turn, each on a whole second, none before the last one's end.
fn draw_faults(spec: &Spec, random: &mut Random) -> Vec<(FaultKind, i64, i64)> {
    let end_ms = spec.start_ms + i64::from(spec.cycles) * CYCLE_MS;
    let (mut faults, mut at_ms) = (Vec::new(), spec.start_ms + QUIET_MS);
    if spec.fault_every_s == 0 {
        return faults;
    }
    for kind in KINDS.into_iter().cycle() {
        let start_ms = at_ms + 1_000 * random.below(2 * u64::from(spec.fault_every_s) + 1) as i64;
        let last_ms = start_ms + kind.lasts_ms();
        if last_ms > end_ms {
            return faults;
        }
        if spec.sensors.has(kind.sensor()) {
            faults.push((kind, start_ms, last_ms));
        }
        at_ms = last_ms.div_euclid(1_000) * 1_000 + 10_000;
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spec: Spec) -> Vec<(i32, i64, i64, String)> {
        all_of(&mut Rig::new(spec).unwrap())
    }

    fn all_of(rig: &mut Rig) -> Vec<(i32, i64, i64, String)> {
        let mut out = Vec::new();
        while let Some(event) = rig.next_event() {
            let payload = String::from_utf8(event.payload.to_vec()).unwrap();
            out.push((event.partition, event.offset, event.kafka_ms, payload));
        }
        out
    }

    #[test]
    fn a_cycle_is_43_680_readings_and_the_same_seed_makes_the_same() {
        let spec = Spec { cycles: 1, ..Spec::default() };
        assert_eq!(Rig::new(spec.clone()).unwrap().records(), 43_680);
        let readings = all(spec.clone());
        assert_eq!(readings.len(), 43_680);
        assert_eq!(readings, all(spec.clone()));
        assert_ne!(readings, all(Spec { seed: 2, ..spec }));
        assert!(readings.is_sorted_by_key(|reading| reading.2), "in the order of arrival");
    }

    #[test]
    fn faults_are_marked_where_they_are() {
        let spec = Spec { cycles: 10, high_rate_hz: 1, late_every: 0, ..Spec::default() };
        let mut rig = Rig::new(spec).unwrap();
        assert_eq!(rig.faults(), [], "nothing has been given");
        let readings = all_of(&mut rig);
        let faults = rig.faults();
        assert!(faults.len() >= 5, "{faults:?}");
        let surge = &faults[0];
        assert_eq!(
            (surge.kind, surge.sensor, surge.rule),
            (FaultKind::PressureSurge, "PS1", "high_pressure")
        );
        let high: Vec<String> = readings
            .into_iter()
            .filter(|reading| reading.0 == 0)
            .map(|reading| serde_json::from_str::<serde_json::Value>(&reading.3).unwrap())
            .filter(|reading| reading["value"].as_f64().unwrap() > 300.0)
            .map(|reading| reading["timestamp"].as_str().unwrap()[..19].to_owned())
            .collect();
        assert!(faults.iter().all(|fault| serde_json::to_value(fault.kind).unwrap() == fault.kind.name()));
        let surges = faults.iter().filter(|fault| fault.kind == FaultKind::PressureSurge).count();
        assert_eq!(high.len(), 3 * surges, "three seconds each");
        assert!(high.iter().all(|time| faults.iter().any(|fault| {
            fault.kind == FaultKind::PressureSurge && **time >= fault.start[..19] && **time < fault.end[..19]
        })));
    }

    #[test]
    fn impossible_specifications_are_refused() {
        let refused = |spec| Rig::new(spec).err();
        assert_eq!(refused(Spec { cycles: 0, ..Spec::default() }), Some(BadSpec::Nothing));
        assert_eq!(
            refused(Spec { sensors: SensorSet::default(), ..Spec::default() }),
            Some(BadSpec::Nothing)
        );
        assert_eq!(refused(Spec { high_rate_hz: 30, ..Spec::default() }), Some(BadSpec::Rate(30)));
        assert_eq!(refused(Spec { start_ms: i64::MAX - 59_999, ..Spec::default() }), Some(BadSpec::Time));
    }
}
