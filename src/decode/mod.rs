//! From bytes to typed events, or to a reason why not: pure functions.
//!
//! Reasons are checked in the order of [`Reason`]'s variants; the first that holds is the one given.

pub mod json;
pub mod protobuf;
pub(crate) mod simd;
pub mod text;

use std::borrow::Cow;

/// Why a record cannot be used; the header `reason` of its dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No value, or an empty one.
    Tombstone,
    /// A value over `max_record_bytes`.
    TooLarge,
    /// Not UTF-8.
    NotUtf8,
    /// Not one JSON object.
    NotJson,
    /// A member is missing, null, empty, of the wrong type, too long or outside a closed list.
    Schema,
    /// The time is there but unreadable.
    Time,
    /// The event time is too far ahead of Kafka's timestamp.
    Ahead,
    /// A declared range is broken.
    Range,
    /// The same reading again.
    Duplicate,
}

impl Reason {
    /// All reasons, in the order they are checked.
    pub const ALL: [Reason; 9] = [
        Reason::Tombstone,
        Reason::TooLarge,
        Reason::NotUtf8,
        Reason::NotJson,
        Reason::Schema,
        Reason::Time,
        Reason::Ahead,
        Reason::Range,
        Reason::Duplicate,
    ];

    /// The word that stands in the dead letter's header and in the summary.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Tombstone => "tombstone",
            Reason::TooLarge => "too_large",
            Reason::NotUtf8 => "not_utf8",
            Reason::NotJson => "not_json",
            Reason::Schema => "schema",
            Reason::Time => "time",
            Reason::Ahead => "ahead",
            Reason::Range => "range",
            Reason::Duplicate => "duplicate",
        }
    }
}

/// A record set aside: the reason, and what exactly is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: Reason,
    /// One sentence for the person who looks at the dead letter: names the member, the value's kind, the position.
    pub detail: Cow<'static, str>,
}

impl Rejected {
    /// A rejection for `reason` that says `detail`.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Rejected { reason, detail: detail.into() }
    }
}
