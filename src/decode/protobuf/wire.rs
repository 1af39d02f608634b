//! The wire form of Protobuf.

use std::borrow::Cow;

use thiserror::Error;

use super::{Descriptor, Field, Kind, Message, Unknown, Value, symbol};

/// Messages and groups may be nested so deep.
const DEPTH_MAX: u32 = 100;

/// Bytes that are not a message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// They end within a field.
    #[error("the bytes end within field {0}")]
    Cut(u32),
    /// A tag or a length is no varint.
    #[error("a tag or number behind field {0} is not a varint")]
    Varint(u32),
    /// A tag that cannot be.
    #[error("tag {0} has no field number or no wire type")]
    Tag(u64),
    /// A group without its end, or an end without its group.
    #[error("the group of field {0} does not end")]
    Group(u32),
    /// A text that is not UTF-8.
    #[error("field {0:?} is not UTF-8")]
    Utf8(&'static str),
    /// Nested too deep.
    #[error("messages are nested more than 100 deep")]
    Depth,
}

/// A value as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 3 and 4, passed over.
    Group,
}

/// The fields of a message, one after another.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    last: u32,
}

impl<'a> Fields<'a> {
    /// Those of the message in `bytes`.
    pub fn of(bytes: &'a [u8]) -> Self {
        Fields { rest: bytes, last: 0 }
    }

    /// How many bytes stand behind the fields that were given.
    pub(super) fn bytes_left(&self) -> usize {
        self.rest.len()
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (i, &byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { WireError::Cut(self.last) } else { WireError::Varint(self.last) })
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(len).map_err(|_| WireError::Cut(self.last))?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Cut(self.last))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.take(N as u64)?;
        bytes.try_into().map_err(|_| WireError::Cut(self.last))
    }

    /// Number and wire type of the next field.
    fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(WireError::Tag(tag))?;
        self.last = number;
        Ok((number, (tag & 7) as u8))
    }

    fn raw(&mut self, number: u32, wire: u8, depth: u32) -> Result<Raw<'a>, WireError> {
        Ok(match wire {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let len = self.varint()?;
                Raw::Bytes(self.take(len)?)
            }
            3 => {
                self.pass_group(number, depth)?;
                Raw::Group
            }
            5 => Raw::Fixed32(u32::from_le_bytes(self.fixed()?)),
            4 => return Err(WireError::Group(number)),
            _ => return Err(WireError::Tag(u64::from(number) << 3 | u64::from(wire))),
        })
    }

    fn pass_group(&mut self, group: u32, depth: u32) -> Result<(), WireError> {
        if depth >= DEPTH_MAX {
            return Err(WireError::Depth);
        }
        while !self.rest.is_empty() {
            match self.tag()? {
                (number, 4) if number == group => return Ok(()),
                (number, wire) => drop(self.raw(number, wire, depth + 1)?),
            }
        }
        Err(WireError::Group(group))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Raw<'a>), WireError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = self.tag().and_then(|(number, wire)| Ok((number, self.raw(number, wire, 0)?)));
        if next.is_err() {
            self.rest = &[];
        }
        Some(next)
    }
}

/// Reads a message of type `of`.
///
/// # Errors
/// When the bytes are no message, or a text is not UTF-8. A field whose value has another wire type than its kind is
/// one that nobody knows, as Protobuf has it.
///
/// # Examples
/// ```
/// use tidegate::decode::protobuf::{Descriptor, Field, Kind, Unknown, wire};
///
/// const PERSON: Descriptor = Descriptor {
///     name: "Person",
///     fields: &[Field { number: 1, name: "full_name", kind: Kind::Text, repeated: false }],
/// };
/// let mut unknown = Unknown::default();
/// let person = wire::read(&PERSON, b"\x0a\x03Ada\x10\x24", &mut unknown).unwrap();
/// assert_eq!((person.text(1), unknown.fields), (Some("Ada"), 1));
/// ```
pub fn read<'a>(
    of: &'static Descriptor,
    bytes: &'a [u8],
    unknown: &mut Unknown,
) -> Result<Message<'a>, WireError> {
    read_at(of, bytes, unknown, 0)
}

fn read_at<'a>(
    of: &'static Descriptor,
    bytes: &'a [u8],
    unknown: &mut Unknown,
    depth: u32,
) -> Result<Message<'a>, WireError> {
    if depth >= DEPTH_MAX {
        return Err(WireError::Depth);
    }
    let mut message = Message::of_about(of.fields.len().min(bytes.len()));
    for field in Fields::of(bytes) {
        let (number, raw) = field?;
        let value = match of.field(number) {
            Some(field) => value(field, raw, unknown, depth)?.map(|value| (field, value)),
            None => {
                unknown.fields += 1;
                None
            }
        };
        if let Some((field, value)) = value {
            message.put(field, value);
        }
    }
    Ok(message)
}

fn value<'a>(
    field: &'static Field,
    raw: Raw<'a>,
    unknown: &mut Unknown,
    depth: u32,
) -> Result<Option<Value<'a>>, WireError> {
    Ok(Some(match (field.kind, raw) {
        (Kind::Opaque, _) => return Ok(None),
        (Kind::Int32, Raw::Varint(raw)) => Value::Int(i64::from(raw as i32)),
        (Kind::Int64, Raw::Varint(raw)) => Value::Int(raw as i64),
        (Kind::Uint32, Raw::Varint(raw)) => Value::Int(i64::from(raw as u32)),
        (Kind::Uint64, Raw::Varint(raw)) => Value::Int(i64::try_from(raw).unwrap_or(i64::MAX)),
        (Kind::Bool, Raw::Varint(raw)) => Value::Int(i64::from(raw != 0)),
        (Kind::Enum(of), Raw::Varint(raw)) => symbol(of, raw as i32, unknown),
        (Kind::Float, Raw::Fixed32(raw)) => Value::Float(f64::from(f32::from_bits(raw))),
        (Kind::Double, Raw::Fixed64(raw)) => Value::Float(f64::from_bits(raw)),
        (Kind::Text, Raw::Bytes(raw)) => {
            let text = std::str::from_utf8(raw).map_err(|_| WireError::Utf8(field.name))?;
            Value::Text(Cow::Borrowed(text))
        }
        (Kind::Message(of), Raw::Bytes(raw)) => Value::Message(read_at(of, raw, unknown, depth + 1)?),
        _ => {
            unknown.fields += 1;
            return Ok(None);
        }
    }))
}
