//! The near ends of the pipeline's outputs.

use serde::{Deserialize, Serialize};
use tidegate::aggregate::{Count, DistinctApprox};
use tidegate::ingest::{Edge, Front, LakeRow, Ledger, Position, Render, Verdict, Verdicts};
use tidegate::keys::key_hash;
use tidegate::operators::keyed::{KeyedBlock, KeyedRouter};
use tidegate::operators::keyed_window::Measure;
use tidegate::operators::session::{Mark, SessionEvent};
use tidegate::rows::Cell;
use tidegate::runtime::Epochs;
use tidegate::time;
use tidegate::window::{Eligible, FirstWindows, WindowSpec};

use super::event::{ActivityDecoder, ActivityEvent, EVENT_TYPES, EventType};
use super::tables::{ACTIVE_USERS, USER_SESSIONS};

const DAY_US: i64 = 86_400_000_000;

/// Counts page views by page.
pub(super) struct PageViews;

impl Measure<ActivityDecoder> for PageViews {
    type Aggregate = Count;

    #[inline(always)]
    fn measure<'e>(&self, _at: &Position<'_>, event: &'e ActivityEvent<'_>) -> Option<(&'e [u8], ())> {
        (event.event_type() == EventType::PageView).then(|| (event.page_url(), ()))
    }
}

/// Everybody is one group: counts users without a key, for HyperLogLog.
pub(super) struct AllUsers;

impl Measure<ActivityDecoder> for AllUsers {
    type Aggregate = DistinctApprox;

    fn measure<'e>(&self, _at: &Position<'_>, event: &'e ActivityEvent<'_>) -> Option<(&'e [u8], &'e [u8])> {
        Some((b"", event.user_id()))
    }
}

/// An event on its way to the owner of its user: 32 bytes beside the key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct UserEvent {
    time_us: i64,
    offset: i64,
    rank: u32,
    /// In how many windows of `active_users` it counts: the last ones of its pane.
    windows: u32,
    mark: Mark,
    is_view: bool,
    /// Whether it counts in sessions.
    in_session: bool,
}

impl UserEvent {
    /// The first and the last window that the event counts in.
    #[inline]
    pub(super) fn windows(&self, spec: &WindowSpec) -> Option<(i64, i64)> {
        let last = spec.last_window(spec.pane_at(self.time_us));
        (self.windows > 0).then(|| (last + 1 - i64::from(self.windows), last))
    }

    /// What the event means to its user's session.
    #[inline]
    pub(super) fn session(&self) -> Option<SessionEvent> {
        let UserEvent { time_us, offset, rank, mark, is_view: flagged, .. } = *self;
        self.in_session.then_some(SessionEvent { time_us, rank, offset, mark, flagged })
    }
}

/// Sends events to the owner of their user: one way for active users and sessions.
pub(super) struct UserEvents {
    pub(super) windows: Option<WindowSpec>,
    /// How many events have each window as their first.
    pub(super) first: FirstWindows,
    pub(super) sessions: bool,
    pub(super) router: KeyedRouter<UserEvent>,
}

impl Front<ActivityDecoder> for UserEvents {
    type Item = KeyedBlock<UserEvent>;

    #[inline(always)]
    fn observe(&mut self, at: &Position<'_>, event: &ActivityEvent<'_>, verdicts: &mut Verdicts<'_>) {
        let mut windows = 0;
        if let Some(spec) = &self.windows {
            let verdict = match spec.eligible(at.time_us, at.bound_us()) {
                Some(Eligible { class, pane }) => {
                    // At most MOST_OVERLAP, so it fits.
                    windows = (spec.last_window(pane) + 1 - class) as u32;
                    self.first.note(class);
                    Verdict::Counted
                }
                None => at.too_late(|watermark_us| spec.eligible(at.time_us, watermark_us).is_none()),
            };
            verdicts.give(ACTIVE_USERS, verdict);
        }
        let mut in_session = false;
        if self.sessions {
            match at.outside_windows() {
                Verdict::Counted => {
                    in_session = true;
                    verdicts.give_open(USER_SESSIONS);
                }
                verdict => verdicts.give(USER_SESSIONS, verdict),
            }
        }
        if windows == 0 && !in_session {
            return;
        }
        let kind = event.event_type();
        let mark = match kind {
            EventType::PageView | EventType::Click => Mark::Join,
            EventType::SessionStart => Mark::Start,
            EventType::SessionEnd => Mark::End,
        };
        let (user, is_view) = (event.user_id(), kind == EventType::PageView);
        let (time_us, offset, rank) = (at.time_us, at.record.offset, at.place.rank);
        let user_event = UserEvent { time_us, offset, rank, windows, mark, is_view, in_session };
        self.router.push(key_hash(user), user, user_event);
    }

    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(Self::Item)) {
        self.router.drain(edge, send);
    }

    fn note_open(&mut self, ledger: &Ledger) {
        if let Some(spec) = &self.windows {
            self.first.take(|window, counted| ledger.open_until(ACTIVE_USERS, spec.end(window), counted));
        }
    }
}

/// The original object with the time it was processed at: that of its epoch, or in a replay its Kafka timestamp.
pub(super) struct Enriched {
    epochs: Epochs,
    processed_at: Vec<u8>,
}

impl Enriched {
    pub(super) fn new(epochs: &Epochs) -> Self {
        Enriched { epochs: epochs.clone(), processed_at: Vec::new() }
    }
}

impl Render<ActivityDecoder> for Enriched {
    fn render(&mut self, at: &Position<'_>, event: &ActivityEvent<'_>, out: &mut Vec<u8>) {
        self.processed_at.clear();
        match self.epochs.wall_us().or_else(|| at.record.kafka_time.us()) {
            None => self.processed_at.extend_from_slice(b"null"),
            Some(us) => {
                self.processed_at.push(b'"');
                self.processed_at.extend_from_slice(&time::format(us));
                self.processed_at.push(b'"');
            }
        }
        tidegate::decode::text::with_member(event.source(), "processing_time", &self.processed_at, out);
    }
}

/// A row of the lake.
pub(super) struct ActivityRow;

impl LakeRow<ActivityDecoder, 9> for ActivityRow {
    fn directory(&self, day: i64) -> String {
        format!("event_date={}", String::from_utf8_lossy(&time::format_date(day * DAY_US)))
    }

    fn row<'e>(&self, at: &'e Position<'_>, event: &'e ActivityEvent<'_>) -> (i64, [Cell<'e>; 9]) {
        let row = [
            Cell::Time(at.time_us),
            Cell::Text(event.user_id()),
            Cell::Text(event.page_url()),
            Cell::Text(EVENT_TYPES[event.event_type() as usize].as_bytes()),
            Cell::Bool(at.is_late()),
            Cell::Text(at.place.partition.topic.as_bytes()),
            Cell::Int(at.place.partition.number.into()),
            Cell::Int(at.record.offset),
            at.record.kafka_time.us().map_or(Cell::Null, Cell::Time),
        ];
        (at.time_us.div_euclid(DAY_US), row)
    }

    fn extras(&self, event: &ActivityEvent<'_>, extra: &mut dyn FnMut(&str, &[u8])) {
        for (name, value) in event.others() {
            extra(&String::from_utf8_lossy(name), value);
        }
    }
}
