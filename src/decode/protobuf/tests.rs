use proptest::collection::vec;
use proptest::prelude::*;

use super::fuzz::{fuzz_protobuf, quick_says_the_same, read, written};
use super::*;

const COLOUR: Enumeration = Enumeration { name: "Colour", values: &[(0, "RED"), (1, "BLUE")] };
const INNER: Descriptor = Descriptor {
    name: "Inner",
    fields: &[
        Field { number: 1, name: "short_name", kind: Kind::Text, repeated: false },
        Field { number: 2, name: "speed", kind: Kind::Float, repeated: false },
    ],
};
const OUTER: Descriptor = Descriptor {
    name: "Outer",
    fields: &[
        Field { number: 1, name: "id", kind: Kind::Text, repeated: false },
        Field { number: 2, name: "at_time", kind: Kind::Uint64, repeated: false },
        Field { number: 3, name: "delay", kind: Kind::Int32, repeated: false },
        Field { number: 4, name: "colour", kind: Kind::Enum(&COLOUR), repeated: false },
        Field { number: 5, name: "inner", kind: Kind::Message(&INNER), repeated: true },
        Field { number: 6, name: "last_inner", kind: Kind::Message(&INNER), repeated: false },
        Field { number: 7, name: "is_on", kind: Kind::Bool, repeated: false },
    ],
};

fn of_json(text: &str) -> (Result<Message<'static>, json::JsonError>, Unknown) {
    let mut unknown = Unknown::default();
    let message = json::read(&OUTER, &serde_json::from_str(text).unwrap(), &mut unknown);
    quick_says_the_same(&OUTER, text.as_bytes(), &message, unknown);
    (message, unknown)
}

fn of_wire(bytes: &[u8]) -> (Result<Message<'_>, wire::WireError>, Unknown) {
    let mut unknown = Unknown::default();
    let message = wire::read(&OUTER, bytes, &mut unknown);
    (message, unknown)
}

#[test]
fn both_forms_and_styles_give_the_same_message() {
    let wire = b"\x0a\x01x\x10\x07\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x01\x2a\x08\x0a\x01a\x15\x00\x00\x00\x3f\x38\x01";
    let (of_wire, _) = of_wire(wire);
    for text in [
        r#"{"id":"x","at_time":7,"delay":-1,"colour":"BLUE","inner":[{"short_name":"a","speed":0.5}],"is_on":true}"#,
        r#"{"id":"x","atTime":"7","delay":"-1","colour":1,"inner":[{"shortName":"a","speed":"0.5"}],"isOn":true,"lastInner":null}"#,
    ] {
        // A JSON object has its members in no order.
        let mut read = of_json(text).0.unwrap();
        read.0.sort_by_key(|(number, _)| *number);
        assert_eq!(read, *of_wire.as_ref().unwrap());
    }
    let mut text = String::new();
    json::write(&OUTER, &of_wire.unwrap(), &mut text);
    let written = r#"{"id":"x","at_time":7,"delay":-1,"colour":"BLUE","inner":[{"short_name":"a","speed":0.5}],"is_on":true}"#;
    assert_eq!(text, written);
}

#[test]
fn unknown_fields_are_counted_and_unknown_symbols_kept() {
    let (message, unknown) = of_wire(b"\x20\x63\xca\x3e\x02hi\xf3\x01\x08\x01\xf4\x01");
    assert_eq!(message.unwrap().text(4), Some("99"));
    assert_eq!(unknown, Unknown { fields: 2, symbols: 1 });
    let (message, unknown) = of_json(r#"{"colour":"MAUVE","shape":1}"#);
    assert_eq!(message.unwrap().text(4), Some("MAUVE"));
    assert_eq!(unknown, Unknown { fields: 1, symbols: 1 });
}

#[test]
fn messages_that_stand_there_twice_are_merged_and_scalars_replaced() {
    let (message, _) = of_wire(b"\x0a\x01x\x32\x03\x0a\x01a\x0a\x01y\x32\x05\x15\x00\x00\x00\x3f");
    let message = message.unwrap();
    assert_eq!(message.text(1), Some("y"));
    let inner = message.message(6).unwrap();
    assert_eq!((inner.text(1), inner.float(2)), (Some("a"), Some(0.5)));
}

#[test]
fn quick_reader_leaves_what_is_unusual_to_the_other() {
    let quick = |text: &str| {
        let mut unknown = Unknown::default();
        quick::read(&OUTER, text.as_bytes(), &mut unknown).map(|message| (message.int(2), unknown))
    };
    let met = Unknown { fields: 2, symbols: 0 };
    assert_eq!(quick(r#"{"x":1,"atTime":"7","y":null,"delay":null}"#), Some((Some(7), met)));
    for text in [
        r#"{"at_time":7,"atTime":7}"#,
        r#"{"at_time":7,"at_time":null}"#,
        r#"{"x":1,"x":2}"#,
        r#"{"at_time":7.0}"#,
        r#"{"at_time":"7e0"}"#,
        r#"{"at_time":"07"}"#,
        r#"{"at_time":-0}"#,
        r#"{"at_time":18446744073709551615}"#,
        r#"{"colour":"MAUVE"}"#,
        r#"{"inner":[null]}"#,
        r#"{"inner":[{"speed":"1.5"}]}"#,
        r#"{} {}"#,
        r#"[]"#,
    ] {
        assert_eq!(quick(text), None, "{text}");
    }
}

/// JSON that might be an [`OUTER`]: its names in both styles and others, with values of every kind, written in every way.
fn any_outer() -> impl Strategy<Value = String> {
    let names =
        ["id", "at_time", "atTime", "delay", "colour", "inner", "last_inner", "lastInner", "is_on", "isOn"];
    let names =
        names.into_iter().chain(["short_name", "shortName", "speed", "x", "\\u0078"]).collect::<Vec<_>>();
    let plain =
        ["null", "true", "0", "-0", "7", "-7", "7.0", "7e0", "1.5", "1e39", "2147483648", "-2147483649"];
    let large = [
        "18446744073709551615",
        "9223372036854775807",
        "9223372036854775808",
        "1e300",
        "0.1",
        "\"7\"",
        "\"-7\"",
    ];
    let texts = [
        "\"07\"",
        "\"-0\"",
        "\"1.5\"",
        "\"NaN\"",
        "\"\"",
        "\"BLUE\"",
        "\"MAUVE\"",
        "\"a\\n\"",
        "\"\\u00e9\"",
        "\"+7\"",
    ];
    let scalar = prop::sample::select([&plain[..], &large, &texts].concat()).prop_map(str::to_owned);
    scalar.prop_recursive(3, 24, 5, move |value| {
        let member = (prop::sample::select(names.clone()), value.clone());
        let object = vec(member, 0..5).prop_map(|members| {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        });
        prop_oneof![3 => object, 1 => vec(value, 0..3).prop_map(|values| format!("[{}]", values.join(" ,")))]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn quick_reader_says_what_the_other_says_of_any_json(text in any_outer()) {
        // It is compared where it is read.
        let (read, _) = of_json(&text);
        prop_assert!(read.is_ok() || quick::read(&OUTER, text.as_bytes(), &mut Unknown::default()).is_none());
    }
}

#[test]
fn wrong_types_in_json_name_the_member() {
    for (text, member) in [
        (r#"{"id":7}"#, "id"),
        (r#"{"at_time":-1}"#, "at_time"),
        (r#"{"at_time":1.5}"#, "at_time"),
        (r#"{"delay":2147483648}"#, "delay"),
        (r#"{"delay":" 1"}"#, "delay"),
        (r#"{"colour":true}"#, "colour"),
        (r#"{"inner":{}}"#, "inner"),
        (r#"{"inner":[null]}"#, "Inner"),
        (r#"{"last_inner":[]}"#, "Inner"),
        (r#"{"inner":[{"speed":1e39}]}"#, "speed"),
        (r#"{"is_on":1}"#, "is_on"),
    ] {
        assert_eq!(of_json(text).0.unwrap_err().member, member, "{text}");
    }
}

#[test]
fn a_field_of_another_wire_type_is_one_that_nobody_knows() {
    // A text, an integer, an enum, a message and a truth value, each as what it is not.
    for bytes in
        [&b"\x08\x07"[..], b"\x12\x017", b"\x25\x01\x00\x00\x00", b"\x30\x01", b"\x39\x01\0\0\0\0\0\0\0"]
    {
        let (message, unknown) = of_wire(bytes);
        assert_eq!(message, Ok(Message::default()), "{bytes:?}");
        assert_eq!(unknown, Unknown { fields: 1, symbols: 0 }, "{bytes:?}");
        // It takes nothing of a good one before it.
        let both = [b"\x0a\x01x\x10\x07\x20\x01\x38\x01", bytes].concat();
        let message = of_wire(&both).0.unwrap();
        let found = (message.text(1), message.int(2), message.text(4), message.int(7));
        assert_eq!(found, (Some("x"), Some(7), Some("BLUE"), Some(1)), "{bytes:?}");
    }
}

#[test]
fn numbers_that_are_none_are_read_and_are_no_value() {
    for text in ["NaN", "Infinity", "-Infinity"] {
        let (message, _) = of_json(&format!(r#"{{"inner":[{{"short_name":"a","speed":"{text}"}}]}}"#));
        let message = message.unwrap();
        let inner = message.messages(5).next().unwrap();
        assert!(matches!(inner.get(2), Some(Value::Float(value)) if !value.is_finite()), "{text}");
        assert_eq!((inner.text(1), inner.float(2)), (Some("a"), None), "{text}");
    }
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bytes = [b"\x32\x08\x0a\x01a\x15".as_slice(), &value.to_le_bytes()].concat();
        let message = of_wire(&bytes).0.unwrap();
        let inner = message.message(6).unwrap();
        assert_eq!((inner.text(1), inner.float(2)), (Some("a"), None), "{value}");
    }
}

#[test]
fn texts_that_are_no_numbers_of_the_mapping_are_refused() {
    for text in [
        "nan",
        "-NaN",
        "+NaN",
        "+Infinity",
        "infinity",
        "inf",
        "INF",
        "1.#INF",
        "+1",
        ".5",
        "5.",
        "01",
        "0x1",
        "1_0",
        "1e400",
        "1e",
        " 1",
        "1 ",
        "",
        "-",
        "\u{661}",
    ] {
        let of_float = of_json(&format!(r#"{{"inner":[{{"speed":"{text}"}}]}}"#)).0;
        assert_eq!(of_float.unwrap_err().member, "speed", "{text:?}");
    }
    for text in ["NaN", "Infinity", "-Infinity", "+1", "01", "0x1", "1e400", "1.5", " 1", ""] {
        for member in ["delay", "at_time"] {
            let of_integer = of_json(&format!(r#"{{"{member}":"{text}"}}"#)).0;
            assert_eq!(of_integer.unwrap_err().member, member, "{text:?}");
        }
    }
}

#[test]
fn broken_wire_is_an_error() {
    for bytes in [
        &b"\x0a"[..],
        b"\x0a\x02x",
        b"\x80",
        b"\x00",
        b"\x07",
        b"\x0a\x01\xff",
        b"\x1b",
        b"\x24",
        b"\x15\x00",
    ] {
        assert!(of_wire(bytes).0.is_err(), "{bytes:?}");
    }
}

/// A feed with a field of every kind; one that nobody knows and a group in its header.
const FEED: &[u8] = b"\x0a\x1a\x0a\x032.0\x10\xf9\xff\xff\xff\xff\xff\xff\xff\xff\x01\x18\x07\x4a\x02hi\x5b\x08\x01\x5c\
    \x12\x42\x0a\x01a\x10\x01\x1a\x1d\x12\x0e\x08\x05\x12\x04\x08\x03\x10\x09\x22\x02s1\x28c\x20\x0b\x28\
    \xfd\xff\xff\xff\xff\xff\xff\xff\xff\x01\x22\x17\x12\x13\x0d\x00\x00\x48\x42\x15\x00\x00\xc0\x7f\x21\x00\x00\x00\
    \x00\x00\x00\xf8\x3f\x28\x092\x01\xff\x3a\x00";

#[test]
fn a_feed_of_every_kind_survives_what_is_asserted_of_any_bytes() {
    fuzz_protobuf(FEED);
    let (feed, unknown) = read(FEED).unwrap();
    assert_eq!(unknown, Unknown { fields: 2, symbols: 1 });
    let text = concat!(
        r#"{"header":{"version":"2.0","extent":"NOTHING","made_at":7},"entity":[{"id":"a","is_deleted":true,"#,
        r#""trip_update":{"stop_time":[{"sequence":5,"arrival":{"delay_s":3,"time":9},"id":"s1","extent":"99"}],"#,
        r#""made_at":11,"delay_s":-3},"#,
        r#""vehicle":{"position":{"latitude":50.0,"longitude":null,"odometer_m":1.5},"made_at":9},"caused_by":{}}]}"#,
    );
    assert_eq!(written(&feed), text);
    fuzz_protobuf(text.as_bytes());
}

#[cfg(feature = "descriptors")]
#[test]
fn what_the_second_reader_says_is_compared() {
    let (text, unknown) = fuzz::second::described(FEED).unwrap();
    assert!(text.starts_with(br#"{"header":{"version":"2.0","extent":"NOTHING","madeAt":7}"#));
    assert_eq!(unknown, 2);
    // A varint where a message stands: refused there, a field that nobody knows here.
    assert!(fuzz::second::described(b"\x08\x07").is_err());
    assert_eq!(read(b"\x08\x07").unwrap().1.fields, 1);
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn delimited(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len() as u64), bytes].concat()
}

/// Bytes that are fields, mostly of a feed: any number of a small range, with any value, others nested in them.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![40 => 1..8_u64, 1 => Just(2047_u64), 1 => Just((1 << 29) - 1)];
    let integer = prop_oneof![any::<u64>(), 0..4_u64, (0..4_u64).prop_map(|value| value.wrapping_neg())];
    let text =
        prop_oneof![4 => "[a-z\"\\\\\u{e9}]{0,3}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..3)];
    let single = prop_oneof![any::<f32>(), Just(f32::NAN), Just(-0.0), Just(f32::MAX)];
    let scalar = prop_oneof![
        integer.prop_map(|value| (0, varint(value))),
        any::<f64>().prop_map(|value| (1, value.to_le_bytes().to_vec())),
        text.prop_map(|text| (2, delimited(&text))),
        single.prop_map(|value| (5, value.to_le_bytes().to_vec())),
    ];
    let field = move |value: BoxedStrategy<(u64, Vec<u8>)>| {
        (number.clone(), value).prop_map(|(number, (wire, value))| {
            // A group ends as it began.
            let end = if wire == 3 { varint(number << 3 | 4) } else { Vec::new() };
            [varint(number << 3 | wire), value, end].concat()
        })
    };
    let leaf = vec(field(scalar.clone().boxed()), 0..5).prop_map(|fields| fields.concat());
    leaf.prop_recursive(6, 60, 5, move |inner| {
        let nested = prop_oneof![
            8 => inner.clone().prop_map(|message| (2, delimited(&message))),
            1 => inner.prop_map(|message| (3, message)),
        ];
        let value = prop_oneof![2 => nested, 1 => scalar.clone()];
        vec(field(value.boxed()), 0..5).prop_map(|fields| fields.concat())
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_to_both_readers_or_refused(bytes in vec(any::<u8>(), 0..80)) {
        drop(of_wire(&bytes));
        fuzz_protobuf(&bytes);
    }

    #[test]
    fn any_fields_are_a_message_to_both_readers_or_refused(bytes in any_message()) {
        fuzz_protobuf(&bytes);
    }

    #[test]
    fn a_feed_with_some_bytes_changed_is_one_to_both_readers_or_refused(
        changes in vec((0..FEED.len(), any::<u8>()), 1..4),
        cut in 0..FEED.len(),
    ) {
        let mut bytes = FEED.to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        fuzz_protobuf(&bytes);
        bytes.remove(cut);
        fuzz_protobuf(&bytes);
    }
}
