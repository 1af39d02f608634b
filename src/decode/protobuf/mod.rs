//! Protobuf messages of a type that is known by a table, from their wire form or from their JSON form.
//!
//! ```text
//! bytes ──wire::read──┐
//!                     ├──► Message: numbers and values, texts borrowed from the bytes
//! JSON ──json::read───┘
//! ```
//!
//! A [`Descriptor`] is a table that stands in the program, so that no compiler of `.proto` files is needed to build
//! it, and both forms are read by the same one. Fields and enum numbers that the table does not name are never an
//! error: fields are passed over and counted, enum numbers are kept as they are and counted ([`Unknown`]).
//!
//! A type that is not known when the program is built is described by a file (`described`, feature `descriptors`).

#[cfg(feature = "descriptors")]
pub mod described;
mod fuzz;
pub mod json;
pub mod quick;
pub mod wire;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::fuzz::fuzz_protobuf;

/// The type of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

impl Descriptor {
    /// The field with this number.
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

/// A field of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in the schema, in `snake_case`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether there may be several.
    pub repeated: bool,
}

/// A field that there may be one of.
pub const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

/// A field that there may be several of.
pub const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `uint32`.
    Uint32,
    /// `uint64`; what is over `i64::MAX` is read as that.
    Uint64,
    /// `bool`.
    Bool,
    /// `float`.
    Float,
    /// `double`.
    Double,
    /// `string`.
    Text,
    /// An enum.
    Enum(&'static Enumeration),
    /// A message.
    Message(&'static Descriptor),
    /// A field that is known and not looked at.
    Opaque,
}

/// The type of an enum.
#[derive(Debug, PartialEq, Eq)]
pub struct Enumeration {
    /// Its name.
    pub name: &'static str,
    /// Numbers and names.
    pub values: &'static [(i32, &'static str)],
}

impl Enumeration {
    /// The name of `number`.
    pub fn name_of(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
    }
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Any integer, or a truth value.
    Int(i64),
    /// A `float` or a `double`; may be infinite or not a number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An enum's name; a number or name that its type does not have is kept as it is.
    Symbol(Cow<'a, str>),
    /// A message.
    Message(Message<'a>),
}

/// A message: values under their fields' numbers, in the order in which they were met.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message<'a>(Vec<(u32, Value<'a>)>);

impl<'a> Message<'a> {
    /// An empty one with room for about so many values: it is then made in one piece.
    fn of_about(values: usize) -> Self {
        /// More than this few messages have.
        const MOST: usize = 8;
        Message(Vec::with_capacity(values.min(MOST)))
    }

    /// Takes a value: of a field that is not repeated the last one counts, and messages are merged.
    pub fn put(&mut self, field: &Field, value: Value<'a>) {
        if !field.repeated
            && let Some((_, known)) = self.0.iter_mut().find(|(number, _)| *number == field.number)
        {
            match (known, value) {
                (Value::Message(known), Value::Message(more)) => known.merge(field, more),
                (known, value) => *known = value,
            }
            return;
        }
        self.0.push((field.number, value));
    }

    fn merge(&mut self, of: &Field, more: Message<'a>) {
        let Kind::Message(descriptor) = of.kind else { return };
        for (number, value) in more.0 {
            if let Some(field) = descriptor.field(number) {
                self.put(field, value);
            }
        }
    }

    /// The values of the field `number`.
    pub fn all(&self, number: u32) -> impl Iterator<Item = &Value<'a>> {
        self.0.iter().filter(move |(n, _)| *n == number).map(|(_, value)| value)
    }

    /// The value of the field `number`, which is not repeated.
    pub fn get(&self, number: u32) -> Option<&Value<'a>> {
        self.all(number).next()
    }

    /// The integer in the field `number`.
    pub fn int(&self, number: u32) -> Option<i64> {
        match self.get(number)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The number in the field `number`; none where it is infinite or not a number.
    pub fn float(&self, number: u32) -> Option<f64> {
        match self.get(number)? {
            // `-0.0` is read as `0.0`.
            Value::Float(value) if value.is_finite() => Some(*value + 0.0),
            _ => None,
        }
    }

    /// The text in the field `number`, or the name of its enum value.
    pub fn text(&self, number: u32) -> Option<&str> {
        match self.get(number)? {
            Value::Text(text) | Value::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// The message in the field `number`.
    pub fn message(&self, number: u32) -> Option<&Message<'a>> {
        match self.get(number)? {
            Value::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The messages in the repeated field `number`.
    pub fn messages(&self, number: u32) -> impl Iterator<Item = &Message<'a>> {
        self.all(number).filter_map(|value| match value {
            Value::Message(message) => Some(message),
            _ => None,
        })
    }

    /// Calls `each` with every text in it and below.
    pub fn texts(&self, each: &mut impl FnMut(&str)) {
        for (_, value) in &self.0 {
            match value {
                Value::Text(text) | Value::Symbol(text) => each(text),
                Value::Message(message) => message.texts(each),
                Value::Int(_) | Value::Float(_) => {}
            }
        }
    }
}

/// How much was met that a descriptor does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Fields, passed over.
    pub fields: u64,
    /// Values of enums, kept.
    pub symbols: u64,
}

/// The name of an enum's value, counted where the type does not have it.
fn symbol<'a>(of: &Enumeration, number: i32, unknown: &mut Unknown) -> Value<'a> {
    match of.name_of(number) {
        Some(name) => Value::Symbol(Cow::Borrowed(name)),
        None => {
            unknown.symbols += 1;
            Value::Symbol(Cow::Owned(number.to_string()))
        }
    }
}
