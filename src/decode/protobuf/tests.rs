use proptest::prelude::*;

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

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        drop(of_wire(&bytes));
    }
}
