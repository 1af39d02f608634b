//! What the contract says about values, as facts; `properties` compares with a reference and at random.

mod properties;

use super::fuzz::{Answer, EVENT, READING, agree, ask};
use super::*;

/// The answer to a value, the same from tokenizer and scanner.
fn event(json: &str) -> Result<Answer, Rejected> {
    agree(EVENT, Limits::default(), json.as_bytes(), &[]);
    ask(&mut JsonDecoder::new(EVENT, Limits::default()), Some(Value::exact(json.as_bytes())))
}

fn reading(json: &str) -> Result<Answer, Rejected> {
    agree(READING, Limits::default(), json.as_bytes(), &[]);
    ask(&mut JsonDecoder::new(READING, Limits::default()), Some(Value::exact(json.as_bytes())))
}

/// Why a document with this text in place of `member`'s value is rejected.
fn why(member: &str, value: &str) -> Option<(Reason, String)> {
    let mut json = String::from("{");
    for (name, usual) in [
        ("sensor", r#""PS1""#),
        ("cycle", "17"),
        ("timestamp", r#""2024-01-28T12:00:00Z""#),
        ("value", "20.5"),
        ("place", r#""hall""#),
    ] {
        let value = if name == member { value } else { usual };
        json += &format!("{}{name:?}:{value}", if json.len() > 1 { "," } else { "" });
    }
    reading(&(json + "}")).err().map(|rejected| (rejected.reason, rejected.detail.into_owned()))
}

fn reason_of(json: &str) -> Option<Reason> {
    event(json).err().map(|rejected| rejected.reason)
}

const GOOD: &str = r#"{"event_time":"2024-01-28T12:00:00.123Z","user_id":"u1","page_url":"/home","event_type":"session_end"}"#;

/// [`GOOD`] with a member more.
fn with(member: &str) -> String {
    format!("{},{member}}}", &GOOD[..GOOD.len() - 1])
}

#[test]
fn declared_members_are_read() {
    let answer = event(GOOD).unwrap();
    assert_eq!(answer.event_time_us, 1_706_443_200_123_000);
    assert_eq!(answer.members[1].0, b"u1");
    assert_eq!(answer.members[2].0, b"/home");
    assert_eq!(answer.members[3], (b"session_end".to_vec(), 3));
    assert!(answer.others.is_empty());
}

#[test]
fn order_white_space_and_escapes_do_not_matter() {
    let expected = event(GOOD).unwrap();
    let spaced = "\r\n{ \"event_type\"\t:\n\"session_end\" , \"page_url\" : \"\\/h\\u006fme\",\n\"us\\u0065r_id\":\"u1\", \
                  \"event_time\":\"2024-01-28T12:00:00.123\\u005a\"}\n ";
    assert_eq!(event(spaced).unwrap(), expected);
    let answer = event(&GOOD.replace("/home", "\\ud83d\\ude00 \\\" \\\\ \\b\\f\\n\\r\\t \u{e9}")).unwrap();
    assert_eq!(answer.members[2].0, "\u{1f600} \" \\ \u{8}\u{c}\n\r\t \u{e9}".as_bytes());
    assert_eq!(answer.members[1].0, b"u1");
    assert_eq!(
        event(&GOOD.replace("\"2024-01-28T12:00:00.123Z\"", "1706443200123")).unwrap().event_time_us,
        1_706_443_200_123_000
    );
}

#[test]
fn other_members_are_kept_as_they_are_written() {
    let json = with(r#""a\u0062":{ "x" : [1, "\u00e9"] },"c":"d","e":null,"f":-0.50,"":true"#);
    let others: Vec<_> = event(&json).unwrap().others;
    let expected: [(&str, &str); 5] =
        [("ab", r#"{ "x" : [1, "\u00e9"] }"#), ("c", "\"d\""), ("e", "null"), ("f", "-0.50"), ("", "true")];
    let expected: Vec<_> = expected.map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec())).into();
    assert_eq!(others, expected);
}

#[test]
fn numbers_are_read() {
    let json = r#"{"sensor":"EPS1","cycle":-9223372036854775808,"timestamp":-1,"value":0.1e-3,"place":"x"}"#;
    let mut decoder = JsonDecoder::new(READING, Limits::default());
    let decoded = decoder.decode(Some(Value::exact(json.as_bytes()))).unwrap();
    assert_eq!((decoded.integer(1), decoded.number(3), decoded.event_time_us()), (i64::MIN, 1e-4, -1_000));
    for (text, value) in
        [("-0.0", 0.0), ("3", 3.0), ("-12.25", -12.25), ("0.30000000000000004", 0.30000000000000004)]
    {
        let json = json.replace("0.1e-3", text);
        for _ in 0..3 {
            let decoded = decoder.decode(Some(Value::exact(json.as_bytes()))).unwrap();
            assert_eq!(decoded.number(3).to_bits(), f64::to_bits(value), "{text}");
        }
        reading(&json).unwrap();
    }
}

#[test]
fn nothing_is_a_tombstone() {
    let mut decoder = JsonDecoder::new(EVENT, Limits::default());
    assert_eq!(decoder.decode(None).unwrap_err().reason, Reason::Tombstone);
    assert_eq!(decoder.decode(Some(Value::exact(b""))).unwrap_err().reason, Reason::Tombstone);
    assert_eq!(
        decoder.decode(Some(Value::within(GOOD.as_bytes(), 0))).unwrap_err().reason,
        Reason::Tombstone
    );
}

#[test]
fn reasons_come_in_their_order() {
    let limits = Limits { max_record_bytes: 200, max_string_bytes: 10 };
    let judge = |bytes: &[u8]| {
        agree(EVENT, limits, bytes, &[GOOD.as_bytes()]);
        JsonDecoder::new(EVENT, limits)
            .decode(Some(Value::exact(bytes)))
            .err()
            .map(|rejected| rejected.reason)
    };
    assert_eq!(judge(&[0xff; 201]), Some(Reason::TooLarge));
    assert_eq!(judge(&[0xff; 200]), Some(Reason::NotUtf8));
    assert_eq!(judge(b"{\"a\":\xff"), Some(Reason::NotUtf8));
    assert_eq!(judge(b"{\"event_time\":false"), Some(Reason::NotJson));
    assert_eq!(judge(b"{\"event_time\":false}"), Some(Reason::Schema));
    assert_eq!(judge(GOOD.replace("2024", "").as_bytes()), Some(Reason::Time));
    assert_eq!(judge(GOOD.replace("2024", "").replace("session_end", "").as_bytes()), Some(Reason::Schema));
    assert_eq!(judge(GOOD.as_bytes()), None);
    assert_eq!(judge(GOOD.replace("/home", "0123456789").as_bytes()), None);
    assert_eq!(judge(GOOD.replace("/home", "0123456789a").as_bytes()), Some(Reason::Schema));
    assert_eq!(judge(GOOD.replace("/home", "012345678\\u00e9").as_bytes()), Some(Reason::Schema));
    assert_eq!(judge(GOOD.replace("/home", "01234567\\u00e9").as_bytes()), None);
    let long = with(&format!("\"x\":\"{}\"", "y".repeat(200 - GOOD.len() - 7)));
    assert_eq!((long.len(), judge(long.as_bytes())), (200, None));
    assert_eq!(judge((long + " ").as_bytes()), Some(Reason::TooLarge));
}

#[test]
fn what_is_not_one_object_is_not_json() {
    for json in [
        " ",
        "{",
        "}",
        "[]",
        "[{}]",
        "\"x\"",
        "1",
        "null",
        "{}{}",
        "{} x",
        "{},",
        "\u{feff}{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,,\"b\":2}",
        "{\"a\":tru}",
        "{\"a\":True}",
        "{\"a\":truefalse}",
        "{\"a\":nul",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":+1}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":0x1}",
        "{\"a\":1e400}",
        "{\"a\":[1,[-1e400]]}",
        "{\"a\":[1,]}",
        "{\"a\":[1}",
        "{\"a\":{\"b\":1]}",
        "{\"a\":[1 2]}",
        "{\"a\":[",
        "{\"a\":{",
        "{\"a\":{\"b\"",
        "{\"a\":{\"b\":",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a\":\"\\u12",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\ud800\"}",
        "{\"a\":\"\\ud800x\"}",
        "{\"\\ud800\":1}",
        "{\"a\":{\"\\udfff\":1}}",
        "{\"a\":[\"\\ud83d\"]}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\n\"}",
        "{\"a\0\":1}",
        "{\"a\":1}\0",
        "{\"a\":1}/**/",
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"b\":2,\"\\u0061\":1}",
        "{\"user_id\":1,\"user\\u005fid\":2}",
        "{\"\":1,\"\":1}",
        "\u{a0}{}",
    ] {
        assert_eq!(reason_of(json), Some(Reason::NotJson), "{json}");
        let within = with(&format!("\"outer\":{json}"));
        if !matches!(json, "[]" | "[{}]" | "\"x\"" | "1" | "null" | "{\"a\":1,\"a\":1}" | "{\"\":1,\"\":1}")
            && !json.contains("\\u0061")
            && !json.contains("\\u005f")
        {
            assert_eq!(reason_of(&within), Some(Reason::NotJson), "{within}");
        }
    }
    assert_eq!(reason_of("{}"), Some(Reason::Schema));
    assert_eq!(
        reason_of(&with(r#""a":{"b":1,"b":2}"#)),
        None,
        "only the top level is looked at for repetitions"
    );
    assert_eq!(reason_of(&with(r#""user_id":"u1""#)), Some(Reason::NotJson));
    assert_eq!(reason_of(&with(r#""x":"\uD83D\uDE00","y":"\u0000","z":"\u007f""#)), None);
}

#[test]
fn repetitions_are_found_among_many_members() {
    let members = |n: usize| (0..n).map(|i| format!("\"m{i}\":{i}")).collect::<Vec<_>>().join(",");
    for n in [1, 15, 16, 17, 18, 100] {
        assert_eq!(reason_of(&with(&members(n))), None, "{n}");
        assert_eq!(reason_of(&with(&format!("{},\"m0\":0", members(n)))), Some(Reason::NotJson), "{n}");
        assert_eq!(
            reason_of(&with(&format!("{},\"\\u006d{}\":0", members(n), n - 1))),
            Some(Reason::NotJson),
            "{n}"
        );
        assert_eq!(reason_of(&with(&format!("{},\"user_id\":0", members(n)))), Some(Reason::NotJson), "{n}");
    }
}

#[test]
fn nesting_ends_at_128_levels() {
    let arrays = |n: usize| format!("\"x\":{}{}", "[".repeat(n), "]".repeat(n));
    let objects = |n: usize| format!("\"x\":{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
    for nested in [arrays, objects] {
        assert_eq!(reason_of(&with(&nested(127))), None);
        assert_eq!(reason_of(&with(&nested(128))), Some(Reason::NotJson));
    }
    assert_eq!(reason_of(&with(&format!("\"x\":{}", "[".repeat(1_000_000)))), Some(Reason::NotJson));
    let siblings = format!("\"x\":[{}1]", "[[]],{\"a\":[]},".repeat(200));
    assert_eq!(reason_of(&with(&siblings)), None);
}

#[test]
fn each_type_refuses_what_it_should() {
    use Reason::{Schema, Time};
    let too_long = format!("{:?}", "x".repeat(2_049));
    let cases = [
        ("place", "null", Schema),
        ("place", "\"\"", Schema),
        ("place", "1", Schema),
        ("place", "true", Schema),
        ("place", "[]", Schema),
        ("place", "{}", Schema),
        ("place", "\"a\\u0000\"", Schema),
        ("place", &too_long, Schema),
        ("sensor", "\"PS7\"", Schema),
        ("sensor", "\"\"", Schema),
        ("sensor", "\"ps1\"", Schema),
        ("sensor", "1", Schema),
        ("sensor", "null", Schema),
        ("cycle", "\"1\"", Schema),
        ("cycle", "1.0", Schema),
        ("cycle", "1e3", Schema),
        ("cycle", "9223372036854775808", Schema),
        ("cycle", "-9223372036854775809", Schema),
        ("cycle", "null", Schema),
        ("cycle", "false", Schema),
        ("cycle", "[1]", Schema),
        ("value", "\"1.5\"", Schema),
        ("value", "null", Schema),
        ("value", "true", Schema),
        ("value", "{}", Schema),
        ("value", "\"NaN\"", Schema),
        ("timestamp", "null", Schema),
        ("timestamp", "\"\"", Time),
        ("timestamp", "true", Time),
        ("timestamp", "12.5", Time),
        ("timestamp", "1e3", Time),
        ("timestamp", "{}", Time),
        ("timestamp", "[1]", Time),
        ("timestamp", "\"2024-13-01T00:00:00Z\"", Time),
        ("timestamp", "\"1706443200000\"", Time),
        ("timestamp", "9223372036854775807", Time),
        ("timestamp", "99999999999999999999", Time),
        ("timestamp", "253402300800000", Time),
        ("timestamp", "-62135596800001", Time),
        ("timestamp", "\"\\u0000\"", Time),
        ("timestamp", &too_long, Time),
    ];
    for (member, value, reason) in cases {
        let (found, detail) = why(member, value).unwrap_or_else(|| panic!("{member} {value} was accepted"));
        assert_eq!(found, reason, "{member} {value}");
        assert!(detail.contains(&format!("{member:?}")), "{detail}");
        assert!(detail.chars().count() < 160, "{detail}");
    }
    for (member, value) in [
        ("place", "\"\\u0001\""),
        ("sensor", "\"\\u0050S1\""),
        ("sensor", "\"a sensor with a long name\""),
        ("cycle", "-0"),
        ("cycle", "9223372036854775807"),
        ("value", "5"),
        ("value", "-0.0"),
        ("value", "1e308"),
        ("value", "123456789012345678901234567890"),
        ("timestamp", "0"),
        ("timestamp", "-0"),
        ("timestamp", "253402300799999"),
        ("timestamp", "-62135596800000"),
        ("timestamp", "\"2024-01-28T12:00:00\\u005a\""),
    ] {
        assert_eq!(why(member, value), None, "{member} {value}");
    }
}

/// What other languages and people write for numbers, and JSON does not.
const NO_NUMBERS: [&str; 35] = [
    "NaN",
    "nan",
    "-NaN",
    "+NaN",
    "Infinity",
    "-Infinity",
    "+Infinity",
    "infinity",
    "INF",
    "inf",
    "-inf",
    "1.#INF",
    "1.#QNAN",
    "+1",
    "+1.5",
    "+0",
    "--1",
    "-+1",
    "-",
    ".5",
    "-.5",
    "5.",
    "1.e3",
    "1e",
    "1e+",
    "004",
    "01",
    "-01",
    "0x1F",
    "0b1",
    "1_000",
    "1f",
    "1e400",
    "\u{661}",
    "\u{ff11}",
];

#[test]
fn words_and_spellings_that_json_does_not_have_are_no_numbers_of_any_member() {
    for bare in NO_NUMBERS {
        for member in ["value", "cycle", "timestamp", "sensor", "place"] {
            let (reason, _) = why(member, bare).unwrap_or_else(|| panic!("{member} {bare} was accepted"));
            assert_eq!(reason, Reason::NotJson, "{member} {bare}");
        }
    }
}

#[test]
fn a_number_in_a_text_is_a_text_however_it_is_written() {
    let proper = ["0", "-0.0", "1", "-1", "20.5", "1e3", "9223372036854775808", ""];
    for text in NO_NUMBERS.into_iter().chain(proper) {
        let text = format!("\"{text}\"");
        for (member, expected) in
            [("value", Reason::Schema), ("cycle", Reason::Schema), ("timestamp", Reason::Time)]
        {
            let (reason, detail) =
                why(member, &text).unwrap_or_else(|| panic!("{member} {text} was accepted"));
            assert_eq!(reason, expected, "{member} {text}");
            assert!(detail.contains(&format!("{member:?}")), "{detail}");
        }
        if text != "\"\"" {
            assert_eq!(why("place", &text), None, "{text}");
        }
    }
}

#[test]
fn the_detail_names_the_first_member_declared() {
    let detail = |json: &str| event(json).unwrap_err().detail.into_owned();
    assert_eq!(detail("{}"), "member \"event_time\" is missing");
    assert_eq!(detail(r#"{"event_type":1,"event_time":1}"#), "member \"user_id\" is missing");
    assert_eq!(detail(r#"{"page_url":1,"user_id":null,"event_time":1}"#), "member \"user_id\" is null");
    assert_eq!(detail(&GOOD.replace("\"/home\"", "12")), "member \"page_url\" must be a string, found 12");
    assert_eq!(
        detail(&GOOD.replace("session_end", "scroll")),
        "member \"event_type\" must be one of page_view, click, session_start, session_end, found \"scroll\""
    );
    let long = GOOD.replace("\"/home\"", &format!("[\"{}\"]", "\u{e9}".repeat(100)));
    assert_eq!(
        detail(&long),
        format!("member \"page_url\" must be a string, found [\"{}…", "\u{e9}".repeat(38))
    );
    assert_eq!(
        detail(&GOOD.replace("2024-01", "2024-13")),
        "member \"event_time\" is no readable time: \"2024-13-28T12:00:00.123Z\""
    );
    assert_eq!(detail("{\"a\":1,}"), "expected a member's name at byte 7");
}

#[test]
fn changing_layouts_stay_on_the_fast_path() {
    let shapes = [
        GOOD.to_owned(),
        GOOD.replace(",", ", "),
        GOOD.replace(":\"", ": \""),
        r#"{"user_id":"u1","page_url":"/home","event_type":"click","event_time":1706443200123}"#.to_owned(),
    ];
    let mut decoder = JsonDecoder::new(EVENT, Limits::default());
    for shape in &shapes {
        decoder.decode(Some(Value::exact(shape.as_bytes()))).unwrap();
    }
    for turn in 0..20 {
        for shape in &shapes {
            let json =
                shape.replace("u1", &format!("user_{turn}")).replace("/home", &"/long".repeat(turn + 1));
            assert!(decoder.scan(Value::exact(json.as_bytes())).is_some(), "{json}");
        }
    }
}

#[test]
fn text_that_is_not_ascii_stays_on_the_fast_path() {
    let mut decoder = JsonDecoder::new(EVENT, Limits::default());
    decoder.decode(Some(Value::exact(GOOD.as_bytes()))).unwrap();
    let json = GOOD.replace("/home", "/h\u{f6}me/\u{4f60}\u{597d}");
    assert!(decoder.scan(Value::exact(json.as_bytes())).is_some());
    let broken = json.replace("\u{f6}", "?").into_bytes();
    let broken: Vec<u8> = broken.iter().map(|b| if *b == b'?' { 0xc3 } else { *b }).collect();
    assert_eq!(decoder.decode(Some(Value::exact(&broken))).unwrap_err().reason, Reason::NotUtf8);
}

#[test]
fn a_known_shape_excuses_nothing() {
    let limits = Limits { max_record_bytes: 400, max_string_bytes: 250 };
    let judge = |json: &[u8]| {
        agree(EVENT, limits, json, &[GOOD.as_bytes()]);
        let mut decoder = JsonDecoder::new(EVENT, limits);
        decoder.decode(Some(Value::exact(GOOD.as_bytes()))).unwrap();
        decoder.decode(Some(Value::exact(json))).err().map(|rejected| rejected.reason)
    };
    let long = |page: usize, user: usize| {
        let json = GOOD.replace("/home", &"p".repeat(page)).replace("u1", &"u".repeat(user));
        json.into_bytes()
    };
    let fits = 400 - long(250, 0).len();
    assert_eq!(judge(&long(250, fits)), None);
    assert_eq!(judge(&long(250, fits + 1)), Some(Reason::TooLarge));
    assert_eq!(judge(&long(251, 1)), Some(Reason::Schema));
    let page_at = GOOD.find("/home").unwrap();
    for at in 0..240 {
        let mut json = long(240, 1);
        json[page_at - 1 + at] = 0x80;
        assert_eq!(judge(&json), Some(Reason::NotUtf8), "{at}");
    }
}

#[test]
fn shapes_that_never_repeat_are_soon_let_be() {
    let mut decoder = JsonDecoder::new(EVENT, Limits::default());
    for i in 0..10_000 {
        let json = with(&format!("\"m{i}\":1"));
        assert_eq!(ask(&mut decoder, Some(Value::exact(json.as_bytes()))).unwrap().others.len(), 1);
    }
    for _ in 0..5_000 {
        decoder.decode(Some(Value::exact(GOOD.as_bytes()))).unwrap();
    }
    assert!(
        decoder.scan(Value::exact(GOOD.as_bytes())).is_some(),
        "a shape that stays is learned in the end"
    );
}

/// Every byte of a document in turn replaced by every byte that means something to a parser.
#[test]
fn every_changed_byte_is_judged_alike() {
    let documents = [
        GOOD.to_owned(),
        with("\"x\" : [1, \"a\"], \"y\":\"z\""),
        with("\"a name that is longer than what is compared at once\":true"),
        r#"{"sensor":"PS1","cycle":17,"timestamp":"2024-01-28T12:00:00.000Z","value":-20.53,"place":"caf\u00e9 ☕"}"#.replace("\\u00e9", "\u{e9}"),
        "{\n  \"place\": \"hall\",\n  \"cycle\": 1706443200,\n  \"sensor\": \"PS1\",\n  \"timestamp\": 1706443200000,\n  \"value\": 5\n}".to_owned(),
    ];
    for json in documents {
        for at in 0..json.len() {
            for byte in *b"\"\\{}[]:, \n\t09.-+eEtZ/x\x00\x1f\x7f\x80\xc3\xe2\xff" {
                let mut changed = json.clone().into_bytes();
                changed[at] = byte;
                changed_alike(EVENT, &json, &changed);
                changed_alike(READING, &json, &changed);
            }
            changed_alike(EVENT, &json, &json.as_bytes()[..at]);
            changed_alike(READING, &json, &json.as_bytes()[..at]);
        }
    }
}

/// `changed` after `json` was learned, on the best level only.
fn changed_alike<const N: usize>(members: [Member; N], json: &str, changed: &[u8]) {
    let mut decoder = JsonDecoder::new(members, Limits::default());
    let mut strict = JsonDecoder::strict(members, Limits::default());
    let first = ask(&mut decoder, Some(Value::exact(json.as_bytes())));
    assert_eq!(first, ask(&mut strict, Some(Value::exact(json.as_bytes()))));
    let slab = [changed, json.as_bytes()].concat();
    let expected = ask(&mut strict, Some(Value::exact(changed)));
    assert_eq!(ask(&mut decoder, Some(Value::within(&slab, changed.len()))), expected);
}
