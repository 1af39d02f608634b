//! Protobuf messages of a type that a file describes: a descriptor set, as `protoc --descriptor_set_out` writes it.
//!
//! A message becomes the JSON object of Protobuf's own mapping (<https://protobuf.dev/programming-guides/json/>), its members in the
//! order of their fields' numbers and those of a map in the order of its keys, so that the same bytes are the same text. Two things
//! differ: 64-bit integers are numbers and not texts, so that whoever queries the object can count with them, and an `Any` stays
//! packed (`typeUrl`, `value`).

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value,
};
use serde::Serialize;
use thiserror::Error;

/// Why a file does not describe a type.
#[derive(Debug, Error)]
pub enum DescriptorError {
    /// The file cannot be read.
    #[error("{path:?} cannot be read: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is no descriptor set, or one without the files that it imports.
    #[error(
        "{path:?} is no whole descriptor set: {cause}; make it by protoc --include_imports --descriptor_set_out"
    )]
    NoSet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The type is Protobuf's own, whose JSON form need not be an object.
    #[error("{name:?} is one of Protobuf's own types: name a message type that has it as a field")]
    WellKnown {
        /// The name that was asked for.
        name: String,
    },
    /// It does not hold the type.
    #[error("{path:?} describes no message type {name:?}; it has {}", .known.join(", "))]
    NoType {
        /// The file.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// The types that are there.
        known: Vec<String>,
    },
}

/// A message type of a descriptor set.
#[derive(Clone)]
pub struct DescribedType {
    descriptor: MessageDescriptor,
    /// Of the file.
    crc32: u32,
}

/// The type's name and the checksum of the file that describes it: another text is another type.
impl fmt::Debug for DescribedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DescribedType").field(&self.name()).field(&self.crc32).finish()
    }
}

impl DescribedType {
    /// The type `name`, with its package (`fleet.v1.Position`), of the descriptor set in a file.
    ///
    /// # Errors
    /// See [`DescriptorError`].
    pub fn load(path: &Path, name: &str) -> Result<Self, DescriptorError> {
        let path = path.to_owned();
        if name.starts_with("google.protobuf.") {
            return Err(DescriptorError::WellKnown { name: name.to_owned() });
        }
        match std::fs::read(&path) {
            Ok(set) => Self::of_set(path, &set, name),
            Err(cause) => Err(DescriptorError::Unreadable { path, cause }),
        }
    }

    /// The type `name` of the descriptor set that the file at `path` holds.
    pub(super) fn of_set(path: PathBuf, set: &[u8], name: &str) -> Result<Self, DescriptorError> {
        let pool = match DescriptorPool::decode(set) {
            Ok(pool) => pool,
            Err(cause) => return Err(DescriptorError::NoSet { path, cause: cause.to_string() }),
        };
        let crc32 = crc32fast::hash(set);
        let found = pool.get_message_by_name(name).map(|descriptor| DescribedType { descriptor, crc32 });
        found.ok_or_else(|| {
            let known = pool.all_messages().filter(|of| !of.is_map_entry());
            let known = known.map(|of| of.full_name().to_owned()).collect();
            DescriptorError::NoType { path, name: name.to_owned(), known }
        })
    }

    /// Its name, with its package.
    pub fn name(&self) -> &str {
        self.descriptor.full_name()
    }

    /// Appends the message in `bytes` as a JSON object; gives the number of its fields that the type does not have, which are
    /// left out.
    ///
    /// # Errors
    /// Why the bytes are no such message, or one that has no JSON form.
    pub fn write_json(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<u64, String> {
        // Nested deeper than 100 levels it is refused, so that what follows may recurse.
        let message =
            DynamicMessage::decode(self.descriptor.clone(), bytes).map_err(|error| error.to_string())?;
        write_message(&message, out)?;
        Ok(unknown_in(&message))
    }
}

fn write_message(message: &DynamicMessage, out: &mut Vec<u8>) -> Result<(), String> {
    let of = message.descriptor();
    let only = || of.get_field(1).ok_or_else(|| format!("{} is not as Protobuf defines it", of.full_name()));
    match of.full_name() {
        "google.protobuf.Timestamp" | "google.protobuf.Duration" | "google.protobuf.FieldMask" => message
            .serialize(&mut serde_json::Serializer::new(out))
            .map_err(|error| format!("{}: {error}", of.full_name())),
        "google.protobuf.DoubleValue"
        | "google.protobuf.FloatValue"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.Int32Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.BoolValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue"
        | "google.protobuf.ListValue"
        | "google.protobuf.Struct" => write_value(&only()?, &message.get_field(&only()?), out),
        "google.protobuf.Value" => match of.fields().find(|field| message.has_field(field)) {
            None => write_text(out, "null"),
            Some(field) => write_value(&field, &message.get_field(&field), out),
        },
        _ => {
            let there = of.fields().filter(|field| message.has_field(field));
            let members = there.map(|field| (field.json_name().to_owned(), field));
            write_between(b"{}", members, out, |(name, field), out| {
                write_json(out, &name)?;
                out.push(b':');
                write_value(&field, &message.get_field(&field), out)
            })
        }
    }
}

fn write_value(field: &FieldDescriptor, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::Bool(value) => write_json(out, value),
        Value::I32(value) => write_json(out, value),
        Value::I64(value) => write_json(out, value),
        Value::U32(value) => write_json(out, value),
        Value::U64(value) => write_json(out, value),
        Value::F32(value) if value.is_finite() => write_json(out, value),
        Value::F32(value) => write_json(out, not_finite(f64::from(*value))),
        Value::F64(value) if value.is_finite() => write_json(out, value),
        Value::F64(value) => write_json(out, not_finite(*value)),
        Value::String(text) => write_json(out, text),
        Value::Bytes(bytes) => write_json(out, &STANDARD.encode(bytes)),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(of) => write_enum(&of, *number, out),
            _ => write_json(out, number),
        },
        Value::Message(message) => write_message(message, out),
        Value::List(values) => {
            write_between(b"[]", values.iter(), out, |value, out| write_value(field, value, out))
        }
        Value::Map(values) => {
            let Kind::Message(entry) = field.kind() else {
                return Err(format!("{} is no map", field.full_name()));
            };
            let field = entry.map_entry_value_field();
            let mut entries: Vec<_> = values.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            write_between(b"{}", entries.into_iter(), out, |(key, value), out| {
                write_json(out, &name_of(key))?;
                out.push(b':');
                write_value(&field, value, out)
            })
        }
    }
}

fn write_enum(of: &EnumDescriptor, number: i32, out: &mut Vec<u8>) -> Result<(), String> {
    match of.get_value(number) {
        _ if of.full_name() == "google.protobuf.NullValue" => write_text(out, "null"),
        Some(value) => write_json(out, value.name()),
        None => write_json(out, &number),
    }
}

/// Writes `items` with commas between, and what they stand between.
fn write_between<T>(
    [open, close]: &[u8; 2],
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    mut each: impl FnMut(T, &mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    out.push(*open);
    for (number, item) in items.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        each(item, out)?;
    }
    out.push(*close);
    Ok(())
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), String> {
    serde_json::to_writer(out, value).map_err(|error| error.to_string())
}

fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), String> {
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn not_finite(value: f64) -> &'static str {
    match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

fn name_of(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn unknown_in(message: &DynamicMessage) -> u64 {
    fn of_value(value: &Value) -> u64 {
        match value {
            Value::Message(message) => unknown_in(message),
            Value::List(values) => values.iter().map(of_value).sum(),
            Value::Map(values) => values.values().map(of_value).sum(),
            _ => 0,
        }
    }
    let nested: u64 = message.fields().map(|(_, value)| of_value(value)).sum();
    message.unknown_fields().count() as u64 + nested
}
