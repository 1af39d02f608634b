//! The shapes of documents seen before: everything but the values, as literal bytes.
//!
//! A producer writes its documents with one or two serializers, so they differ in nothing but their
//! values. A [`Layout`] keeps what stands before, between and behind the values of a document that the
//! tokenizer accepted; a later document that has the same bytes there, and valid values in the gaps,
//! is valid too, with the same members.

use super::members::{Field, Kind};
use super::strict::{Document, Token};
use crate::decode::simd::{BLOCK, Padded, Simd};

/// How many layouts are kept.
const LAYOUTS: usize = 4;

/// Documents with more members than this are left to the tokenizer.
const MEMBERS: usize = 64;

/// Longest pause, in documents, before another layout is learned after some that served nothing.
const LONGEST_WAIT: u32 = 4_095;

/// Bytes that must stand at a place.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    /// The first 32 of them.
    head: [u8; BLOCK],
    /// Which of those count.
    mask: u32,
    len: usize,
    /// The others.
    rest: Box<[u8]>,
}

impl Literal {
    fn new(bytes: &[u8]) -> Self {
        let (first, rest) = bytes.split_at(bytes.len().min(BLOCK));
        let mut head = [0; BLOCK];
        head[..first.len()].copy_from_slice(first);
        let mask = u32::MAX.checked_shr((BLOCK - first.len()) as u32).unwrap_or(0);
        Literal { head, mask, len: bytes.len(), rest: rest.into() }
    }

    /// The position behind these bytes, if they stand at `at`.
    #[inline(always)]
    pub(super) fn pass<S: Simd>(&self, simd: S, document: Padded<'_>, at: usize) -> Option<usize> {
        let block = simd.load(document.array(at)?);
        if simd.same(block, simd.load(&self.head)) & self.mask != self.mask {
            return None;
        }
        let end = at + self.len;
        if self.len > BLOCK && document.bytes().get(at + BLOCK..end)? != &*self.rest {
            return None;
        }
        Some(end)
    }
}

/// How a gap between literals is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// The time as text; the quotes belong to the literals.
    TimeText,
    /// The time as an integer.
    TimeInteger,
    /// A text, without its quotes.
    Text,
    /// A text of a closed list, without its quotes.
    Choice,
    /// An integer.
    Integer,
    /// A number.
    Number,
    /// Any value of a member that is not declared, with quotes.
    Other,
}

/// A value, and the bytes before it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) before: Literal,
    pub(super) take: Take,
    /// Whether it is a [`Take::Text`]: asked first, since most values are.
    pub(super) plain: bool,
    /// The declared member; unused for others.
    pub(super) field: usize,
    /// How long the value was; that of a time hardly changes.
    pub(super) len: usize,
    /// How far before the value its name begins, and the name's length.
    pub(super) name_back: usize,
    pub(super) name_len: usize,
}

/// The shape of a document.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) slots: Vec<Slot>,
    /// What stands behind the last value.
    pub(super) tail: Literal,
    /// When it last served.
    used: u64,
    /// How often it served.
    hits: u64,
}

impl Layout {
    /// The shape of a document that was accepted; `None` when it has escapes or too many members.
    fn of(document: &Document, bytes: &[u8], fields: &[Field]) -> Option<Self> {
        if document.entries.len() > MEMBERS || memchr::memchr(b'\\', bytes).is_some() {
            return None;
        }
        let mut slots = Vec::with_capacity(document.entries.len());
        let mut at = 0;
        let literal = |start: usize, end: usize| bytes.get(start..end).map(Literal::new);
        for entry in &document.entries {
            let (mut start, mut end) = (entry.value.start as usize, entry.value.end as usize);
            let take = match entry.field.map(|field| fields[field as usize].kind) {
                None => Take::Other,
                Some(Kind::Time) if entry.token == Token::Integer => Take::TimeInteger,
                Some(Kind::Time) => Take::TimeText,
                Some(Kind::Text) => Take::Text,
                Some(Kind::Choice(_)) => Take::Choice,
                Some(Kind::Integer) => Take::Integer,
                Some(Kind::Number) => Take::Number,
            };
            if matches!(take, Take::TimeText | Take::Text | Take::Choice) {
                (start, end) = (start + 1, end - 1);
            }
            slots.push(Slot {
                before: literal(at, start)?,
                take,
                plain: take == Take::Text,
                field: entry.field.unwrap_or_default() as usize,
                len: end - start,
                name_back: start - entry.name.start as usize,
                name_len: entry.name.len(),
            });
            at = end;
        }
        let tail = literal(at, bytes.len())?;
        Some(Layout { slots, tail, used: 0, hits: 0 })
    }
}

/// The layouts known, and which to try first.
#[derive(Clone, Debug, Default)]
pub(super) struct Layouts {
    known: Vec<Layout>,
    /// The one that served last.
    last: usize,
    clock: u64,
    /// How many documents to let pass before learning, and how many of them are left.
    wait: u32,
    left: u32,
}

impl Layouts {
    /// Whether nothing was learned yet.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The layout at `index`, and the index to try after it: the one that served last comes first,
    /// then the others in turn.
    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Option<(&Layout, usize)> {
        let next = if index + 1 < self.known.len() { index + 1 } else { 0 };
        self.known.get(index).map(|layout| (layout, next))
    }

    /// The index of the layout to try first.
    #[inline(always)]
    pub(super) fn first(&self) -> usize {
        self.last
    }

    /// Notes that a layout served.
    #[inline(always)]
    pub(super) fn served(&mut self, index: usize) {
        self.last = index;
        self.clock += 1;
        if let Some(layout) = self.known.get_mut(index) {
            layout.used = self.clock;
            layout.hits += 1;
        }
    }

    /// Learns from a document that the tokenizer accepted and no layout fits.
    ///
    /// The layout that has not served for longest makes room. When that one had never served, shapes
    /// change too fast to be worth learning, and the next ones are let pass, twice as many each time.
    pub(super) fn learn(&mut self, document: &Document, bytes: &[u8], fields: &[Field]) {
        if self.left > 0 {
            self.left -= 1;
            return;
        }
        let Some(mut layout) = Layout::of(document, bytes, fields) else { return };
        self.clock += 1;
        layout.used = self.clock;
        if self.known.len() < LAYOUTS {
            self.last = self.known.len();
            self.known.push(layout);
            return;
        }
        let oldest = (0..self.known.len()).min_by_key(|i| self.known[*i].used).unwrap_or(0);
        let fruitful = self.known[oldest].hits > u64::from(self.wait);
        self.wait = if fruitful { 0 } else { (2 * self.wait + 1).min(LONGEST_WAIT) };
        self.left = self.wait;
        self.known[oldest] = layout;
        self.last = oldest;
    }
}
