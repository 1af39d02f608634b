//! `iot` by hand: both stages in one loop, a partition after the other.
//!
//! Sensors and texts are numbers, what is remembered of a partition is a hash set a window, aggregates are in one hash map that is turned
//! into rows when all is read. Sums are the project's exact ones: others would give other rows.

use std::collections::BTreeMap;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use tidegate::aggregate::{ExactSum, Finite};
use tidegate::decode::json::Limits;
use tidegate::ingest::Decode;
use tidegate::record::Record;
use tidegate::rows::Cell;
use tidegate::sink::kcat::Line;
use tidegate::source::Source;
use tidegate::time;
use tidegate_dataflows::iot::{Reading, ReadingDecoder, table_schemas};

use super::discard::{Lines, Table};
use super::{Answer, each_record, is_ahead};
use crate::interner::Interner;

const WINDOW_US: i64 = 300_000_000;
const DELAY_US: i64 = 60_000_000;

/// What there is of a sensor's window.
struct Window {
    count: u64,
    temperature: ExactSum,
    humidity: ExactSum,
    energy: ExactSum,
    warmest: f64,
    coldest: f64,
    kafka_ms: Option<i64>,
    /// Event time, partition and offset of the first reading, and the numbers of its location, state and device.
    first: (i64, usize, i64),
    place: [u32; 3],
}

impl Window {
    fn of(first: (i64, usize, i64), place: [u32; 3]) -> Self {
        Window {
            count: 0,
            temperature: ExactSum::default(),
            humidity: ExactSum::default(),
            energy: ExactSum::default(),
            warmest: f64::NEG_INFINITY,
            coldest: f64::INFINITY,
            kafka_ms: None,
            first,
            place,
        }
    }

    fn add(&mut self, reading: &Reading<'_>, kafka_ms: Option<i64>) {
        // The decoder gives finite numbers only.
        let finite = |value| Finite::new(value).unwrap_or_default();
        self.count += 1;
        self.temperature.add(finite(reading.temperature()));
        self.humidity.add(finite(reading.humidity()));
        self.energy.add(finite(reading.energy_consumption()));
        self.warmest = self.warmest.max(reading.temperature());
        self.coldest = self.coldest.min(reading.temperature());
        self.kafka_ms = self.kafka_ms.max(kafka_ms);
    }
}

/// What is remembered of a partition.
struct Partition {
    watermark_us: i64,
    offset: i64,
    seen: BTreeMap<i64, HashSet<(u32, i64)>>,
}

const BEGUN: Partition = Partition { watermark_us: i64::MIN, offset: 0, seen: BTreeMap::new() };

#[derive(Default)]
struct Counts {
    answer: Answer,
    /// How often which rule was broken, by sensor.
    broken: HashMap<(Vec<u8>, &'static str), u64>,
}

impl Counts {
    #[cold]
    fn breaks(&mut self, sensor: &[u8], rule: &'static str) {
        *self.broken.entry((sensor.to_vec(), rule)).or_default() += 1;
    }
}

/// The answer of a loop by hand.
pub(super) fn by_hand(source: &dyn Source, digests: bool) -> Answer {
    let mut decoder = ReadingDecoder::new(Limits::default());
    let mut partitions: Vec<Partition> = source.partitions().iter().map(|_| BEGUN).collect();
    let (mut sensors, mut texts) = (Interner::new(), Interner::new());
    let mut windows: HashMap<(i64, u32), Window> = HashMap::new();
    let mut counts = Counts::default();
    let mut validated = Lines::new(digests);
    each_record(source, |number, record| {
        let reading = match decoder.decode(record) {
            Ok(reading) => reading,
            Err(why) => {
                counts.breaks(b"", why.reason.as_str());
                counts.answer.rejected += 1;
                return;
            }
        };
        let partition = &mut partitions[number];
        let (time_us, watermark_us) = (reading.event_time_us(), partition.watermark_us);
        let window = time_us.div_euclid(WINDOW_US);
        let is_open = (window + 1) * WINDOW_US > watermark_us;
        let sensor = sensors.id(reading.sensor_id());
        if !passes(record, &reading, sensor, partition, is_open.then_some(window), &mut counts) {
            counts.answer.rejected += 1;
            return;
        }
        validated.push(&Line {
            topic: "validated_iot_data",
            partition: number as i32,
            offset: partition.offset,
            kafka_time: record.kafka_time,
            headers: &[],
            key: record.key,
            payload: record.value.map(|value| value.bytes()),
        });
        partition.offset += 1;
        counts.answer.accepted += 1;
        partition.watermark_us = watermark_us.max(time_us - DELAY_US);
        if !is_open {
            counts.answer.late += 1;
            return;
        }
        counts.answer.counted += 1;
        let origin = (time_us, number, record.offset);
        let mut place =
            || [reading.location(), reading.state(), reading.device_type()].map(|text| texts.id(text));
        let open = match windows.entry((window, sensor)) {
            Entry::Vacant(entry) => entry.insert(Window::of(origin, place())),
            Entry::Occupied(entry) => entry.into_mut(),
        };
        if origin < open.first {
            (open.first, open.place) = (origin, place());
        }
        open.add(&reading, record.kafka_time.ms());
    });
    let [aggregates, quality] = table_schemas();
    let (mut aggregates, mut quality) = (Table::new(&aggregates, digests), Table::new(&quality, digests));
    for ((window, sensor), open) in &windows {
        push_window(&mut aggregates, sensors.text(*sensor), *window, open, &texts);
    }
    for ((sensor, rule), count) in &counts.broken {
        quality.push(&[Cell::Text(sensor), Cell::Text(rule.as_bytes()), Cell::Int(*count as i64)]);
    }
    Answer { outputs: vec![aggregates.end(), quality.end(), validated.end()], ..counts.answer }
}

/// Whether a reading is what it must be, whose window is `window` where it is open; it is then remembered.
fn passes(
    record: &Record<'_>,
    reading: &Reading<'_>,
    sensor: u32,
    partition: &mut Partition,
    window: Option<i64>,
    counts: &mut Counts,
) -> bool {
    let time_us = reading.event_time_us();
    if is_ahead(time_us, record) {
        counts.breaks(reading.sensor_id(), "ahead");
        return false;
    }
    while let Some(first) = partition.seen.first_entry() {
        if (first.key() + 1) * WINDOW_US > partition.watermark_us {
            break;
        }
        first.remove();
    }
    let is_repeat = window
        .and_then(|window| partition.seen.get(&window))
        .is_some_and(|seen| seen.contains(&(sensor, time_us)));
    let rules = [
        (!(-50.0..=100.0).contains(&reading.temperature()), "temperature_range"),
        (!(0.0..=100.0).contains(&reading.humidity()), "humidity_range"),
        (reading.energy_consumption() < 0.0, "energy_range"),
        (is_repeat, "duplicate"),
    ];
    let mut is_sound = true;
    for (_, rule) in rules.into_iter().filter(|(is_broken, _)| *is_broken) {
        counts.breaks(reading.sensor_id(), rule);
        is_sound = false;
    }
    if let Some(window) = window.filter(|_| is_sound) {
        partition.seen.entry(window).or_default().insert((sensor, time_us));
    }
    is_sound
}

fn push_window(table: &mut Table, sensor: &[u8], window: i64, open: &Window, texts: &Interner) {
    let float = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
    let [location, state, device] = open.place.map(|text| Cell::Text(texts.text(text)));
    table.push(&[
        Cell::Text(sensor),
        Cell::Time(window * WINDOW_US),
        Cell::Time((window + 1) * WINDOW_US),
        float(open.temperature.mean(open.count)),
        Cell::Float(open.warmest),
        Cell::Float(open.coldest),
        float(open.humidity.mean(open.count)),
        Cell::Float(open.energy.to_f64()),
        Cell::Int(open.count as i64),
        location,
        state,
        device,
        open.kafka_ms.and_then(time::from_epoch_ms).map_or(Cell::Null, Cell::Time),
    ]);
}
