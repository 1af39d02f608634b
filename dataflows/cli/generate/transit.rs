//! `tidegate generate transit`.

use tidegate_dataflows::generate::activity::Generated;
use tidegate_dataflows::generate::transit::{Feed, Spec};

use super::super::args::{GenerateTransit, Global};
use super::super::failure::Failure;
use super::super::settings;
use super::super::ui::Ui;
use super::START_MS;
use super::place::{Events, Place};

/// How many partitions there are where nothing says so.
const PARTITIONS: u32 = 2;

struct Polls(Feed, u64);

impl Events for Polls {
    fn next_event(&mut self) -> Option<Generated<'_>> {
        self.0.next_event()
    }
    fn records(&self) -> u64 {
        self.1
    }
}

pub(super) fn run(ui: &Ui, global: &Global, args: &GenerateTransit) -> Result<(), Failure> {
    let topic = settings(global)?.pipelines.transit.topic;
    let place = Place::of(&args.to, false)?;
    // Nonsense is told before anybody is asked.
    Feed::new(spec(args, args.partitions.unwrap_or(PARTITIONS), START_MS)).map_err(Failure::usage)?;
    let partitions = place.partitions(ui, &topic, args.partitions, PARTITIONS)?;
    let pace = args.live.pace();
    let start_ms = place.start_ms(START_MS, pace, args.interval.saturating_mul(args.polls));
    let feed = Feed::new(spec(args, partitions.len() as u32, start_ms)).map_err(Failure::usage)?;
    let about = u64::from(args.polls) * u64::from(args.vehicles);
    place.write(ui, &partitions, pace, &mut Polls(feed, about))
}

fn spec(args: &GenerateTransit, partitions: u32, start_ms: i64) -> Spec {
    Spec {
        seed: args.to.seed,
        polls: args.polls,
        every: args.interval,
        partitions,
        vehicles: args.vehicles,
        routes: args.routes,
        start_ms: args.start.unwrap_or(start_ms),
        late_every: args.late_every,
    }
}
