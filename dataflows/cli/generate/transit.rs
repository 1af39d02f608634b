//! `tidegate generate transit`.

use tidegate_dataflows::generate::activity::Generated;
use tidegate_dataflows::generate::transit::{Feed, Spec};

use super::super::args::{GenerateTransit, Global};
use super::super::failure::Failure;
use super::super::settings;
use super::super::ui::Ui;
use super::place::{Events, Place};
use super::{START_MS, told};

/// How many partitions there are where nothing says so.
const PARTITIONS: u32 = 2;

struct Polls {
    feed: Feed,
    about: u64,
    most: u64,
}

impl Events for Polls {
    fn next_event(&mut self) -> Option<Generated<'_>> {
        self.feed.next_event()
    }
    fn records(&self) -> u64 {
        self.about
    }
    fn most(&self) -> u64 {
        self.most
    }
    fn faults(&self) -> Option<(usize, Vec<u8>)> {
        told(self.feed.faults())
    }
}

pub(super) fn run(ui: &Ui, global: &Global, args: &GenerateTransit) -> Result<(), Failure> {
    let topic = match &args.topic {
        Some(topic) => topic.clone(),
        None => settings(global)?.pipelines.transit.topic,
    };
    let place = Place::of(&args.to, false)?;
    // Nonsense is told before anybody is asked.
    Feed::new(spec(args, args.partitions.unwrap_or(PARTITIONS), START_MS)).map_err(Failure::usage)?;
    let partitions = place.partitions(ui, &topic, args.partitions, PARTITIONS)?;
    let pace = args.live.pace();
    let count = partitions.len() as u32;
    let start_ms = place.start_ms(START_MS, pace, args.interval.saturating_mul(polls(args, count)));
    let feed = Feed::new(spec(args, count, start_ms)).map_err(Failure::usage)?;
    let about = args.events.unwrap_or(u64::from(args.polls) * u64::from(args.vehicles));
    let most = args.events.unwrap_or(u64::MAX);
    place.write(ui, &partitions, pace, &mut Polls { feed, about, most })
}

/// As many polls as are asked for, or as so many records take at most.
fn polls(args: &GenerateTransit, partitions: u32) -> u32 {
    let Some(events) = args.events else { return args.polls };
    // A feed in each partition of even number, a record a vehicle in the others, and now and then more.
    let in_odd = (0..args.vehicles).filter(|vehicle| vehicle % partitions.max(1) % 2 == 1).count() as u64;
    let a_poll = u64::from(partitions.div_ceil(2)) + in_odd;
    u32::try_from(events.div_ceil(a_poll.max(1))).unwrap_or(u32::MAX)
}

fn spec(args: &GenerateTransit, partitions: u32, start_ms: i64) -> Spec {
    Spec {
        seed: args.to.seed,
        polls: polls(args, partitions),
        every: args.interval,
        partitions,
        vehicles: args.vehicles,
        routes: args.routes,
        start_ms: args.start.unwrap_or(start_ms),
        late_every: args.late_every,
        fault_every: args.fault_every,
    }
}
