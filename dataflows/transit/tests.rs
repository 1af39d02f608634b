use std::sync::LazyLock;

use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use tidegate::decode::Reason;
use tidegate::decode::protobuf::described::DescribedType;
use tidegate::decode::protobuf::wire::{self, Fields, Raw};
use tidegate::decode::protobuf::{Unknown, json};
use tidegate::ingest::Decode;
use tidegate::record::{Headers, KafkaTime, Record, Value};

use super::gtfs::{ENTITY, HEADER};
use super::*;

/// What came of an event: its id, the letter's payload, its time or why not.
type Seen = (Option<String>, Option<Vec<u8>>, Result<i64, Reason>);

fn all(config: &Config, payload: &[u8]) -> Vec<Seen> {
    let mut decoder = TransitDecoder::new(config);
    let record = Record {
        offset: 0,
        kafka_time: KafkaTime::Create(5_000),
        key: None,
        value: Some(Value::exact(payload)),
        headers: Headers::default(),
    };
    let mut seen = Vec::new();
    decoder.decode_each(&record, |part, event| {
        let id = part.id.map(|id| String::from_utf8(id.to_vec()).unwrap());
        let time = event.map(|event| TransitDecoder::event_time_us(&event)).map_err(|why| why.reason);
        seen.push((id, part.alone.map(|alone| alone()), time));
    });
    seen
}

fn times(payload: &[u8]) -> Vec<Result<i64, Reason>> {
    all(&Config::default(), payload).into_iter().map(|(_, _, time)| time).collect()
}

#[test]
fn entity_has_its_own_time_else_the_headers_else_kafkas() {
    let payload = br#"{"header":{"timestamp":7},"entity":[
        {"id":"a","vehicle":{"timestamp":"9"}},{"id":"b","vehicle":{"timestamp":0}},{"id":"c","alert":{}}]}"#;
    assert_eq!(times(payload), [Ok(9_000_000), Ok(7_000_000), Ok(7_000_000)]);
    assert_eq!(times(br#"{"header":{"timestamp":0},"entity":[{"id":"b","vehicle":{}}]}"#), [Ok(5_000_000)]);
    assert_eq!(
        times(br#"{"header":{},"entity":[{"id":"b","tripUpdate":{"timestamp":3}}]}"#),
        [Ok(3_000_000)]
    );
}

#[test]
fn entity_that_cannot_be_used_is_alone_in_that() {
    let payload =
        br#"{"header":{"timestamp":7}, "entity":[{"id":"a"}, {"id":"b","vehicle":[]}, {"vehicle":{}}]}"#;
    let seen = all(&Config::default(), payload);
    let alone =
        |entity: &str| Some(format!(r#"{{"header":{{"timestamp":7}},"entity":[{entity}]}}"#).into_bytes());
    assert_eq!(seen[0], (Some("a".into()), alone(r#"{"id":"a"}"#), Ok(7_000_000)));
    assert_eq!(seen[1], (Some("b".into()), alone(r#"{"id":"b","vehicle":[]}"#), Err(Reason::Schema)));
    assert_eq!(seen[2], (Some(String::new()), alone(r#"{"vehicle":{}}"#), Err(Reason::Schema)));
    // The only entity of a record: the letter has the record as it came.
    let seen = all(&Config::default(), br#"{"header":{},"entity":[{"id":"b","vehicle":[]}]}"#);
    assert_eq!(seen, [(Some("b".into()), None, Err(Reason::Schema))]);
}

#[test]
fn both_forms_are_told_apart_by_the_first_byte_and_read_the_same() {
    let wire = b"\x0a\x07\x0a\x032.0\x18\x07\x12\x03\x0a\x01a\x12\x07\x0a\x01b\x22\x02\x28\x09";
    assert_eq!(times(wire), [Ok(7_000_000), Ok(9_000_000)]);
    assert_eq!(times(b"\n{}"), [Ok(5_000_000)]);
    let wire_only = Config { format: Format::Protobuf, ..Config::default() };
    assert_eq!(all(&wire_only, b"{}")[0].2, Err(Reason::Schema));
    let json_only = Config { format: Format::Json, ..Config::default() };
    assert_eq!(all(&json_only, wire)[0].2, Err(Reason::NotJson));
    let alone = all(&Config::default(), wire)[1].1.clone().unwrap();
    assert_eq!(times(&alone), [Ok(9_000_000)]);
}

#[test]
fn feed_with_a_header_of_123_bytes_is_not_taken_for_json() {
    let mut wire = b"\x0a\x7b\x0a\x772".to_vec();
    wire.extend_from_slice(&[b'.'; 118]);
    wire.extend_from_slice(b"\x18\x07\x12\x03\x0a\x01a");
    assert_eq!(times(&wire), [Ok(7_000_000)]);
    assert_eq!(times(b"\n{\"a\":"), [Err(Reason::NotJson)]);
}

#[test]
fn feed_without_entities_is_one_event_that_moves_nothing() {
    for payload in [&br#"{"header":{},"entity":[]}"#[..], b"\x0a\x00"] {
        assert_eq!(times(payload), [Ok(i64::MIN)]);
    }
}

#[test]
fn time_beyond_the_calendar_is_unreadable() {
    let of = |text: &str| {
        times(
            format!(r#"{{"header":{{}},"entity":[{{"id":"a","vehicle":{{"timestamp":{text}}}}}]}}"#)
                .as_bytes(),
        )
    };
    assert_eq!(of("253402300799"), [Ok(253_402_300_799_000_000)]);
    assert_eq!(of("253402300800"), [Err(Reason::Time)]);
    assert_eq!(of("\"18446744073709551615\""), [Err(Reason::Time)]);
    assert_eq!(of("-1"), [Err(Reason::Schema)]);
}

#[test]
fn other_objects_have_the_time_of_their_field() {
    let config = |unit| Config { time_field: Some("at".to_owned()), time_unit: unit, ..Config::default() };
    for (unit, text, expected) in [
        (TimeUnit::Seconds, "7", Ok(7_000_000)),
        (TimeUnit::Milliseconds, "7", Ok(7_000)),
        (TimeUnit::Microseconds, "7", Ok(7)),
        (TimeUnit::Rfc3339, "\"1970-01-01T00:00:07Z\"", Ok(7_000_000)),
        (TimeUnit::Seconds, "null", Ok(5_000_000)),
        (TimeUnit::Seconds, "\"7\"", Err(Reason::Time)),
        (TimeUnit::Rfc3339, "7", Err(Reason::Time)),
        (TimeUnit::Seconds, "9223372036854775807", Err(Reason::Time)),
    ] {
        let seen = all(&config(unit), format!("{{\"at\":{text}}}").as_bytes());
        assert_eq!(seen[0].2, expected, "{unit:?} {text}");
    }
    assert_eq!(all(&config(TimeUnit::Seconds), b"{}")[0].2, Ok(5_000_000));
}

/// `message fleet.v1.Position { string vehicle = 1; int64 recorded_at = 2; google.protobuf.Timestamp at = 3; uint32 count = 4; }`.
fn described(dir: &tempfile::TempDir) -> DescribedType {
    let field = |number: i32, name: &str, kind: Type, of: Option<&str>| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind.into()),
        type_name: of.map(str::to_owned),
        label: Some(Label::Optional.into()),
        ..Default::default()
    };
    let message = |name: &str, field: Vec<FieldDescriptorProto>| DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..Default::default()
    };
    let file = |name: &str, package: &str, of: DescriptorProto| FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some(package.to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![of],
        ..Default::default()
    };
    let timestamp = "google/protobuf/timestamp.proto";
    let seconds = vec![field(1, "seconds", Type::Int64, None), field(2, "nanos", Type::Int32, None)];
    let position = vec![
        field(1, "vehicle", Type::String, None),
        field(2, "recorded_at", Type::Int64, None),
        field(3, "at", Type::Message, Some(".google.protobuf.Timestamp")),
        field(4, "count", Type::Uint32, None),
    ];
    let mut of_fleet = file("fleet.proto", "fleet.v1", message("Position", position));
    of_fleet.dependency.push(timestamp.to_owned());
    let files = vec![file(timestamp, "google.protobuf", message("Timestamp", seconds)), of_fleet];
    let path = dir.path().join("fleet.pb");
    std::fs::write(&path, FileDescriptorSet { file: files }.encode_to_vec()).unwrap();
    DescribedType::load(&path, "fleet.v1.Position").unwrap()
}

#[test]
fn message_of_a_described_type_is_the_object_that_it_stands_for() {
    let dir = tempfile::tempdir().unwrap();
    let message = Some(described(&dir));
    let (time_field, time_unit) = (Some("recordedAt".to_owned()), TimeUnit::Milliseconds);
    let config = Config { message, time_field, time_unit, ..Config::default() };
    let bytes = b"\x0a\x02v7\x10\x88\x27\x1a\x02\x08\x07\x28\x01";
    let board = std::sync::Arc::default();
    let mut decoder = TransitDecoder::new(&config).watched(&board);
    let record = Record {
        offset: 0,
        kafka_time: KafkaTime::Create(9),
        key: None,
        value: Some(Value::exact(bytes)),
        headers: Headers::default(),
    };
    let Ok(TransitEvent::Other { time_us, payload }) = decoder.decode(&record) else { panic!("no object") };
    let text = std::str::from_utf8(payload).unwrap();
    assert_eq!(text, r#"{"vehicle":"v7","recordedAt":5000,"at":"1970-01-01T00:00:07Z"}"#);
    assert_eq!(time_us, 5_000_000);
    // The field with number 5 is nobody's.
    assert_eq!(decoder.unknown().get().fields, 1);
    let stated = board.snapshot(0).values;
    assert_eq!((stated.len(), stated[0].labels["kind"].as_str(), stated[0].value), (1, "field", 1.0));

    let rfc = Config { time_field: Some("at".to_owned()), time_unit: TimeUnit::Rfc3339, ..config.clone() };
    assert_eq!(all(&rfc, bytes)[0].2, Ok(7_000_000));
    // JSON is read beside them, and what is neither is refused.
    assert_eq!(all(&config, b" {\"recordedAt\":3}")[0].2, Ok(3_000));
    assert_eq!(all(&config, b"\x0a\x7fshort")[0].2, Err(Reason::Schema));
    assert_eq!(all(&config, b"hello")[0].2, Err(Reason::Schema));
    // Messages may begin as JSON does: a newline and a brace, with a vehicle of 123 bytes; a space and a brace, with a count of
    // 123. What is JSON stays it.
    assert_eq!(all(&config, b"\x20\x7b")[0].2, Ok(5_000_000));
    let long = [b"\n{".as_slice(), &[b'x'; 123], b"\x10\x01"].concat();
    assert_eq!(all(&config, &long)[0].2, Ok(1_000));
    assert_eq!(all(&config, b"\n{\"recordedAt\":4}")[0].2, Ok(4_000));
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_a_dead_letter(bytes in prop::collection::vec(any::<u8>(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { message: Some(described(&dir)), ..Config::default() };
        let seen = all(&config, &bytes);
        prop_assert_eq!(seen.len(), 1);
        prop_assert_eq!(&seen, &all(&config, &bytes));
    }
}

/// A header, two vehicles and a trip, as a feed has them.
static FEED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/protobuf/feed.pb")).unwrap()
});

/// A feed on the wire as the JSON that stands for it; none where a part of it is no message.
fn as_json(feed: &[u8]) -> Option<Vec<u8>> {
    let (mut header, mut entities) = (None, Vec::new());
    for field in Fields::of(feed) {
        let (of, bytes) = match field.ok()? {
            (1, Raw::Bytes(bytes)) => (&HEADER, bytes),
            (2, Raw::Bytes(bytes)) => (&ENTITY, bytes),
            _ => continue,
        };
        let mut text = String::new();
        json::write(of, &wire::read(of, bytes, &mut Unknown::default()).ok()?, &mut text);
        if of.name == HEADER.name { header = Some(text) } else { entities.push(text) }
    }
    Some(format!(r#"{{"header":{},"entity":[{}]}}"#, header?, entities.join(",")).into_bytes())
}

fn ids_and_times(config: &Config, payload: &[u8]) -> Vec<(Option<String>, Result<i64, Reason>)> {
    all(config, payload).into_iter().map(|(id, _, time)| (id, time)).collect()
}

#[test]
fn a_real_feed_and_its_json_have_the_same_entities() {
    let seen = ids_and_times(&Config::default(), &FEED);
    let vehicles_and_a_trip = ["v0", "v2", "t0"].map(|id| Some(id.to_owned()));
    assert!(seen.iter().map(|(id, _)| id.clone()).eq(vehicles_and_a_trip), "{seen:?}");
    assert!(seen.iter().all(|(_, time)| time.is_ok()), "{seen:?}");
    assert_eq!(ids_and_times(&Config::default(), &as_json(&FEED).unwrap()), seen);
}

proptest! {
    #[test]
    fn a_feed_with_some_bytes_changed_is_judged_entity_by_entity_in_either_form(
        changes in prop::collection::vec((0..FEED.len(), any::<u8>()), 1..4),
    ) {
        let mut feed = FEED.to_vec();
        for (at, byte) in changes {
            feed[at] = byte;
        }
        let as_wire = Config { format: Format::Protobuf, ..Config::default() };
        for (id, alone, time) in all(&as_wire, &feed) {
            // In a record of its own an entity is what it was among others.
            if let Some(alone) = alone {
                prop_assert_eq!(all(&as_wire, &alone), [(id, None, time)]);
            }
        }
        if let Some(text) = as_json(&feed) {
            let as_text = Config { format: Format::Json, ..Config::default() };
            prop_assert_eq!(ids_and_times(&as_text, &text), ids_and_times(&as_wire, &feed));
        }
    }
}

#[test]
fn file_that_does_not_describe_the_type_is_told_with_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    described(&dir);
    let load =
        |name: &str, of: &str| DescribedType::load(&dir.path().join(name), of).unwrap_err().to_string();
    assert!(load("fleet.pb", "Position").ends_with("it has google.protobuf.Timestamp, fleet.v1.Position"));
    assert!(load("fleet.pb", "google.protobuf.Timestamp").contains("Protobuf's own types"));
    assert!(load("none.pb", "Position").contains("none.pb\" cannot be read"));
    std::fs::write(dir.path().join("text.pb"), "syntax = \"proto3\";").unwrap();
    assert!(load("text.pb", "Position").contains("no whole descriptor set"));
}

#[test]
fn records_that_are_no_feed_are_refused_with_the_first_reason() {
    for (payload, reason) in [
        (&b""[..], Reason::Tombstone),
        (b"{\"a\":\"\xff\"}", Reason::NotUtf8),
        (b"{\"a\":1,\"a\":2}", Reason::NotJson),
        (b"hello", Reason::Schema),
        (b"\x12\x00", Reason::Schema),
        (b"{\"header\":{},\"entity\":7}", Reason::Schema),
    ] {
        assert_eq!(times(payload), [Err(reason)], "{payload:?}");
    }
}

#[test]
fn a_feed_behind_the_magic_byte_and_id_of_a_schema_registry_is_refused() {
    assert!(times(&FEED).iter().all(Result::is_ok));
    for id in [0_u32, 7, u32::MAX] {
        let framed = [&[0], &id.to_be_bytes()[..], &[0], &FEED[..]].concat();
        assert_eq!(times(&framed), [Err(Reason::Schema)], "{id}");
    }
}

#[test]
fn a_text_with_nul_and_an_id_that_is_too_long_are_refused() {
    let of =
        |entity: &str| times(format!(r#"{{"header":{{"timestamp":7}},"entity":[{entity}]}}"#).as_bytes());
    let alert = |text: &str| {
        of(&format!(r#"{{"id":"a","alert":{{"header_text":{{"translation":[{{"text":"{text}"}}]}}}}}}"#))
    };
    let (longest, too_long) = ("x".repeat(2048), "x".repeat(2049));
    for (entity, verdict) in [
        (r#"{"id":"a\u0000"}"#.to_owned(), Err(Reason::Schema)),
        (r#"{"id":"a","vehicle":{"trip":{"route_id":"\u0000"}}}"#.to_owned(), Err(Reason::Schema)),
        (format!(r#"{{"id":"{longest}"}}"#), Ok(7_000_000)),
        (format!(r#"{{"id":"{too_long}"}}"#), Err(Reason::Schema)),
        (format!(r#"{{"id":"a","vehicle":{{"trip":{{"route_id":"{too_long}"}}}}}}"#), Err(Reason::Schema)),
    ] {
        assert_eq!(of(&entity), [verdict], "{entity}");
    }
    // What an alert says is no key, and may be long; a table of PostgreSQL could not hold its U+0000 either.
    assert_eq!(alert(&too_long), [Ok(7_000_000)]);
    assert_eq!(alert("\\u0000"), [Err(Reason::Schema)]);
}

#[test]
fn every_output_is_drawn_and_has_a_name() {
    let names = outputs("dev_topic");
    let drawn: Vec<String> = topology(&Config::default()).nodes.into_iter().map(|node| node.name).collect();
    assert!(names.iter().all(|name| drawn.contains(name)), "{drawn:?}");
}
