use tidegate::decode::Reason;
use tidegate::ingest::Decode;
use tidegate::record::{Headers, KafkaTime, Record, Value};

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
fn every_output_is_drawn_and_has_a_name() {
    let names = outputs("dev_topic");
    let drawn: Vec<String> = topology(&Config::default()).nodes.into_iter().map(|node| node.name).collect();
    assert!(names.iter().all(|name| drawn.contains(name)), "{drawn:?}");
}
