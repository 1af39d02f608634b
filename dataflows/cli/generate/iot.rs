//! `tidegate generate iot`.

use tidegate_dataflows::generate::activity::Generated;
use tidegate_dataflows::generate::iot::{Readings, Spec};

use super::super::args::{GenerateIot, Global};
use super::super::failure::Failure;
use super::super::settings;
use super::super::ui::Ui;
use super::place::{Events, Pace, Place};
use super::{START_MS, span, told};

/// How many partitions there are where nothing says so.
const PARTITIONS: u32 = 4;

struct Sensors(Readings, u64);

impl Events for Sensors {
    fn next_event(&mut self) -> Option<Generated<'_>> {
        self.0.next_event()
    }
    fn records(&self) -> u64 {
        self.1
    }
    fn faults(&self) -> Option<(usize, Vec<u8>)> {
        told(self.0.faults())
    }
}

pub(super) fn run(ui: &Ui, global: &Global, args: &GenerateIot) -> Result<(), Failure> {
    let topic = match &args.topic {
        Some(topic) => topic.clone(),
        None => settings(global)?.pipelines.iot.topic,
    };
    let place = Place::of(&args.to, false)?;
    // Nonsense is told before anybody is asked.
    Readings::new(spec(args, args.partitions.unwrap_or(PARTITIONS), START_MS)).map_err(Failure::usage)?;
    let partitions = place.partitions(ui, &topic, args.partitions, PARTITIONS)?;
    let pace = Pace::of(args.arrive.rate, args.arrive.interval);
    let start_ms = place.start_ms(START_MS, pace, spec(args, 1, 0).span);
    let readings = Readings::new(spec(args, partitions.len() as u32, start_ms)).map_err(Failure::usage)?;
    place.write(ui, &partitions, pace, &mut Sensors(readings, args.events))
}

fn spec(args: &GenerateIot, partitions: u32, start_ms: i64) -> Spec {
    Spec {
        seed: args.to.seed,
        records: args.events,
        partitions,
        sensors: args.sensors,
        start_ms: args.arrive.start.unwrap_or(start_ms),
        span: span(&args.arrive, args.events, Spec::default().span),
        late_every: args.late_every,
        fault_every: args.fault_every,
    }
}
