//! An event of the topic `user_activity`.

use tidegate::decode::Rejected;
use tidegate::decode::json::{Decoded, JsonDecoder, Kind, Limits, Member};
use tidegate::ingest::Decode;
use tidegate::record::Record;

/// What a user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// Looked at a page.
    PageView,
    /// Clicked on one.
    Click,
    /// Began a session.
    SessionStart,
    /// Ended it.
    SessionEnd,
}

/// The names of the event types, in the order of [`EventType`].
pub(crate) const EVENT_TYPES: &[&str] = &["page_view", "click", "session_start", "session_end"];

const EVENT_TIME: usize = 0;
const USER_ID: usize = 1;
const PAGE_URL: usize = 2;
const EVENT_TYPE: usize = 3;

/// A decoded event.
pub struct ActivityEvent<'a>(Decoded<'a, 4>);

impl<'a> ActivityEvent<'a> {
    /// Microseconds since the epoch.
    #[inline(always)]
    pub fn event_time_us(&self) -> i64 {
        self.0.event_time_us()
    }
    /// Who.
    #[inline(always)]
    pub fn user_id(&self) -> &'a [u8] {
        self.0.text(USER_ID)
    }
    /// Where.
    #[inline(always)]
    pub fn page_url(&self) -> &'a [u8] {
        self.0.text(PAGE_URL)
    }
    /// What.
    #[inline(always)]
    pub fn event_type(&self) -> EventType {
        match self.0.choice(EVENT_TYPE) {
            0 => EventType::PageView,
            1 => EventType::Click,
            2 => EventType::SessionStart,
            _ => EventType::SessionEnd,
        }
    }
    /// The object as it came.
    pub fn source(&self) -> &'a [u8] {
        self.0.source()
    }
    /// The members that are not the pipeline's: name and JSON text, in document order.
    pub fn others(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let others = self.0.has_others().then(|| self.0.others());
        others.into_iter().flatten()
    }
}

/// Decodes `{event_time, user_id, page_url, event_type}`.
pub struct ActivityDecoder(JsonDecoder<4>);

impl ActivityDecoder {
    /// A decoder that refuses what is beyond `limits`.
    pub fn new(limits: Limits) -> Self {
        let mut members = [Member { name: "event_time", kind: Kind::Time }; 4];
        members[EVENT_TIME] = Member { name: "event_time", kind: Kind::Time };
        members[USER_ID] = Member { name: "user_id", kind: Kind::Text };
        members[PAGE_URL] = Member { name: "page_url", kind: Kind::Text };
        members[EVENT_TYPE] = Member { name: "event_type", kind: Kind::Choice(EVENT_TYPES) };
        ActivityDecoder(JsonDecoder::new(members, limits))
    }
}

impl Decode for ActivityDecoder {
    type Event<'a> = ActivityEvent<'a>;

    #[inline(always)]
    fn decode<'a>(&'a mut self, record: &Record<'a>) -> Result<ActivityEvent<'a>, Rejected> {
        self.0.decode(record.value).map(ActivityEvent)
    }

    #[inline(always)]
    fn event_time_us(event: &ActivityEvent<'_>) -> i64 {
        event.event_time_us()
    }
}
