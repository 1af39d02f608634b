//! JSON documents to declared members, or to the reason why not.
//!
//! [`JsonDecoder`] has two ways through a document that give the same answer:
//!
//! ```text
//! value ──► scan: does it fit a layout that was learned? ── yes ─────────────────────► Decoded
//!              │ no                                                                       ▲
//!              └─► strict: is all of it JSON? ──► schema: the members, the time ── yes ───┤
//!                       │ no                            │ no                              └► learn its layout
//!                       └─► Rejected                    └─► Rejected
//! ```
//!
//! The scanner accepts only what the tokenizer accepts, with the same values, and rejects nothing:
//! speed is all that depends on it. Property tests hold it to that.

mod fuzz;
mod layout;
mod members;
mod number;
mod object;
mod scan;
mod schema;
mod strict;
#[cfg(test)]
mod tests;

use std::fmt;

#[doc(hidden)]
pub use self::fuzz::fuzz_decode;
use self::layout::Layouts;
use self::members::Field;
pub use self::members::{Kind, Limits, Member};
pub use self::object::{Object, ObjectReader, elements, present};
use self::scan::{Scan, Scanner};
use self::strict::{Document, Span};
use crate::decode::simd::{Level, MARGIN, Padded};
use crate::decode::{Reason, Rejected};
use crate::record::Value;
use crate::time::TimeParser;

/// Whatever the limits say, a document is at most this long, so that positions fit 32 bits.
const RECORD_MAX_BYTES: usize = 1 << 30;

/// Where a declared value stands, and what it is besides text.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// In [`Decoded::texts`].
    span: Span,
    /// An integer, the bits of a number, or the index of a choice.
    bits: u64,
}

/// A member that is not declared.
#[derive(Clone, Copy, Debug)]
struct Other {
    /// Without quotes; in the document, or unescaped in [`Document::unescaped_names`].
    name: Span,
    name_escaped: bool,
    /// In the document.
    value: Span,
}

/// Decodes JSON objects with `N` declared members; keeps buffers and what it learned between calls.
///
/// The answer to a value depends on the members, the limits and the value alone, never on the values
/// before it. One decoder a worker; it holds a few KiB.
///
/// # Errors
/// [`decode`](Self::decode) gives the first [`Reason`] that holds, in the contract's order: `tombstone`,
/// `too_large`, `not_utf8`, `not_json`, `schema`, `time`. The detail names the member or the position.
///
/// # Examples
/// The topic `user_activity`:
/// ```
/// use tidegate::decode::Reason;
/// use tidegate::decode::json::{JsonDecoder, Kind, Limits, Member};
/// use tidegate::record::Value;
///
/// const TYPES: &[&str] = &["page_view", "click", "session_start", "session_end"];
/// let mut decoder = JsonDecoder::new(
///     [
///         Member::new("event_time", Kind::Time),
///         Member::new("user_id", Kind::Text),
///         Member::new("page_url", Kind::Text),
///         Member::new("event_type", Kind::Choice(TYPES)),
///     ],
///     Limits::default(),
/// );
/// let json = br#"{"event_time":"1970-01-01T00:00:01Z","user_id":"u1","page_url":"/a","event_type":"click","n":[1, 2]}"#;
/// let event = decoder.decode(Some(Value::exact(json))).unwrap();
/// assert_eq!(event.event_time_us(), 1_000_000);
/// assert_eq!((event.text(1), event.text(2), event.choice(3)), (&b"u1"[..], &b"/a"[..], 1));
/// assert_eq!(event.others().collect::<Vec<_>>(), [(&b"n"[..], &b"[1, 2]"[..])]);
///
/// let json = br#"{"event_time":"soon","user_id":"u1","page_url":"/a","event_type":"scroll"}"#;
/// let rejected = decoder.decode(Some(Value::exact(json))).unwrap_err();
/// assert_eq!(rejected.reason, Reason::Schema); // outranks the time, which is unreadable too
/// assert!(rejected.detail.starts_with("member \"event_type\" must be one of page_view, click"));
/// assert_eq!(decoder.decode(None).unwrap_err().reason, Reason::Tombstone);
/// ```
pub struct JsonDecoder<const N: usize> {
    members: [Member; N],
    cells: [Cell; N],
    scanner: Scanner,
    /// `None`: every document goes to the tokenizer.
    level: Option<Level>,
    document: Document,
    /// Declared texts, when one of them has escapes.
    texts: Vec<u8>,
    /// A copy of a document behind which too little can be read.
    padded: Vec<u8>,
}

impl<const N: usize> fmt::Debug for JsonDecoder<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonDecoder")
            .field("members", &self.members)
            .field("limits", &self.scanner.limits)
            .finish_non_exhaustive()
    }
}

impl<const N: usize> JsonDecoder<N> {
    /// A decoder of objects with these members.
    ///
    /// # Panics
    /// When the members do not have exactly one [`Kind::Time`], or two have the same name: the
    /// declaration is part of the program.
    pub fn new(members: [Member; N], limits: Limits) -> Self {
        Self::at_level(members, limits, Some(Level::detect()))
    }

    /// A decoder that sends every document to the tokenizer: the rival in tests and benches.
    #[doc(hidden)]
    pub fn strict(members: [Member; N], limits: Limits) -> Self {
        Self::at_level(members, limits, None)
    }

    /// A decoder whose scanner uses `level`, or that has none.
    fn at_level(members: [Member; N], mut limits: Limits, level: Option<Level>) -> Self {
        let times = members.iter().filter(|member| member.kind == Kind::Time).count();
        assert_eq!(times, 1, "exactly one member is the event time");
        for (i, member) in members.iter().enumerate() {
            assert!(
                members[..i].iter().all(|m| m.name != member.name),
                "{:?} is declared twice",
                member.name
            );
        }
        limits.max_record_bytes = limits.max_record_bytes.min(RECORD_MAX_BYTES);
        JsonDecoder {
            members,
            cells: [Cell::default(); N],
            scanner: Scanner {
                fields: members.into_iter().map(Field::new).collect(),
                limits,
                layouts: Layouts::default(),
                time: TimeParser::default(),
                others: Vec::new(),
            },
            level,
            document: Document::default(),
            texts: Vec::new(),
            padded: Vec::new(),
        }
    }

    /// The declared members, in the order that indices mean.
    pub fn members(&self) -> &[Member; N] {
        &self.members
    }

    /// Decodes a record's value.
    ///
    /// # Errors
    /// See [`JsonDecoder`]; the record is to be set aside, and the decoder can go on with the next.
    // Inlined for sure: a `Decoded` that is handed back through memory is read before its parts have been written
    // there, which costs more than all the rest of the call.
    #[inline(always)]
    pub fn decode<'a>(&'a mut self, value: Option<Value<'a>>) -> Result<Decoded<'a, N>, Rejected> {
        let Some(value) = value else {
            return Err(Rejected::new(Reason::Tombstone, "the record has no value"));
        };
        let source = value.bytes();
        if let Some(event_time_us) = self.scan(value) {
            return Ok(Decoded { decoder: self, source, texts: source, event_time_us });
        }
        let (event_time_us, unescaped) = self.tokenize(source)?;
        let decoder: &'a Self = self;
        let texts = if unescaped { &decoder.texts } else { source };
        Ok(Decoded { decoder, source, texts, event_time_us })
    }

    /// Tries the layouts learned; the event time if one fits.
    #[inline(always)]
    fn scan(&mut self, value: Value<'_>) -> Option<i64> {
        let len = value.bytes().len();
        if self.scanner.layouts.is_empty() || len > self.scanner.limits.max_record_bytes {
            return None;
        }
        let document = match Padded::new(value.slab(), len) {
            Some(document) => document,
            None => {
                self.padded.clear();
                self.padded.extend_from_slice(value.bytes());
                self.padded.resize(len + MARGIN, 0);
                Padded::new(&self.padded, len)?
            }
        };
        self.level?.dispatch(Scan { document, scanner: &mut self.scanner, cells: &mut self.cells })
    }

    /// Judges a document that fits no layout: the event time, and whether texts were unescaped.
    #[inline(never)]
    fn tokenize(&mut self, source: &[u8]) -> Result<(i64, bool), Rejected> {
        if source.is_empty() {
            return Err(Rejected::new(Reason::Tombstone, "the record's value is empty"));
        }
        let Scanner { fields, limits, layouts, time, others } = &mut self.scanner;
        let (len, limit) = (source.len(), limits.max_record_bytes);
        if len > limit {
            let detail = format!("the value has {len} bytes, over the limit of {limit}");
            return Err(Rejected::new(Reason::TooLarge, detail));
        }
        if let Err(error) = std::str::from_utf8(source) {
            let detail = format!("not UTF-8 at byte {}", error.valid_up_to());
            return Err(Rejected::new(Reason::NotUtf8, detail));
        }
        if let Err(fault) = self.document.read(source, fields) {
            let detail = format!("{} at byte {}", fault.what, fault.at);
            return Err(Rejected::new(Reason::NotJson, detail));
        }
        let accepted =
            schema::check(fields, &self.document, source, limits, time, &mut self.cells, &mut self.texts)?;
        others.clear();
        if self.document.others > 0 {
            let undeclared = self.document.entries.iter().filter(|entry| entry.field.is_none());
            others.extend(undeclared.map(|entry| Other {
                name: entry.name,
                name_escaped: entry.name_escaped,
                value: entry.value,
            }));
        }
        if self.level.is_some() {
            layouts.learn(&self.document, source, fields);
        }
        Ok((accepted.event_time_us, accepted.unescaped))
    }
}

/// Where a member of an object begins and ends: from its name's opening quote to the end of its value.
pub(super) type MemberSpan = (usize, usize);

/// The members of `object` in document order, and the index of the one called `name`; `None` when it is not
/// one JSON object as the decoder understands it.
pub(super) fn find_member(object: &[u8], name: &str) -> Option<(Vec<MemberSpan>, Option<usize>)> {
    if object.len() > RECORD_MAX_BYTES {
        return None;
    }
    let mut document = Document::default();
    document.read(object, &[]).ok()?;
    let found = document.entries.iter().position(|entry| document.name(entry, object) == name.as_bytes());
    let spans = document.entries.iter().map(|entry| (entry.start as usize, entry.value.end as usize));
    Some((spans.collect(), found))
}

/// The members of a document, borrowed from it and from its decoder.
///
/// Indices are those of the declared members. Asking a member for what it is not declared as gives
/// something meaningless; an index of `N` or more panics.
#[derive(Clone, Copy)]
pub struct Decoded<'a, const N: usize> {
    decoder: &'a JsonDecoder<N>,
    source: &'a [u8],
    /// What the cells point into: the document, or the decoder's buffer of unescaped texts.
    texts: &'a [u8],
    event_time_us: i64,
}

impl<'a, const N: usize> Decoded<'a, N> {
    /// The event time, in microseconds since the epoch, within the years 0001 to 9999.
    #[inline(always)]
    pub fn event_time_us(&self) -> i64 {
        self.event_time_us
    }

    /// A declared text or choice, unescaped; valid UTF-8. Of a number or time, the text as it is written.
    #[inline(always)]
    pub fn text(&self, member: usize) -> &'a [u8] {
        self.decoder.cells[member].span.of(self.texts)
    }

    /// A declared integer.
    #[inline(always)]
    pub fn integer(&self, member: usize) -> i64 {
        self.decoder.cells[member].bits as i64
    }

    /// A declared number: the nearest `f64`, finite, and never `-0.0`.
    #[inline(always)]
    pub fn number(&self, member: usize) -> f64 {
        f64::from_bits(self.decoder.cells[member].bits)
    }

    /// The index of a declared choice in its list.
    #[inline(always)]
    pub fn choice(&self, member: usize) -> usize {
        self.decoder.cells[member].bits as usize
    }

    /// Whether the document has members that are not declared.
    #[inline(always)]
    pub fn has_others(&self) -> bool {
        !self.decoder.scanner.others.is_empty()
    }

    /// The members that are not declared, in document order: the name unescaped, and the value's JSON
    /// as it is written. Both are valid UTF-8.
    pub fn others(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a, N> {
        let Decoded { decoder, source, .. } = *self;
        decoder.scanner.others.iter().map(move |other| {
            let names = if other.name_escaped { &decoder.document.unescaped_names } else { source };
            (other.name.of(names), other.value.of(source))
        })
    }

    /// The whole document, as it came.
    #[inline(always)]
    pub fn source(&self) -> &'a [u8] {
        self.source
    }
}

impl<const N: usize> fmt::Debug for Decoded<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoded")
            .field("event_time_us", &self.event_time_us)
            .field("source", &String::from_utf8_lossy(self.source))
            .finish_non_exhaustive()
    }
}
