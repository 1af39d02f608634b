//! The fast path: a document against the layouts learned, with vector compares.
//!
//! A layout's literals are compared at the places where the values before them end. When all agree
//! and the last one ends with the document, then
//!
//! * names, order and punctuation are those of a document that the tokenizer accepted;
//! * every text ends at its first quote, backslash or control character, and that is a quote, since the
//!   literal behind it begins with one: it has no escape, and nothing that a string cannot hold;
//! * times and choices are texts that were compared or read whole, so they have nothing of that either;
//! * every number was read by a reader that accepts what the grammar accepts, and the literal behind it
//!   does not go on with the number, since it begins with white space, a comma or a brace;
//! * if any of the texts has a byte that is not ASCII, the whole document was checked as UTF-8.
//!
//! So the scanner accepts only what the tokenizer accepts, with the same values. Whatever it does not
//! accept, for whatever reason, the tokenizer judges.

use super::layout::{Layout, Layouts, Slot, Take};
use super::members::{Field, Limits};
use super::strict::{Span, end_of_value};
use super::{Cell, Other, number};
use crate::decode::simd::{BLOCK, MARGIN, Padded, Simd, Vectorized};
use crate::time::{TimeParser, from_epoch_ms};

/// What documents are scanned with.
#[derive(Debug)]
pub(super) struct Scanner {
    pub(super) fields: Box<[Field]>,
    pub(super) limits: Limits,
    pub(super) layouts: Layouts,
    pub(super) time: TimeParser,
    pub(super) others: Vec<Other>,
}

/// One document to be scanned.
pub(super) struct Scan<'s> {
    pub(super) document: Padded<'s>,
    pub(super) scanner: &'s mut Scanner,
    pub(super) cells: &'s mut [Cell],
}

impl Vectorized for Scan<'_> {
    /// The event time of a document that fits a layout.
    type Output = Option<i64>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Option<i64> {
        let Scan { document, scanner, cells } = self;
        let Scanner { fields, limits, layouts, time, others } = scanner;
        let mut reader = Reader { simd, document, fields, limits, time, cells, others, high: 0 };
        let first = layouts.first();
        let mut index = first;
        loop {
            let (layout, next) = layouts.get(index)?;
            if let Some(event_time_us) = reader.read(layout) {
                layouts.served(index);
                return Some(event_time_us);
            }
            index = next;
            if index == first {
                return None;
            }
        }
    }
}

/// What the values of a document are read with, and to.
struct Reader<'s, S> {
    simd: S,
    document: Padded<'s>,
    fields: &'s [Field],
    limits: &'s Limits,
    time: &'s mut TimeParser,
    cells: &'s mut [Cell],
    others: &'s mut Vec<Other>,
    /// Not 0 when a text had a byte that is not ASCII.
    high: u64,
}

impl<S: Simd> Reader<'_, S> {
    /// Reads the document if it has this layout.
    #[inline(always)]
    fn read(&mut self, layout: &Layout) -> Option<i64> {
        let document = self.document;
        self.others.clear();
        self.high = 0;
        let mut event_time_us = None;
        let mut at = 0;
        for slot in &layout.slots {
            let start = slot.before.pass(self.simd, document, at)?;
            if slot.plain {
                at = self.end_of_text(start)?;
                if at == start || at - start > self.limits.max_string_bytes {
                    return None;
                }
                *self.cells.get_mut(slot.field)? = Cell { span: Span::new(start, at), bits: 0 };
                continue;
            }
            let mut bits = 0;
            match slot.take {
                // Plain, see above.
                Take::Text => return None,
                Take::TimeText => {
                    at = start + slot.len;
                    // A text that is a time has no quote within.
                    if document.byte(at)? != b'"' {
                        at = self.end_of_text(start)?;
                    }
                    event_time_us = Some(self.time.parse(document.bytes().get(start..at)?)?);
                }
                Take::Choice => {
                    at = self.end_of_choice(start)?;
                    bits = self.fields.get(slot.field)?.choices.find_within(document, start, at)? as u64;
                }
                Take::Number => {
                    let value;
                    (value, at) = number::quick(document, start).or_else(|| slow_number(document, start))?;
                    bits = value.to_bits();
                }
                Take::Integer => {
                    let value;
                    (value, at) = number::quick_integer(document, start)?;
                    bits = value as u64;
                }
                Take::TimeInteger => {
                    let ms;
                    (ms, at) = number::quick_integer(document, start)?;
                    event_time_us = Some(from_epoch_ms(ms)?);
                }
                Take::Other => {
                    at = self.other(start, slot)?;
                    continue;
                }
            }
            *self.cells.get_mut(slot.field)? = Cell { span: Span::new(start, at), bits };
        }
        if layout.tail.pass(self.simd, document, at)? != document.len() {
            return None;
        }
        if self.high != 0 && std::str::from_utf8(document.bytes()).is_err() {
            return None;
        }
        event_time_us
    }

    /// The first byte from `at` on that a string cannot hold as it is.
    #[inline(always)]
    fn end_of_text(&mut self, mut at: usize) -> Option<usize> {
        loop {
            let window: &[u8; MARGIN] = self.document.array(at)?;
            let (blocks, _) = window.as_chunks::<BLOCK>();
            let (low, high) = (self.simd.load(&blocks[0]), self.simd.load(&blocks[1]));
            let not_ascii = u64::from(self.simd.high(low)) | u64::from(self.simd.high(high)) << BLOCK;
            let stops = u64::from(self.simd.not_plain(low)) | u64::from(self.simd.not_plain(high)) << BLOCK;
            if stops != 0 {
                // Not what stands behind the text: behind a record that is often another one's binary front.
                self.high |= not_ascii & (stops ^ stops.wrapping_sub(1));
                return Some(at + stops.trailing_zeros() as usize);
            }
            self.high |= not_ascii;
            at += MARGIN;
        }
    }

    /// The first quote from `at` on. Choices are compared afterwards, so nothing else is looked at.
    #[inline(always)]
    fn end_of_choice(&mut self, at: usize) -> Option<usize> {
        let quotes = self.simd.equal(self.simd.load(self.document.array(at)?), b'"');
        if quotes != 0 { Some(at + quotes.trailing_zeros() as usize) } else { self.end_of_text(at) }
    }

    /// Passes over the value of a member that is not declared, and notes it.
    #[inline(always)]
    fn other(&mut self, start: usize, slot: &Slot) -> Option<usize> {
        let end = other_end(self.document, start)?;
        let name = start - slot.name_back;
        self.others.push(Other {
            name: Span::new(name, name + slot.name_len),
            name_escaped: false,
            value: Span::new(start, end),
        });
        self.high |= u64::from(!self.document.bytes().get(start..end)?.is_ascii());
        Some(end)
    }
}

/// The end of any value; the tokenizer's judgement.
#[inline(never)]
fn other_end(document: Padded<'_>, start: usize) -> Option<usize> {
    end_of_value(document.bytes(), start)
}

/// A number that is not short.
#[cold]
#[inline(never)]
fn slow_number(document: Padded<'_>, start: usize) -> Option<(f64, usize)> {
    let bytes = document.bytes();
    let shape = number::shape(bytes, start).ok()?;
    Some((number::float(bytes.get(start..shape.end)?), shape.end))
}
