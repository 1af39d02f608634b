//! `tidegate generate hydraulic`.

use std::time::Duration;

use tidegate_dataflows::generate::activity::Generated;
use tidegate_dataflows::generate::hydraulic::{Rig, Spec};

use super::super::args::{GenerateHydraulic, Global};
use super::super::failure::Failure;
use super::super::settings;
use super::super::ui::Ui;
use super::place::{Events, Place};

/// Where a fixture begins: 2025-11-08T14:30:00Z.
const START_MS: i64 = 1_762_612_200_000;

impl Events for Rig {
    fn next_event(&mut self) -> Option<Generated<'_>> {
        Rig::next_event(self)
    }
    fn records(&self) -> u64 {
        Rig::records(self)
    }
    fn faults(&self) -> Option<(usize, Vec<u8>)> {
        let faults = Rig::faults(self);
        Some((faults.len(), serde_json::to_vec_pretty(&faults).unwrap_or_default()))
    }
}

pub(super) fn run(ui: &Ui, global: &Global, args: &GenerateHydraulic) -> Result<(), Failure> {
    let config = settings(global)?.pipelines.hydraulic;
    let place = Place::of(&args.to, false)?;
    let pace = args.live.pace();
    let span = Duration::from_secs(60).saturating_mul(args.cycles);
    let spec = Spec {
        seed: args.to.seed,
        cycles: args.cycles,
        sensors: config.sensors,
        high_rate_hz: args.high_rate,
        start_ms: args.start.unwrap_or_else(|| place.start_ms(START_MS, pace, span)),
        late_every: args.late_every,
        fault_every_s: args.fault_every,
    };
    let mut rig = Rig::new(spec).map_err(Failure::usage)?;
    let mut partitions = Vec::new();
    for topic in config.topics() {
        partitions.extend(place.partitions(ui, &topic, None, 1)?.into_iter().take(1));
    }
    place.write(ui, &partitions, pace, &mut rig)
}
