//! The data of this bench, and the near end that feeds operators with it.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use tidegate::aggregate::{AnyValue, Avg, Count, DistinctApprox, Finite, Max, Min, Origin, StdDev, Sum};
use tidegate::decode::{Reason, Rejected};
use tidegate::ingest::{Decode, Edge, Front, Ledger, Place, Position, Verdict, Verdicts};
use tidegate::keys::key_hash;
use tidegate::operators::keyed::{KeyedBlock, KeyedRouter};
use tidegate::operators::keyed_window::Measure;
use tidegate::operators::session::{Mark, SessionEvent};
use tidegate::record::{Headers, KafkaTime, Partition, Record};
use tidegate::tick::Tick;
use tidegate::window::WindowSpec;
use timely::ExchangeData;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, StreamVec};

pub(crate) const EVENTS: usize = 100_000;
pub(crate) const PAGES: usize = 1_000;
pub(crate) const USERS: usize = 10_000;
pub(crate) const MINUTE_US: i64 = 60_000_000;
pub(crate) const BASE_US: i64 = 1_767_225_600_000_000;
const DISORDER_US: i64 = 5_000_000;
/// Events between two looks at the clock, as the engine's batches.
const BATCH: usize = 1_000;

/// An event that the rivals take as it is; operators take the names of page and user.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) time_us: i64,
    pub(crate) watermark_us: i64,
    pub(crate) offset: i64,
    pub(crate) page: u32,
    pub(crate) user: u32,
    pub(crate) value: i64,
    pub(crate) mark: Mark,
}

impl Event {
    /// Whether it is of the kind that a session counts beside all its events.
    pub(crate) fn is_view(&self) -> bool {
        self.mark == Mark::Join && self.value % 2 == 0
    }
}

/// An hour of events, and names.
pub(crate) struct Data {
    pub(crate) events: Vec<Event>,
    pub(crate) pages: Vec<String>,
    pub(crate) users: Vec<String>,
}

pub(crate) static DATA: LazyLock<Data> = LazyLock::new(|| {
    let mut state = 1_u64;
    // xorshift64 (Marsaglia 2003): seeded, and good enough to spread keys.
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let mut largest = i64::MIN;
    let events = (0..EVENTS as i64).map(|offset| {
        let time_us = BASE_US + offset * 60 * MINUTE_US / EVENTS as i64 - draw(DISORDER_US as usize) as i64;
        let watermark_us = if largest == i64::MIN { i64::MIN } else { largest - DISORDER_US };
        largest = largest.max(time_us);
        let mark = match draw(20) {
            0 => Mark::Start,
            1 => Mark::End,
            _ => Mark::Join,
        };
        // Popular pages are more popular.
        let page = (draw(PAGES) * draw(PAGES) / PAGES) as u32;
        let user = draw(USERS) as u32;
        Event { time_us, watermark_us, offset, page, user, value: draw(10_000) as i64, mark }
    });
    Data {
        events: events.collect(),
        pages: (0..PAGES).map(|page| format!("https://example.com/page/{page}")).collect(),
        users: (0..USERS).map(|user| format!("user_{user}")).collect(),
    }
});

/// The largest watermark, after the last event.
pub(crate) fn final_watermark_us() -> i64 {
    DATA.events.iter().map(|event| event.time_us - DISORDER_US).max().unwrap_or(i64::MIN)
}

/// Nothing is decoded here: the events are there.
pub(crate) struct Ready;

impl Decode for Ready {
    type Event<'a> = &'a Event;
    fn decode<'a>(&'a mut self, _record: &Record<'a>) -> Result<&'a Event, Rejected> {
        Err(Rejected::new(Reason::NotJson, "this bench decodes nothing"))
    }
    fn event_time_us(event: &&Event) -> i64 {
        event.time_us
    }
}

/// Shows all events to a front, in the engine's manner: in batches, after each of which the front hands over
/// what must leave and the capability follows the watermark in seconds.
pub(crate) fn feed<'s, F: Front<Ready>>(
    scope: Scope<'s, Tick>,
    mut front: F,
) -> StreamVec<'s, Tick, F::Item> {
    source(scope, "Feed", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut held = Some(capability);
        let mut batches = DATA.events.chunks(BATCH);
        let (ledger, partition) = (Ledger::new(1), Partition::new("bench", 0));
        let place = Place { partition, rank: 0, floor_us: i64::MIN };
        move |output| {
            let Some(capability) = &mut held else { return };
            let batch = batches.next();
            for event in batch.unwrap_or_default() {
                let record = Record {
                    offset: event.offset,
                    kafka_time: KafkaTime::None,
                    key: None,
                    value: None,
                    headers: Headers::default(),
                };
                let at = Position {
                    record: &record,
                    time_us: event.time_us,
                    watermark_us: event.watermark_us,
                    place: &place,
                };
                front.observe(&at, &event, &mut Verdicts::new(&ledger));
            }
            let edge = match batch.and_then(<[Event]>::last) {
                Some(last) => Edge::Advance(last.watermark_us - last.watermark_us.rem_euclid(1_000_000)),
                None => Edge::End(final_watermark_us()),
            };
            let mut session = output.session(&*capability);
            front.drain(edge, &mut |item| session.give(item));
            drop(session);
            match edge {
                Edge::Advance(time_us) => {
                    capability.downgrade(&capability.time().at(time_us));
                    activator.activate();
                }
                _ => held = None,
            }
        }
    })
}

/// Views by page.
pub(crate) struct Views;
impl Measure<Ready> for Views {
    type Aggregate = Count;
    #[inline(always)]
    fn measure<'e>(&self, _at: &Position<'_>, event: &'e &Event) -> Option<(&'e [u8], ())> {
        Some((DATA.pages[event.page as usize].as_bytes(), ()))
    }
}

/// Count, sum, mean, least and largest of the values by page.
pub(crate) struct Values;
impl Measure<Ready> for Values {
    type Aggregate = (Count, Sum, Avg, Min<Finite>, Max<Finite>);
    #[inline(always)]
    fn measure<'e>(
        &self,
        _at: &Position<'_>,
        event: &'e &Event,
    ) -> Option<(&'e [u8], ((), Finite, Finite, Finite, Finite))> {
        let value = Finite::new(event.value as f64)?;
        Some((DATA.pages[event.page as usize].as_bytes(), ((), value, value, value, value)))
    }
}

/// Mean, sample deviation and any of the values by page.
pub(crate) struct Features;
impl Measure<Ready> for Features {
    type Aggregate = (Avg, StdDev, AnyValue<i64>);
    #[inline(always)]
    fn measure<'e>(
        &self,
        at: &Position<'_>,
        event: &'e &Event,
    ) -> Option<(&'e [u8], (Finite, Finite, (Origin, &'e i64)))> {
        let value = Finite::new(event.value as f64)?;
        let (partition, offset) = (at.place.rank.into(), at.record.offset);
        let origin = Origin { event_time_us: at.time_us, partition, offset };
        Some((DATA.pages[event.page as usize].as_bytes(), (value, value, (origin, &event.value))))
    }
}

/// All users in one sketch.
pub(crate) struct Sketch;
impl Measure<Ready> for Sketch {
    type Aggregate = DistinctApprox;
    fn measure<'e>(&self, _at: &Position<'_>, event: &'e &Event) -> Option<(&'e [u8], &'e [u8])> {
        Some((b"", DATA.users[event.user as usize].as_bytes()))
    }
}

/// What an event means to the operators by user.
pub(crate) type ByUser = ((i64, i64), SessionEvent);

/// Events to the owner of their user, with the windows of `spec` that they count in.
pub(crate) struct Users {
    pub(crate) spec: WindowSpec,
    pub(crate) router: KeyedRouter<ByUser>,
}
impl Front<Ready> for Users {
    type Item = KeyedBlock<ByUser>;
    #[inline(always)]
    fn observe(&mut self, at: &Position<'_>, event: &&Event, verdicts: &mut Verdicts<'_>) {
        let Some(reach) = self.spec.eligible(at.time_us, at.watermark_us) else { return };
        verdicts.give(0, Verdict::Counted);
        let what = SessionEvent {
            time_us: at.time_us,
            rank: at.place.rank,
            offset: at.record.offset,
            mark: event.mark,
            flagged: event.is_view(),
        };
        let user = DATA.users[event.user as usize].as_bytes();
        let windows = (reach.class, self.spec.last_window(reach.pane));
        self.router.push(key_hash(user), user, (windows, what));
    }
    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(Self::Item)) {
        self.router.drain(edge, send);
    }
}

/// What is taken of each event, one after the other.
pub(crate) struct Each<T> {
    take: fn(&Event) -> T,
    taken: Vec<T>,
}
impl<T> Each<T> {
    pub(crate) fn of(take: fn(&Event) -> T) -> Self {
        Each { take, taken: Vec::new() }
    }
}
impl<T: ExchangeData + Clone> Front<Ready> for Each<T> {
    type Item = T;
    fn observe(&mut self, _at: &Position<'_>, event: &&Event, _verdicts: &mut Verdicts<'_>) {
        self.taken.push((self.take)(event));
    }
    fn drain(&mut self, _edge: Edge, send: &mut dyn FnMut(T)) {
        self.taken.drain(..).for_each(send);
    }
}

/// A value of a lane in a group, at an instant: a closed window, say.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) time_us: i64,
    pub(crate) group: u32,
    pub(crate) lane: u32,
    pub(crate) value: i64,
}
