//! The fast path: a document against the layouts learned, with vector compares.
//!
//! First one pass over the whole document looks for what would make a string more than the bytes
//! between two quotes: a backslash sends the document to the tokenizer, bytes that are not ASCII have
//! it checked as UTF-8, and control characters are counted. Then a layout's literals are compared at
//! the places where the values before them end. When all agree and the last literal ends with the
//! document, then
//!
//! * no string has an escape, so that the first quote behind its beginning ends it;
//! * the control characters are those of the literals, as many as the layout has, and none is in a string;
//! * names, order and punctuation are those of a document that the tokenizer accepted;
//! * every number was read by a reader that accepts what the grammar accepts, and the literal behind it
//!   does not go on with the number, since it begins with white space, a comma or a brace.
//!
//! So the scanner accepts only what the tokenizer accepts, with the same values. Whatever it does not
//! accept, for whatever reason, the tokenizer judges.

use super::layout::{Layout, Layouts, Slot, Take};
use super::members::{Field, Limits};
use super::strict::{Span, end_of_value};
use super::{Cell, Other, number};
use crate::decode::simd::{BLOCK, Simd, Vectorized};
use crate::time::{TimeParser, from_epoch_ms};

/// How many bytes behind a document the scanner wants to be able to read.
pub(super) const MARGIN: usize = 2 * BLOCK;

/// One document to be scanned.
pub(super) struct Scan<'s> {
    /// The document, and at least [`MARGIN`] bytes behind it.
    pub(super) slab: &'s [u8],
    /// How long the document is.
    pub(super) len: usize,
    pub(super) layouts: &'s mut Layouts,
    pub(super) reader: Reader<'s>,
}

/// What the values are read with, and to.
pub(super) struct Reader<'s> {
    pub(super) fields: &'s [Field],
    pub(super) limits: &'s Limits,
    pub(super) time: &'s mut TimeParser,
    pub(super) cells: &'s mut [Cell],
    pub(super) others: &'s mut Vec<Other>,
}

impl Vectorized for Scan<'_> {
    /// The event time of a document that fits a layout.
    type Output = Option<i64>;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> Option<i64> {
        let survey = Survey::of(simd, self.slab, self.len)?;
        if survey.backslash || (survey.high && std::str::from_utf8(self.slab.get(..self.len)?).is_err()) {
            return None;
        }
        let mut hit = None;
        for (index, layout) in self.layouts.candidates() {
            if layout.controls != survey.controls {
                continue;
            }
            if let Some(event_time_us) = self.reader.read(simd, self.slab, self.len, layout) {
                hit = Some((index, event_time_us));
                break;
            }
        }
        let (index, event_time_us) = hit?;
        self.layouts.served(index);
        Some(event_time_us)
    }
}

/// What stands anywhere in a document.
struct Survey {
    backslash: bool,
    high: bool,
    controls: u32,
}

impl Survey {
    #[inline(always)]
    fn of<S: Simd>(simd: S, slab: &[u8], len: usize) -> Option<Self> {
        let (mut backslash, mut high, mut controls) = (0, 0, 0);
        let mut look = |block: &[u8; BLOCK], mask: u32| {
            let block = simd.load(block);
            backslash |= simd.equal(block, b'\\') & mask;
            high |= simd.high(block) & mask;
            controls += (simd.controls(block) & mask).count_ones();
        };
        let (blocks, _) = slab.as_chunks::<BLOCK>();
        let whole = len / BLOCK;
        for block in blocks.get(..whole)? {
            look(block, u32::MAX);
        }
        look(blocks.get(whole)?, !(u32::MAX << (len % BLOCK)));
        Some(Survey { backslash: backslash != 0, high: high != 0, controls })
    }
}

impl Reader<'_> {
    /// Reads a document of this layout.
    #[inline(always)]
    fn read<S: Simd>(&mut self, simd: S, slab: &[u8], len: usize, layout: &Layout) -> Option<i64> {
        self.others.clear();
        let mut event_time_us = None;
        let mut at = 0;
        for slot in &layout.slots {
            let start = slot.before.pass(simd, slab, at)?;
            let mut bits = 0;
            let end = match slot.take {
                Take::TimeText => {
                    let end = match slab.get(start + slot.len) {
                        // A text that is a time has no quote within.
                        Some(b'"') => start + slot.len,
                        _ => find_quote(simd, slab, start, len)?,
                    };
                    event_time_us = Some(self.time.parse(slab.get(start..end)?)?);
                    end
                }
                Take::Text => {
                    let end = find_quote(simd, slab, start, len)?;
                    if end == start || end - start > self.limits.max_string_bytes {
                        return None;
                    }
                    end
                }
                Take::Choice => {
                    let end = find_quote(simd, slab, start, len)?;
                    bits = self.fields.get(slot.field)?.choices.find(slab, start, end)? as u64;
                    end
                }
                Take::Number => {
                    let (value, end) =
                        number::quick(slab, start).or_else(|| slow_number(slab, start, len))?;
                    bits = value.to_bits();
                    end
                }
                Take::Integer => {
                    let (value, end) = number::quick_integer(slab, start)?;
                    bits = value as u64;
                    end
                }
                Take::TimeInteger => {
                    let (ms, end) = number::quick_integer(slab, start)?;
                    event_time_us = Some(from_epoch_ms(ms)?);
                    end
                }
                Take::Other => {
                    at = self.other(simd, slab, start, len, slot)?;
                    continue;
                }
            };
            *self.cells.get_mut(slot.field)? = Cell { span: Span::new(start, end), bits };
            at = end;
        }
        if layout.tail.pass(simd, slab, at)? != len {
            return None;
        }
        event_time_us
    }

    /// Passes over the value of a member that is not declared, and notes it.
    #[inline(always)]
    fn other<S: Simd>(
        &mut self,
        simd: S,
        slab: &[u8],
        start: usize,
        len: usize,
        slot: &Slot,
    ) -> Option<usize> {
        let end = match slab.get(start)? {
            b'"' => find_quote(simd, slab, start + 1, len)? + 1,
            _ => end_of_value(slab.get(..len)?, start)?,
        };
        let name = start - slot.name_back;
        self.others.push(Other {
            name: Span::new(name, name + slot.name_len),
            name_escaped: false,
            value: Span::new(start, end),
        });
        Some(end)
    }
}

/// The first quote from `at` on; not far behind `len`.
#[inline(always)]
fn find_quote<S: Simd>(simd: S, slab: &[u8], mut at: usize, len: usize) -> Option<usize> {
    loop {
        let window: &[u8; MARGIN] = slab.get(at..)?.first_chunk()?;
        let (blocks, _) = window.as_chunks::<BLOCK>();
        let low = simd.equal(simd.load(&blocks[0]), b'"');
        let high = simd.equal(simd.load(&blocks[1]), b'"');
        let quotes = u64::from(low) | u64::from(high) << BLOCK;
        if quotes != 0 {
            return Some(at + quotes.trailing_zeros() as usize);
        }
        at += MARGIN;
        if at > len {
            return None;
        }
    }
}

/// A number that is not short.
#[cold]
#[inline(never)]
fn slow_number(slab: &[u8], start: usize, len: usize) -> Option<(f64, usize)> {
    let document = slab.get(..len)?;
    if !matches!(document.get(start)?, b'-' | b'0'..=b'9') {
        return None;
    }
    let shape = number::shape(document, start).ok()?;
    Some((number::float(document.get(start..shape.end)?), shape.end))
}
