//! Whether a document that is JSON holds the declared members, and their values.
//!
//! The first declared member that fails is the one named; the time is read last, since everything
//! else that can be wrong with a record outranks an unreadable time.

use super::members::{Field, Kind, Limits};
use super::strict::{Document, Span, Token, unescape};
use super::{Cell, number};
use crate::decode::{Reason, Rejected};
use crate::time::{TimeParser, from_epoch_ms};

/// How much of a value a dead letter's detail shows, in characters.
const SAMPLE_CHARS: usize = 40;

/// The declared values of a document.
pub(super) struct Accepted {
    /// The event time.
    pub(super) event_time_us: i64,
    /// Whether the cells point into the buffer of unescaped texts, and not into the document.
    pub(super) unescaped: bool,
}

/// Checks the declared members, fills `cells`, and reads the time.
pub(super) fn check(
    fields: &[Field],
    document: &Document,
    bytes: &[u8],
    limits: &Limits,
    time: &mut TimeParser,
    cells: &mut [Cell],
    texts: &mut Vec<u8>,
) -> Result<Accepted, Rejected> {
    texts.clear();
    let escaped = |entry: &u32| document.entries[*entry as usize].token == Token::Text { escaped: true };
    let unescaped = document.found.iter().flatten().any(escaped);
    let mut time_member = None;
    for (i, field) in fields.iter().enumerate() {
        let Some(entry) = document.found[i] else {
            return Err(schema(format!("member {:?} is missing", field.name)));
        };
        let entry = &document.entries[entry as usize];
        let raw = entry.value.of(bytes);
        if entry.token == Token::Null {
            return Err(schema(format!("member {:?} is null", field.name)));
        }
        let mut span = entry.value;
        if let Token::Text { .. } = entry.token {
            span = Span { start: span.start + 1, end: span.end - 1 };
        }
        if unescaped {
            let start = texts.len();
            unescape(span.of(bytes), texts);
            span = Span::new(start, texts.len());
        }
        let value = span.of(if unescaped { texts } else { bytes });
        let bits = match field.kind {
            Kind::Time => {
                time_member = Some((field, entry.token, span, raw));
                0
            }
            _ => declared(field, entry.token, value, raw, limits)?,
        };
        cells[i] = Cell { span, bits };
    }
    let Some((field, token, span, raw)) = time_member else {
        return Err(schema("no time is declared".to_owned()));
    };
    let value = span.of(if unescaped { texts } else { bytes });
    let read = match token {
        Token::Text { .. } => time.parse(value),
        Token::Integer => number::integer(value).and_then(from_epoch_ms),
        _ => None,
    };
    match read {
        Some(event_time_us) => Ok(Accepted { event_time_us, unescaped }),
        None => Err(Rejected::new(
            Reason::Time,
            format!("member {:?} is no readable time: {}", field.name, sample(raw)),
        )),
    }
}

/// Checks a member other than the time; gives what its cell keeps beside the text.
fn declared(field: &Field, token: Token, value: &[u8], raw: &[u8], limits: &Limits) -> Result<u64, Rejected> {
    let wrong = |expected: &str| {
        let detail = format!("member {:?} must be {expected}, found {}", field.name, sample(raw));
        Err(schema(detail))
    };
    match (field.kind, token) {
        (Kind::Text, Token::Text { .. }) => text(field, value, limits).map(|()| 0),
        (Kind::Text | Kind::Time, _) => wrong("a string"),
        (Kind::Integer, Token::Integer) => match number::integer(value) {
            Some(integer) => Ok(integer as u64),
            None => wrong("an integer of 64 bits"),
        },
        (Kind::Integer, _) => wrong("an integer"),
        (Kind::Number, Token::Integer | Token::Fraction) => Ok(number::float(value).to_bits()),
        (Kind::Number, _) => wrong("a number"),
        (Kind::Choice(words), Token::Text { .. }) => match field.choices.find(value) {
            Some(index) => Ok(index as u64),
            None => wrong(&format!("one of {}", words.join(", "))),
        },
        (Kind::Choice(_), _) => wrong("a string"),
    }
}

fn text(field: &Field, value: &[u8], limits: &Limits) -> Result<(), Rejected> {
    let name = field.name;
    if value.is_empty() {
        return Err(schema(format!("member {name:?} is empty")));
    }
    if memchr::memchr(0, value).is_some() {
        return Err(schema(format!("member {name:?} contains U+0000")));
    }
    if value.len() > limits.max_string_bytes {
        let limit = limits.max_string_bytes;
        return Err(schema(format!("member {name:?} has {} bytes, over the limit of {limit}", value.len())));
    }
    Ok(())
}

fn schema(detail: String) -> Rejected {
    Rejected::new(Reason::Schema, detail)
}

/// The beginning of a value as it stands in the document.
fn sample(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(&raw[..raw.len().min(4 * SAMPLE_CHARS + 4)]);
    let mut sample: String = text.chars().take(SAMPLE_CHARS).collect();
    if sample.len() < raw.len() {
        sample.push('…');
    }
    sample
}
