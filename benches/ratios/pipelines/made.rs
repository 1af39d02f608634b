//! Input of the generators, held in memory as Kafka would hold it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate::record::{KafkaTime, Partition};
use tidegate::source::Source;
use tidegate::source::memory::{MemorySource, OwnedRecord};
use tidegate_dataflows::generate::activity::Generated;
use tidegate_dataflows::generate::{hydraulic, iot, transit};
use tidegate_dataflows::hydraulic::{SENSOR_COUNT, SENSORS};

/// So many records of the activity bench's input stand for one here, where a record costs several times as much.
const FEWER: usize = 5;

/// A million readings of 5,000 sensors in an hour, where the other parts have five million events.
pub(super) fn readings(records: usize) -> Arc<dyn Source> {
    let spec = iot::Spec { records: (records / FEWER) as u64, sensors: 5_000, ..iot::Spec::default() };
    let partitions = (0..spec.partitions).map(|number| Partition::new("iot_data", number as i32));
    let mut log = Log::of(partitions);
    let mut readings = iot::Readings::new(spec).expect("there are such readings");
    while let Some(reading) = readings.next_event() {
        log.add(&reading);
    }
    log.source()
}

/// A million readings of the rig: 23 cycles.
pub(super) fn rig(records: usize) -> Arc<dyn Source> {
    const A_CYCLE: usize = 43_680;
    // At least 4, so that there are faults among them, and alerts.
    let cycles = ((records / FEWER).div_ceil(A_CYCLE) as u32).max(4);
    let spec = hydraulic::Spec { cycles, ..hydraulic::Spec::default() };
    let topic = |sensor: usize| Partition::new(&format!("hydraulic-{}", SENSORS[sensor]), 0);
    let mut log = Log::of((0..SENSOR_COUNT).map(topic));
    let mut rig = hydraulic::Rig::new(spec).expect("there are such readings");
    while let Some(reading) = rig.next_event() {
        log.add(&reading);
    }
    log.source()
}

/// Some 210,000 entities: 500 vehicles on 40 routes, polled every 15 s for 100 minutes, half of them in whole feeds.
pub(super) fn feed(records: usize) -> Arc<dyn Source> {
    const VEHICLES: u32 = 500;
    // At least 64, so that an hour's alerts and a clock that is ahead are among them.
    let polls = ((records / FEWER / FEWER) as u32 / VEHICLES).max(64);
    let spec = transit::Spec { polls, vehicles: VEHICLES, routes: 40, ..transit::Spec::default() };
    let every = Duration::from_secs(15);
    let mut log = Log::of((0..spec.partitions).map(|number| Partition::new("dev_topic", number as i32)));
    let mut feed = transit::Feed::new(transit::Spec { every, ..spec }).expect("there is such a feed");
    while let Some(record) = feed.next_event() {
        log.add(&record);
    }
    log.source()
}

/// Records by partition, in the order in which a generator numbers its partitions.
struct Log(Vec<(Partition, Vec<OwnedRecord>)>);

impl Log {
    fn of(partitions: impl Iterator<Item = Partition>) -> Self {
        Log(partitions.map(|partition| (partition, Vec::new())).collect())
    }

    fn add(&mut self, event: &Generated<'_>) {
        let (_, records) = &mut self.0[event.partition as usize];
        records.push(OwnedRecord {
            offset: event.offset,
            kafka_time: KafkaTime::Create(event.kafka_ms),
            key: Some(event.key.to_vec()),
            value: Some(event.payload.to_vec()),
            headers: Vec::new(),
        });
    }

    fn source(self) -> Arc<dyn Source> {
        Arc::new(MemorySource::new(BTreeMap::from_iter(self.0)))
    }
}
