//! A digest over a multiset of rows: equal digests mean equal rows, in whatever order and grouping they came.
//!
//! # Definition
//!
//! The digest of a multiset of rows is the sum modulo 2^256 of the SHA-256 hashes of its rows, each hash
//! read as a big-endian integer, written as 64 lower-case hexadecimal digits. What is hashed is the row's
//! canonical encoding, its cells one after the other in column order:
//!
//! | cell | bytes |
//! | --- | --- |
//! | null | `n` |
//! | integer | `i`, then the value as 8 bytes, little-endian two's complement |
//! | double | `f`, then the IEEE 754 bits as 8 bytes, little-endian; −0.0 as 0.0, any NaN as `7ff8000000000000` |
//! | truth value | `b`, then 1 byte, 0 or 1 |
//! | time | `t`, then the microseconds since the epoch as 8 bytes, little-endian |
//! | text | `s`, then the length in bytes as 4 bytes, little-endian, then the bytes |
//!
//! A line of a topic is a row too: partition (integer), offset (integer), Kafka timestamp in milliseconds
//! (integer, or null where there is none), key and payload (text, or null; their bytes as they stand, also
//! where they are not UTF-8), then for each header its name and its value (text).
//!
//! The same in Python:
//!
//! ```python
//! import hashlib, struct
//! def cell(v):                                   # a time t in microseconds: b"t" + struct.pack("<q", t)
//!     if v is None: return b"n"
//!     if isinstance(v, bool): return b"b" + bytes([v])
//!     if isinstance(v, int): return b"i" + struct.pack("<q", v)
//!     if isinstance(v, float): return b"f" + struct.pack("<d", v + 0.0)      # -0.0 + 0.0 is 0.0
//!     v = v.encode() if isinstance(v, str) else v
//!     return b"s" + struct.pack("<I", len(v)) + v
//! def digest(rows):
//!     hashes = (hashlib.sha256(b"".join(map(cell, row))).digest() for row in rows)
//!     return "%064x" % (sum(int.from_bytes(h, "big") for h in hashes) % 2**256)
//! ```
//!
//! # Why a sum
//!
//! Addition commutes and associates, so workers, epochs and batches may each keep a digest of their own and
//! [`merge`](Digest::merge) them; it can be undone, so a row that was replaced is taken out again; and unlike
//! exclusive or it does not lose rows that occur twice. It tells honest results apart; it is not meant to
//! withstand somebody who searches for colliding multisets.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::record::KafkaTime;
use crate::rows::{Cell, Column, RowBatch, Values};
use crate::time::written_us;

/// The digest of a multiset of rows, and how many rows there are; see the [module](self) for its definition.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest {
    /// The sum, least significant limb first.
    limbs: [u64; 4],
    rows: u64,
}

impl Digest {
    /// The digest of no rows.
    pub fn new() -> Self {
        Digest::default()
    }

    /// How many rows there are: those added less those removed.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The 64 hexadecimal digits of the sum.
    pub fn hex(&self) -> String {
        self.limbs.iter().rev().map(|limb| format!("{limb:016x}")).collect()
    }

    /// Adds a row.
    pub fn add_row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        self.add_encoded(&encode_row(cells));
    }

    /// Takes a row out that was added, here or in a digest merged into this one.
    pub fn remove_row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        self.remove_encoded(&encode_row(cells));
    }

    /// Adds all rows of a batch.
    pub fn add_batch(&mut self, batch: &RowBatch) {
        for_each_encoded(batch, |row| self.add_encoded(row));
    }

    /// Takes all rows of a batch out.
    pub fn remove_batch(&mut self, batch: &RowBatch) {
        for_each_encoded(batch, |row| self.remove_encoded(row));
    }

    /// Adds a row that the caller has encoded, for example with [`encode_line`].
    pub fn add_encoded(&mut self, row: &[u8]) {
        self.merge(&Digest { limbs: hash(row), rows: 1 });
    }

    /// Takes a row out that the caller has encoded.
    pub fn remove_encoded(&mut self, row: &[u8]) {
        self.subtract(&Digest { limbs: hash(row), rows: 1 });
    }

    /// Adds all rows of `other`.
    pub fn merge(&mut self, other: &Digest) {
        let mut carry = false;
        for (mine, theirs) in self.limbs.iter_mut().zip(other.limbs) {
            let (sum, over) = mine.overflowing_add(theirs);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*mine, carry) = (sum, over | over_again);
        }
        self.rows = self.rows.wrapping_add(other.rows);
    }

    /// Takes all rows of `other` out.
    pub fn subtract(&mut self, other: &Digest) {
        let mut borrow = false;
        for (mine, theirs) in self.limbs.iter_mut().zip(other.limbs) {
            let (rest, under) = mine.overflowing_sub(theirs);
            let (rest, under_again) = rest.overflowing_sub(u64::from(borrow));
            (*mine, borrow) = (rest, under | under_again);
        }
        self.rows = self.rows.wrapping_sub(other.rows);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({} rows, {self})", self.rows)
    }
}

/// Appends the canonical encoding of one cell.
#[inline]
pub fn encode_cell(out: &mut Vec<u8>, cell: Cell<'_>) {
    let (tag, value) = match cell {
        Cell::Null => return out.push(b'n'),
        Cell::Bool(value) => return out.extend_from_slice(&[b'b', u8::from(value)]),
        Cell::Text(text) => {
            out.push(b's');
            // A batch holds less than 4 GiB of text and a Kafka record less than 2 GiB.
            out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            return out.extend_from_slice(text);
        }
        Cell::Int(value) => (b'i', value.to_le_bytes()),
        // As it can be written: what is compared is rows as they stand in a table.
        Cell::Time(value) => (b't', written_us(value).to_le_bytes()),
        Cell::Float(value) if value.is_nan() => (b'f', 0x7ff8_0000_0000_0000_u64.to_le_bytes()),
        // Adding 0.0 turns -0.0 into 0.0 and nothing else.
        Cell::Float(value) => (b'f', (value + 0.0).to_bits().to_le_bytes()),
    };
    let mut bytes = [0; 9];
    bytes[0] = tag;
    bytes[1..].copy_from_slice(&value);
    out.extend_from_slice(&bytes);
}

/// Appends the canonical encoding of a topic's line without its headers; [`encode_header`] adds those.
pub fn encode_line(
    out: &mut Vec<u8>,
    partition: i32,
    offset: i64,
    kafka_time: KafkaTime,
    key: Option<&[u8]>,
    payload: Option<&[u8]>,
) {
    encode_cell(out, Cell::Int(i64::from(partition)));
    encode_cell(out, Cell::Int(offset));
    encode_cell(out, kafka_time.ms().map_or(Cell::Null, Cell::Int));
    encode_cell(out, key.map_or(Cell::Null, Cell::Text));
    encode_cell(out, payload.map_or(Cell::Null, Cell::Text));
}

/// Appends a header to the encoding that [`encode_line`] began.
pub fn encode_header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    encode_cell(out, Cell::Text(name));
    encode_cell(out, Cell::Text(value));
}

fn encode_row<'a>(cells: impl IntoIterator<Item = Cell<'a>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    cells.into_iter().for_each(|cell| encode_cell(&mut out, cell));
    out
}

/// A column being read from top to bottom, so that its nulls are met in order and never searched.
struct Cursor<'a> {
    column: &'a Column,
    nulls: std::slice::Iter<'a, u32>,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn cell(&mut self, row: usize) -> Cell<'a> {
        if self.nulls.as_slice().first().is_some_and(|&null| null as usize == row) {
            self.nulls.next();
            return Cell::Null;
        }
        match &self.column.values {
            Values::Int(values) => Cell::Int(values[row]),
            Values::Float(values) => Cell::Float(values[row]),
            Values::Bool(values) => Cell::Bool(values[row]),
            Values::Time(values) => Cell::Time(values[row]),
            Values::Text(values) => Cell::Text(values.get(row)),
        }
    }
}

fn for_each_encoded(batch: &RowBatch, mut visit: impl FnMut(&[u8])) {
    let mut cursors: Vec<_> =
        batch.columns().iter().map(|column| Cursor { column, nulls: column.nulls.iter() }).collect();
    let mut encoded = Vec::with_capacity(256);
    for row in 0..batch.len() {
        encoded.clear();
        for cursor in &mut cursors {
            encode_cell(&mut encoded, cursor.cell(row));
        }
        visit(&encoded);
    }
}

fn hash(bytes: &[u8]) -> [u64; 4] {
    let hash = Sha256::digest(bytes);
    let mut limbs = [0; 4];
    for (limb, chunk) in limbs.iter_mut().rev().zip(hash.chunks_exact(8)) {
        *limb = chunk.iter().fold(0, |limb, &byte| limb << 8 | u64::from(byte));
    }
    limbs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{ColumnType, Schema};
    use proptest::prelude::*;

    /// Computed with the Python of the module's header.
    #[test]
    fn digest_is_what_python_computes() {
        let mut digest = Digest::new();
        assert_eq!(digest.hex(), "0".repeat(64));
        digest.add_row([
            Cell::Null,
            Cell::Int(-7),
            Cell::Float(2.5),
            Cell::Bool(true),
            Cell::Time(1_706_443_200_000_000),
            Cell::Text("/wörld".as_bytes()),
        ]);
        assert_eq!(digest.hex(), "77dd0fb88fdb385ee78e17bae2512b2643fe9e803f2de059b15e46115799cedf");
        digest.add_row([Cell::Float(-0.0), Cell::Int(i64::MAX), Cell::Text(b"")]);
        assert_eq!(digest.hex(), "fd5060fa775ecd9e3ab7ef96b3002d665163eb4cd465b88405798c721b6492ce");
        for i in 0..100 {
            digest.add_row([Cell::Int(i)]);
        }
        assert_eq!(digest.hex(), "c5f7a68f60456cc35f12b010ff7df162aed23ec9acc5c20ec0b852a46c24e576");
        assert_eq!(digest.rows(), 102);
    }

    #[test]
    fn topic_line_is_a_row() {
        let mut line = Vec::new();
        encode_line(&mut line, 3, 12, KafkaTime::Create(1_706_443_200_000), None, Some(b"{\"a\":1}"));
        encode_header(&mut line, b"reason", b"late");
        let mut digest = Digest::new();
        digest.add_encoded(&line);
        assert_eq!(digest.hex(), "f627e70b58234ff3c24c6f55803c55723b91712077c0e26ba5d1935d6deb92f1");
    }

    #[test]
    fn sum_wraps_at_2_to_the_256() {
        let mut digest = Digest { limbs: [u64::MAX; 4], rows: 0 };
        digest.merge(&Digest { limbs: [1, 0, 0, 0], rows: 0 });
        assert_eq!(digest, Digest::new());
        digest.subtract(&Digest { limbs: [1, 0, 0, 0], rows: 0 });
        assert_eq!(digest.limbs, [u64::MAX; 4]);
    }

    type Row = (Option<i64>, f64, String, bool);

    fn batch(rows: &[Row]) -> RowBatch {
        use ColumnType::{Bool, Float, Int, Text};
        let schema =
            Schema::new("t", &[("a", Int), ("b", Float), ("c", Text), ("d", Bool)], &[]).nullable(&["a"]);
        let mut batch = schema.batch();
        for (a, b, c, d) in rows {
            let a = a.map_or(Cell::Null, Cell::Int);
            batch.push(&[a, Cell::Float(*b), Cell::Text(c.as_bytes()), Cell::Bool(*d)]);
        }
        batch
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(
            rows in prop::collection::vec((any::<Option<i64>>(), any::<f64>(), ".{0,8}", any::<bool>()), 0..40),
            cut in 0_usize..40,
        ) {
            let mut whole = Digest::new();
            whole.add_batch(&batch(&rows));
            let (first, second) = rows.split_at(cut.min(rows.len()));
            let mut reversed = second.to_vec();
            reversed.reverse();
            let (mut left, mut right) = (Digest::new(), Digest::new());
            right.add_batch(&batch(first));
            for i in 0..reversed.len() {
                left.add_row(batch(&reversed).row(i));
            }
            left.merge(&right);
            prop_assert_eq!(left, whole);
            left.remove_batch(&batch(&rows));
            prop_assert_eq!(left, Digest::new());
        }

        #[test]
        fn one_changed_cell_changes_it(rows in prop::collection::vec(any::<i64>(), 1..20), at in 0_usize..20) {
            let digest = |rows: &[i64]| {
                let mut digest = Digest::new();
                rows.iter().for_each(|&x| digest.add_row([Cell::Int(x)]));
                digest
            };
            let mut other = rows.clone();
            let at = at % other.len();
            other[at] = other[at].wrapping_add(1);
            prop_assert_ne!(digest(&rows).hex(), digest(&other).hex());
        }
    }
}
