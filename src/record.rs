//! A Kafka record as every source hands it on, and the partition it came from.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::from_epoch_ms;

/// A (topic, number) pair; ordered by topic bytewise, then by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number within the topic, never negative.
    pub number: i32,
}

impl Partition {
    /// The partition `number` of `topic`.
    pub fn new(topic: &str, number: i32) -> Self {
        Partition { topic: topic.into(), number }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.number)
    }
}

/// The timestamp that Kafka keeps beside a record, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KafkaTime {
    /// No usable timestamp: its type is neither of the two below, or it is negative.
    #[default]
    None,
    /// The producer's clock made it.
    Create(i64),
    /// The broker's clock made it.
    LogAppend(i64),
}

impl KafkaTime {
    /// The timestamp in milliseconds, if there is one.
    #[inline(always)]
    pub fn ms(self) -> Option<i64> {
        match self {
            KafkaTime::None => None,
            KafkaTime::Create(ms) | KafkaTime::LogAppend(ms) => Some(ms),
        }
    }

    /// The timestamp in microseconds, as rows have it; `None` also where no year up to 9999 holds it.
    pub fn us(self) -> Option<i64> {
        self.ms().and_then(from_epoch_ms)
    }
}

/// A record's value, and the bytes that happen to lie behind it.
///
/// A scanner that loads whole vectors may read past the value's end as long as it stays in `slab`;
/// what it reads there means nothing.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    slab: &'a [u8],
    len: usize,
}

impl<'a> Value<'a> {
    /// The first `len` bytes of `slab`; the rest of `slab` is readable and meaningless.
    ///
    /// # Panics
    /// When `slab` is shorter than `len`.
    #[inline(always)]
    pub fn within(slab: &'a [u8], len: usize) -> Self {
        assert!(len <= slab.len(), "a value must lie within its slab");
        Value { slab, len }
    }

    /// A value with nothing readable behind it.
    pub fn exact(bytes: &'a [u8]) -> Self {
        Value { slab: bytes, len: bytes.len() }
    }

    /// The value's bytes.
    #[inline(always)]
    pub fn bytes(&self) -> &'a [u8] {
        &self.slab[..self.len]
    }

    /// The value's bytes and the readable ones behind them.
    #[inline(always)]
    pub fn slab(&self) -> &'a [u8] {
        self.slab
    }
}

/// A record's headers, kept in Kafka's wire form and read only when somebody asks.
///
/// The wire form is that of record batch v2: for each header a zigzag varint length and the name,
/// then a zigzag varint length (−1 for null) and the value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    count: u32,
    wire: &'a [u8],
}

impl<'a> Headers<'a> {
    /// `count` headers encoded in `wire`.
    pub fn from_wire(count: u32, wire: &'a [u8]) -> Self {
        Headers { count, wire }
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value of the first header called `name`; `Some(None)` when that value is null.
    pub fn get(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The headers in their order; ends early where the wire form is broken.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut wire = self.wire;
        (0..self.count).map_while(move |_| {
            let name_len = usize::try_from(read_varint(&mut wire)?).ok()?;
            let (name, rest) = wire.split_at_checked(name_len)?;
            wire = rest;
            let value_len = read_varint(&mut wire)?;
            if value_len < 0 {
                return Some((name, None));
            }
            let (value, rest) = wire.split_at_checked(usize::try_from(value_len).ok()?)?;
            wire = rest;
            Some((name, Some(value)))
        })
    }

    /// Appends one header to `wire` in the form that [`Headers::from_wire`] reads.
    pub fn append(wire: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
        write_varint(wire, name.len() as i64);
        wire.extend_from_slice(name);
        match value {
            None => write_varint(wire, -1),
            Some(value) => {
                write_varint(wire, value.len() as i64);
                wire.extend_from_slice(value);
            }
        }
    }
}

/// One Kafka record, borrowed from the source's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset in its partition.
    pub offset: i64,
    /// Kafka's timestamp.
    pub kafka_time: KafkaTime,
    /// The key, `None` when null.
    pub key: Option<&'a [u8]>,
    /// The value, `None` for a tombstone.
    pub value: Option<Value<'a>>,
    /// The headers.
    pub headers: Headers<'a>,
}

/// Takes a zigzag varint (protobuf's and Kafka's) off the front of `bytes`; `None` when it is cut or too long.
#[inline]
pub fn read_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut raw = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        raw |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    None
}

/// Appends `value` as a zigzag varint.
pub fn write_varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        let mut wire = Vec::new();
        Headers::append(&mut wire, b"a", Some(b"1"));
        Headers::append(&mut wire, b"b", None);
        let headers = Headers::from_wire(2, &wire);
        assert_eq!(headers.get(b"a"), Some(Some(&b"1"[..])));
        assert_eq!(headers.get(b"b"), Some(None));
        assert_eq!(headers.get(b"c"), None);
    }

    #[test]
    fn varints_round_trip() {
        for value in [0, 1, -1, 63, 64, -65, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            assert_eq!(read_varint(&mut &out[..]), Some(value));
        }
        assert_eq!(read_varint(&mut &[0x80u8; 11][..]), None);
        assert_eq!(read_varint(&mut &[0x80u8][..]), None);
    }
}
