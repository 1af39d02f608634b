//! What holds of any bytes that are read as a message, as one check for fuzzing and property tests.

use std::fmt::Write;

use serde_json::Value as Json;

use super::wire::{Fields, WireError};
use super::{Descriptor, Enumeration, Kind, Message, Unknown, Value, json, many, one, quick, wire};

/// A type with a field of every kind, one of itself too. Numbers are those of GTFS-Realtime, so that any real feed is a seed.
pub(super) static FEED: Descriptor = Descriptor {
    name: "Feed",
    fields: &[one(1, "header", Kind::Message(&HEADER)), many(2, "entity", Kind::Message(&ENTITY))],
};

static HEADER: Descriptor = Descriptor {
    name: "Header",
    fields: &[
        one(1, "version", Kind::Text),
        one(2, "extent", Kind::Enum(&EXTENT)),
        one(3, "made_at", Kind::Uint64),
    ],
};

static EXTENT: Enumeration =
    Enumeration { name: "Extent", values: &[(0, "WHOLE"), (1, "PART"), (-7, "NOTHING")] };

static ENTITY: Descriptor = Descriptor {
    name: "Entity",
    fields: &[
        one(1, "id", Kind::Text),
        one(2, "is_deleted", Kind::Bool),
        one(3, "trip_update", Kind::Message(&UPDATE)),
        one(4, "vehicle", Kind::Message(&VEHICLE)),
        one(6, "shape", Kind::Opaque),
        one(7, "caused_by", Kind::Message(&ENTITY)),
    ],
};

static UPDATE: Descriptor = Descriptor {
    name: "Update",
    fields: &[
        many(2, "stop_time", Kind::Message(&STOP)),
        one(4, "made_at", Kind::Uint64),
        one(5, "delay_s", Kind::Int32),
    ],
};

static STOP: Descriptor = Descriptor {
    name: "Stop",
    fields: &[
        one(1, "sequence", Kind::Uint32),
        one(2, "arrival", Kind::Message(&ARRIVAL)),
        one(4, "id", Kind::Text),
        one(5, "extent", Kind::Enum(&EXTENT)),
    ],
};

static ARRIVAL: Descriptor =
    Descriptor { name: "Arrival", fields: &[one(1, "delay_s", Kind::Int32), one(2, "time", Kind::Int64)] };

static VEHICLE: Descriptor = Descriptor {
    name: "Vehicle",
    fields: &[one(2, "position", Kind::Message(&POSITION)), one(5, "made_at", Kind::Uint64)],
};

static POSITION: Descriptor = Descriptor {
    name: "Position",
    fields: &[
        one(1, "latitude", Kind::Float),
        one(2, "longitude", Kind::Float),
        one(4, "odometer_m", Kind::Double),
        one(5, "speed", Kind::Float),
    ],
};

/// What the reader by a table says to bytes.
pub(super) type Read<'a> = Result<(Message<'a>, Unknown), WireError>;

/// Reads a feed on the wire.
pub(super) fn read(bytes: &[u8]) -> Read<'_> {
    let mut unknown = Unknown::default();
    wire::read(&FEED, bytes, &mut unknown).map(|message| (message, unknown))
}

/// Asserts of bytes as a feed, on the wire and as JSON: what the reader by a descriptor set accepts, the one by a table reads
/// as the same; two halves are read as the whole is, and what is cut in a field is refused; what is written as JSON reads as what
/// it was; the quick reader of JSON says what the other one says. And, by being called, that nothing panics.
pub fn fuzz_protobuf(bytes: &[u8]) {
    let read = read(bytes);
    #[cfg(feature = "descriptors")]
    second::agrees(bytes, &read);
    if let Ok((message, unknown)) = &read {
        halves_are_the_whole(bytes, message, *unknown);
        survives_being_written(message);
    }
    if let Ok(json) = serde_json::from_slice(bytes) {
        let mut unknown = Unknown::default();
        let read = json::read(&FEED, &json, &mut unknown);
        quick_says_the_same(&FEED, bytes, &read, unknown);
        if let Ok(message) = read {
            survives_being_written(&message);
        }
    }
}

/// What the quick reader of JSON accepts, the other one reads as the same.
pub(super) fn quick_says_the_same(
    of: &'static Descriptor,
    text: &[u8],
    read: &Result<Message<'_>, json::JsonError>,
    unknown: Unknown,
) {
    let mut met = Unknown::default();
    let Some(quick) = quick::read(of, text, &mut met) else {
        assert_eq!(met, Unknown::default(), "nothing is counted where it gives up");
        return;
    };
    let message = read.as_ref().expect("the quick reader accepts nothing more");
    assert_eq!((shown(&in_order(quick)), met), (shown(&in_order(message.clone())), unknown));
}

/// The same with fields in the order of their numbers: one reader meets them as they stand, one in the order of their names.
fn in_order(mut message: Message<'_>) -> Message<'_> {
    message.0.sort_by_key(|(number, _)| *number);
    for (_, value) in &mut message.0 {
        if let Value::Message(inner) = value {
            *inner = in_order(std::mem::take(inner));
        }
    }
    message
}

/// A message as text in which a number that is none equals itself.
fn shown(message: &Message<'_>) -> String {
    let mut text = String::new();
    write!(text, "{message:?}").expect("a text takes everything");
    text
}

/// Protobuf's own law: the bytes of two messages in a row are those of the two merged.
fn halves_are_the_whole(bytes: &[u8], whole: &Message<'_>, unknown: Unknown) {
    let mut ends = vec![0];
    let mut fields = Fields::of(bytes);
    while fields.next().is_some() {
        ends.push(bytes.len() - fields.bytes_left());
    }
    // A few of them: each is read anew.
    for &end in ends.iter().take(16) {
        let (front, back) = bytes.split_at(end);
        let (mut both, first) = read(front).expect("whole fields of a message");
        let (more, second) = read(back).expect("whole fields of a message");
        for (number, value) in more.0 {
            both.put(FEED.field(number).expect("a field that was read"), value);
        }
        assert_eq!(shown(&both), shown(whole), "cut at {end}");
        let fields = first.fields + second.fields;
        assert_eq!(Unknown { fields, symbols: first.symbols + second.symbols }, unknown, "cut at {end}");
    }
    for len in bytes.len().saturating_sub(40)..bytes.len() {
        assert_eq!(read(&bytes[..len]).is_ok(), ends.contains(&len), "cut at {len}");
    }
}

pub(super) fn written(message: &Message<'_>) -> String {
    let mut text = String::new();
    json::write(&FEED, message, &mut text);
    text
}

fn survives_being_written(message: &Message<'_>) {
    let text = written(message);
    let mut stated: Json = serde_json::from_str(&text).expect("what is written is JSON");
    let mut unknown = Unknown::default();
    let again = json::read(&FEED, &stated, &mut unknown);
    quick_says_the_same(&FEED, text.as_bytes(), &again, unknown);
    let again = again.expect("what is written is of the type");
    assert_eq!(unknown.fields, 0, "only fields of the type are written");
    // A number that is infinite or none is written as null, and so is not there afterwards.
    remove_nulls(&mut stated);
    let found: Json = serde_json::from_str(&written(&again)).expect("what is written is JSON");
    assert_eq!(found, stated);
}

fn remove_nulls(json: &mut Json) {
    match json {
        Json::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Json::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// The same type by a descriptor set, whose reader shares nothing with the one by a table.
#[cfg(feature = "descriptors")]
pub(super) mod second {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    use prost_reflect::prost::Message as _;
    use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
    use prost_reflect::prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
        FileDescriptorProto, FileDescriptorSet,
    };

    use super::super::Field;
    use super::super::described::DescribedType;
    use super::*;

    static DESCRIBED: LazyLock<DescribedType> = LazyLock::new(|| {
        let mut file = FileDescriptorProto { name: Some("feed.proto".to_owned()), ..Default::default() };
        describe(&FEED, &mut file);
        let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
        DescribedType::of_set(PathBuf::from("feed.pb"), &set, FEED.name).expect("a set with the type")
    });

    /// Adds the type, and those of its fields, unless they are there.
    fn describe(of: &'static Descriptor, file: &mut FileDescriptorProto) {
        if file.message_type.iter().any(|known| known.name.as_deref() == Some(of.name)) {
            return;
        }
        let field = of.fields.iter().map(described_field).collect();
        file.message_type.push(DescriptorProto {
            name: Some(of.name.to_owned()),
            field,
            ..Default::default()
        });
        for field in of.fields {
            match field.kind {
                Kind::Message(of) => describe(of, file),
                Kind::Enum(of) => describe_enum(of, file),
                _ => {}
            }
        }
    }

    fn describe_enum(of: &'static Enumeration, file: &mut FileDescriptorProto) {
        if file.enum_type.iter().any(|known| known.name.as_deref() == Some(of.name)) {
            return;
        }
        let value = |(number, name): &(i32, &str)| EnumValueDescriptorProto {
            name: Some((*name).to_owned()),
            number: Some(*number),
            ..Default::default()
        };
        let value = of.values.iter().map(value).collect();
        file.enum_type.push(EnumDescriptorProto {
            name: Some(of.name.to_owned()),
            value,
            ..Default::default()
        });
    }

    fn described_field(field: &Field) -> FieldDescriptorProto {
        let (kind, of) = match field.kind {
            Kind::Int32 => (Type::Int32, None),
            Kind::Int64 => (Type::Int64, None),
            Kind::Uint32 => (Type::Uint32, None),
            Kind::Uint64 => (Type::Uint64, None),
            Kind::Bool => (Type::Bool, None),
            Kind::Float => (Type::Float, None),
            Kind::Double => (Type::Double, None),
            Kind::Text => (Type::String, None),
            Kind::Opaque => (Type::Bytes, None),
            Kind::Enum(of) => (Type::Enum, Some(of.name)),
            Kind::Message(of) => (Type::Message, Some(of.name)),
        };
        let label = if field.repeated { Label::Repeated } else { Label::Optional };
        FieldDescriptorProto {
            name: Some(field.name.to_owned()),
            number: Some(field.number as i32),
            r#type: Some(kind.into()),
            type_name: of.map(|name| format!(".{name}")),
            label: Some(label.into()),
            ..Default::default()
        }
    }

    /// What the reader by the descriptor set makes of bytes, and how many fields it does not know.
    pub(in super::super) fn described(bytes: &[u8]) -> Result<(Vec<u8>, u64), String> {
        let mut text = Vec::new();
        let unknown = DESCRIBED.write_json(bytes, &mut text)?;
        Ok((text, unknown))
    }

    /// It accepts less: a field whose value has another wire type is an error to it, and no field that nobody knows. What it
    /// accepts is to be the same.
    pub(super) fn agrees(bytes: &[u8], read: &Read<'_>) {
        let Ok((text, unknown)) = described(bytes) else { return };
        let (message, met) = match read {
            Ok(read) => read,
            // It goes one level deeper.
            Err(WireError::Depth) => return,
            Err(error) => panic!("{error}, and yet it is {}", String::from_utf8_lossy(&text)),
        };
        let json = serde_json::from_slice(&text).expect("what is written is JSON");
        let same = json::read(&FEED, &json, &mut Unknown::default()).expect("a message of the type");
        assert_eq!(written(&same), written(message));
        assert_eq!(met.fields, unknown);
    }
}
