//! Protobuf messages of a type that a file describes: a descriptor set, as `protoc --descriptor_set_out` writes it.
//!
//! A message becomes the JSON object of Protobuf's own mapping
//! (<https://protobuf.dev/programming-guides/json/>), but for one thing: 64-bit integers are numbers and not texts, so that
//! whoever queries the object can count with them. Members are named in lowerCamelCase.

use std::fmt;
use std::path::{Path, PathBuf};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions, Value};
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
#[derive(Clone, PartialEq)]
pub struct DescribedType(MessageDescriptor);

impl fmt::Debug for DescribedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DescribedType").field(&self.0.full_name()).finish()
    }
}

impl DescribedType {
    /// The type `name`, with its package (`fleet.v1.Position`), of the descriptor set in a file.
    ///
    /// # Errors
    /// See [`DescriptorError`].
    pub fn load(path: &Path, name: &str) -> Result<Self, DescriptorError> {
        let path = path.to_owned();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) => return Err(DescriptorError::Unreadable { path, cause }),
        };
        let pool = match DescriptorPool::decode(&*bytes) {
            Ok(pool) => pool,
            Err(cause) => return Err(DescriptorError::NoSet { path, cause: cause.to_string() }),
        };
        pool.get_message_by_name(name).map(DescribedType).ok_or_else(|| {
            let known = pool.all_messages().filter(|of| !of.is_map_entry());
            let known = known.map(|of| of.full_name().to_owned()).collect();
            DescriptorError::NoType { path, name: name.to_owned(), known }
        })
    }

    /// Its name, with its package.
    pub fn name(&self) -> &str {
        self.0.full_name()
    }

    /// Appends the message in `bytes` as a JSON object; gives the number of its fields that the type does not have, which are
    /// left out.
    ///
    /// # Errors
    /// Why the bytes are no such message, or one that has no JSON form.
    pub fn write_json(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<u64, String> {
        let message = DynamicMessage::decode(self.0.clone(), bytes).map_err(|error| error.to_string())?;
        let options = SerializeOptions::new().stringify_64_bit_integers(false);
        let mut writer = serde_json::Serializer::new(out);
        message.serialize_with_options(&mut writer, &options).map_err(|error| error.to_string())?;
        Ok(unknown_in(&message))
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
