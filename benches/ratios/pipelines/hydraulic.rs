//! `hydraulic` by hand: a topic after the other, seconds in one hash map, and when all is read rows and rules in the order of time.
//!
//! Sums are the project's exact ones, since others would give other rows; derived columns are the project's too.

use std::hint::black_box;
use std::sync::Arc;

use hashbrown::HashMap;
use tidegate::aggregate::{Finite, Moments};
use tidegate::decode::json::Limits;
use tidegate::ingest::Decode;
use tidegate::rows::{Cell, Schema};
use tidegate::source::Source;
use tidegate::time;
use tidegate_dataflows::hydraulic::{
    Derived, ReadingDecoder, SENSOR_COUNT, SENSORS, Stats, SyncRow, table_schemas,
};

use super::discard::Table;
use super::rules::Rules;
use super::{Answer, each_record, is_ahead};

const SECOND_US: i64 = 1_000_000;
const DELAY_US: i64 = 10_000_000;

/// The readings of a sensor in a second.
struct Lane {
    moments: Moments,
    min: f64,
    max: f64,
    kafka_ms: Option<i64>,
}

impl Lane {
    fn empty() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Lane { moments: Moments::default(), min, max, kafka_ms: None }
    }

    fn stats(&self) -> Option<Stats> {
        let (avg, std) = (self.moments.mean()?, self.moments.deviation()?);
        let count = self.moments.count();
        Some(Stats { avg, min: self.min, max: self.max, std, count, kafka_ms: self.kafka_ms })
    }
}

type Second = [Lane; SENSOR_COUNT];

/// The seconds of all cycles.
#[derive(Default)]
struct Seconds {
    places: HashMap<(i64, i64), usize>,
    all: Vec<Second>,
    /// The second that was met last: the next reading is most often of the same one.
    last: Option<((i64, i64), usize)>,
}

impl Seconds {
    fn at(&mut self, second: i64, cycle: i64) -> &mut Second {
        let key = (second, cycle);
        let place = match self.last {
            Some((last, place)) if last == key => place,
            _ => *self.places.entry(key).or_insert_with(|| {
                self.all.push(std::array::from_fn(|_| Lane::empty()));
                self.all.len() - 1
            }),
        };
        self.last = Some((key, place));
        &mut self.all[place]
    }
}

/// The answer of a loop by hand.
pub(super) fn by_hand(source: &dyn Source, digests: bool) -> Answer {
    let mut decoder = ReadingDecoder::new(Limits::default());
    let mut watermarks_us = vec![i64::MIN; source.partitions().len()];
    let mut seconds = Seconds::default();
    let mut answer = Answer::default();
    each_record(source, |partition, record| {
        let Ok(reading) = decoder.decode(record) else {
            answer.rejected += 1;
            return;
        };
        let time_us = ReadingDecoder::event_time_us(&reading);
        if is_ahead(time_us, record) {
            answer.rejected += 1;
            return;
        }
        answer.accepted += 1;
        let watermark_us = watermarks_us[partition];
        watermarks_us[partition] = watermark_us.max(time_us - DELAY_US);
        let second = time_us.div_euclid(SECOND_US);
        if (second + 1) * SECOND_US <= watermark_us {
            answer.late += 1;
            return;
        }
        answer.counted += 1;
        let value: Finite = reading.value();
        let lane = &mut seconds.at(second, reading.cycle())[reading.sensor()];
        lane.moments.add(value);
        lane.min = lane.min.min(value.get());
        lane.max = lane.max.max(value.get());
        lane.kafka_ms = lane.kafka_ms.max(record.kafka_time.ms());
    });
    let mut outputs = Outputs::new(digests);
    let mut places: Vec<_> = std::mem::take(&mut seconds.places).into_iter().collect();
    places.sort_unstable();
    for ((second, cycle), place) in places {
        outputs.second(second, cycle, &seconds.all[place]);
    }
    Answer { outputs: outputs.end(), ..answer }
}

/// The outputs, as they grow second by second.
struct Outputs {
    features: Table,
    synchronized: Table,
    anomalies: Table,
    lake_schema: Schema,
    rules: Rules,
    digests: bool,
}

impl Outputs {
    fn new(digests: bool) -> Self {
        let [features, synchronized, anomalies] = table_schemas();
        let mut lake_schema = Schema::clone(&synchronized);
        lake_schema.columns.remove(2);
        let table = |schema: &Arc<Schema>| Table::new(schema, digests);
        Outputs {
            features: table(&features),
            synchronized: table(&synchronized),
            anomalies: table(&anomalies),
            lake_schema,
            rules: Rules::default(),
            digests,
        }
    }

    fn second(&mut self, second: i64, cycle: i64, lanes: &Second) {
        let (start_us, end_us) = (second * SECOND_US, (second + 1) * SECOND_US);
        let stats: [Option<Stats>; SENSOR_COUNT] = std::array::from_fn(|sensor| lanes[sensor].stats());
        for (sensor, stats) in stats.iter().enumerate() {
            if let Some(stats) = stats {
                let sensor = Cell::Text(SENSORS[sensor].as_bytes());
                let window = [Cell::Time(start_us), Cell::Time(end_us), Cell::Int(cycle), sensor];
                let [avg, min, max, std, count] = cells(stats);
                let [a, b, c, d] = window;
                self.features.push(&[a, b, c, d, avg, min, max, std, count]);
            }
        }
        let present = (0..SENSOR_COUNT).filter(|sensor| stats[*sensor].is_some()).collect();
        let row = SyncRow { start_us, end_us, cycle, stats, present };
        let derived = row.derived();
        let mut cells = row_cells(&row, &derived);
        self.synchronized.push(&cells);
        cells.remove(2);
        let mut file = self.lake_schema.batch();
        file.push(&cells);
        black_box((directory(start_us, cycle), file));
        self.rules.judge(&row, &derived, &mut self.anomalies);
    }

    fn end(self) -> Vec<tidegate::delivery::OutputTally> {
        let synchronized = self.synchronized.end();
        // The lake's rows are those of the table, and so is their digest.
        let lake = synchronized.clone();
        vec![self.features.end(), synchronized, self.anomalies.end(), lake, self.rules.end(self.digests)]
    }
}

fn cells(stats: &Stats) -> [Cell<'static>; 5] {
    [
        Cell::Float(stats.avg),
        Cell::Float(stats.min),
        Cell::Float(stats.max),
        Cell::Float(stats.std),
        Cell::Int(stats.count as i64),
    ]
}

fn row_cells(row: &SyncRow, derived: &Derived) -> Vec<Cell<'static>> {
    let mut all = Vec::with_capacity(96);
    all.extend([Cell::Time(row.start_us), Cell::Time(row.end_us), Cell::Int(row.cycle)]);
    for stats in &row.stats {
        all.extend(stats.as_ref().map_or([Cell::Null; 5], cells));
    }
    all.push(Cell::Int(row.present.len() as i64));
    let derived = [
        derived.pressure_mean,
        derived.temperature_mean,
        derived.flow_mean,
        derived.pressure_range,
        derived.pressure_variability,
        derived.flow_pressure_ratio,
        derived.efficiency_index,
    ];
    all.extend(derived.map(|value| value.map_or(Cell::Null, Cell::Float)));
    all
}

fn directory(start_us: i64, cycle: i64) -> String {
    let start = time::format(start_us);
    let start = String::from_utf8_lossy(&start);
    let part = |range: std::ops::Range<usize>| &start[range];
    format!(
        "year={}/month={}/day={}/hour={}/minute={}/second={}/cycle={cycle}",
        part(0..4),
        part(5..7),
        part(8..10),
        part(11..13),
        part(14..16),
        part(17..19)
    )
}
