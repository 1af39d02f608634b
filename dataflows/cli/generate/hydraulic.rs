//! `tidegate generate hydraulic`.

use std::time::Duration;

use tidegate_dataflows::generate::activity::Generated;
use tidegate_dataflows::generate::hydraulic::{Rig, Spec};

use super::super::args::{GenerateHydraulic, Global};
use super::super::failure::Failure;
use super::super::settings;
use super::super::ui::Ui;
use super::place::{Events, Pace, Place};
use super::told;

/// Where a fixture begins: 2025-11-08T14:30:00Z.
const START_MS: i64 = 1_762_612_200_000;

/// So many readings of a rig.
struct Readings(Rig, u64);

impl Events for Readings {
    fn next_event(&mut self) -> Option<Generated<'_>> {
        self.0.next_event()
    }
    fn records(&self) -> u64 {
        self.1
    }
    fn faults(&self) -> Option<(usize, Vec<u8>)> {
        told(&self.0.faults())
    }
}

pub(super) fn run(ui: &Ui, global: &Global, args: &GenerateHydraulic) -> Result<(), Failure> {
    let config = settings(global)?.pipelines.hydraulic;
    let place = Place::of(&args.to, false)?;
    let pace = args.interval.map_or_else(|| args.live.pace(), Pace::Every);
    let spec = |cycles, start_ms| Spec {
        seed: args.to.seed,
        cycles,
        sensors: config.sensors,
        high_rate_hz: args.high_rate,
        start_ms: args.start.unwrap_or(start_ms),
        late_every: args.late_every,
        fault_every_s: args.fault_every,
    };
    let cycles = match args.events {
        None => args.cycles,
        Some(events) => {
            let a_cycle = Rig::new(spec(1, START_MS)).map_err(Failure::usage)?.records();
            u32::try_from(events.div_ceil(a_cycle)).unwrap_or(u32::MAX)
        }
    };
    let span = Duration::from_secs(60).saturating_mul(cycles);
    let rig = Rig::new(spec(cycles, place.start_ms(START_MS, pace, span))).map_err(Failure::usage)?;
    let records = args.events.unwrap_or_else(|| rig.records());
    let mut partitions = Vec::new();
    for topic in config.topics() {
        partitions.extend(place.partitions(ui, &topic, None, 1)?.into_iter().take(1));
    }
    place.write(ui, &partitions, pace, &mut Readings(rig, records))
}
