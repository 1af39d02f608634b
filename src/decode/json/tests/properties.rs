//! Random documents, right and wrong ones: against a reading by `serde_json`, and scanner against tokenizer.

use proptest::prelude::*;

use super::super::fuzz::{READING, agree, ask, fuzz_decode};
use super::super::*;

/// The contract's reading of a document by `serde_json`, for [`READING`]; the reason, or the members in declared
/// order. Good for documents nested less than 100 levels; `Range` stands for a case it cannot judge.
mod reference {
    use serde_json::Value as Json;

    use super::*;

    /// A top level with its members in order.
    struct Members(Vec<(String, Json)>);

    impl<'de> serde::Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Members;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }

    pub(super) fn judge(bytes: &[u8], limits: &Limits) -> Result<Vec<Json>, Reason> {
        if bytes.is_empty() {
            return Err(Reason::Tombstone);
        }
        if bytes.len() > limits.max_record_bytes {
            return Err(Reason::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotUtf8)?;
        let Members(members) = serde_json::from_str(text).map_err(|_| Reason::NotJson)?;
        let mut names: Vec<_> = members.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        if names.len() < members.len() {
            return Err(Reason::NotJson);
        }
        let mut values = Vec::new();
        // serde_json makes a double of `-0`, so here it cannot be told from `-0.0`.
        let minus_zero = |value: &Json| value.as_f64().is_some_and(|x| x.to_bits() == (-0.0_f64).to_bits());
        for declared in READING {
            let value = members.iter().find(|(name, _)| name == declared.name).map(|(_, value)| value);
            let value = value.filter(|value| !value.is_null()).ok_or(Reason::Schema)?;
            let fits = match (declared.kind, value) {
                (Kind::Text, Json::String(text)) => {
                    !text.is_empty() && text.len() <= limits.max_string_bytes && !text.contains('\0')
                }
                (Kind::Choice(words), Json::String(text)) => words.contains(&text.as_str()),
                (Kind::Integer | Kind::Time, value) if minus_zero(value) => return Err(Reason::Range),
                (Kind::Integer, Json::Number(number)) => number.is_i64(),
                (Kind::Number, Json::Number(_)) | (Kind::Time, _) => true,
                _ => false,
            };
            if !fits {
                return Err(Reason::Schema);
            }
            values.push(value.clone());
        }
        Ok(values)
    }

    /// Compares a decoder's answer with the above.
    pub(super) fn compare(json: &[u8], limits: &Limits) {
        let mut decoder = JsonDecoder::new(READING, *limits);
        let answer = ask(&mut decoder, Some(Value::exact(json)));
        let show = String::from_utf8_lossy(json);
        let values = match (judge(json, limits), &answer) {
            (Ok(values), Ok(_)) => values,
            (Ok(values), Err(rejected)) if rejected.reason == Reason::Time => {
                assert_eq!(time(&values[2]), None, "{show}");
                return;
            }
            (Err(Reason::Range), _) => return,
            (Err(reason), Err(rejected)) => return assert_eq!(reason, rejected.reason, "{show}"),
            (expected, _) => panic!("{expected:?} but {answer:?} for {show}"),
        };
        let answer = answer.unwrap();
        assert_eq!(Some(answer.event_time_us), time(&values[2]), "{show}");
        assert_eq!(std::str::from_utf8(&answer.members[0].0).unwrap(), values[0], "{show}");
        assert_eq!(Some(answer.members[1].1), values[1].as_i64(), "{show}");
        assert_eq!(std::str::from_utf8(&answer.members[4].0).unwrap(), values[4], "{show}");
        // serde_json may be off by one in the last place; the text of the number decides.
        let number = f64::from_bits(answer.members[3].1 as u64);
        let text = std::str::from_utf8(&answer.members[3].0).unwrap();
        assert_eq!(number, text.parse::<f64>().unwrap(), "{show}");
        assert!((number - values[3].as_f64().unwrap()).abs() <= number.abs() * 1e-15, "{show}");
    }

    fn time(value: &Json) -> Option<i64> {
        match value {
            Json::String(text) => crate::time::parse(text.as_bytes()),
            Json::Number(number) if number.is_i64() => crate::time::from_epoch_ms(number.as_i64()?),
            _ => None,
        }
    }
}

/// A JSON string for `text`, with escapes where `seed` says so.
fn quoted(text: &str, seed: u64) -> String {
    let mut out = String::from('"');
    for (i, c) in text.chars().enumerate() {
        if c < ' ' || c == '"' || c == '\\' || (seed != 0 && seed >> (i % 64) & 1 == 1) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out += &format!("\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out + "\""
}

fn string() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        8 => "[a-zA-Z0-9/:._-]{0,40}",
        2 => ".{0,12}",
        1 => "[\\x00-\\x20\"\\\\a]{0,6}",
        1 => "[a-z]{60,90}",
    ];
    (text, prop_oneof![6 => Just(0), 1 => any::<u64>()]).prop_map(|(text, seed)| quoted(&text, seed))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,6})(\\.[0-9]{1,6})?",
        1 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        1 => "[1-9][0-9]{0,18}",
    ]
}

fn any_value() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        string(),
        number(),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned())
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec((string(), inner), 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
                format!("{{{}}}", members.join(",\n"))
            }),
        ]
    })
    .boxed()
}

fn time_value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "\"20[0-9]{2}-[01][0-9]-[0-2][0-9][Tt ][01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?([zZ]|[+-][01][0-9]:[0-5][0-9])?\"",
        2 => "[1-9][0-9]{0,14}",
        1 => any_value(),
    ]
}

/// A document for [`READING`]: mostly right, in any order, with any white space and other members.
fn document() -> impl Strategy<Value = String> {
    let right = (
        prop::sample::select(vec!["\"PS1\"", "\"EPS1\"", "\"a sensor with a long name\"", "\"PS2\""]),
        "-?[1-9][0-9]{0,9}",
        time_value(),
        number(),
        string(),
    );
    let wrong = prop::option::weighted(0.15, (0..5_usize, any_value()));
    let other = ("[a-z]{1,3}|cycle|.{0,3}", any_value(), any::<u64>());
    let others =
        prop_oneof![3 => prop::collection::vec(other.clone(), 0..1), 1 => prop::collection::vec(other, 0..4)];
    let space = prop::sample::select(vec!["", "", "", " ", "\n\t", "\r\n  "]);
    let rename = prop_oneof![9 => Just(0_u64), 1 => any::<u64>()];
    (right, wrong, others, any::<prop::sample::Index>(), any::<bool>(), space, rename).prop_map(
        |((sensor, cycle, time, value, place), wrong, others, turn, swap, space, rename)| {
            let mut values = [sensor.to_owned(), cycle, time, value, place];
            if let Some((at, value)) = wrong {
                values[at] = value;
            }
            let mut members: Vec<(String, String)> = READING
                .iter()
                .zip(values)
                .map(|(member, value)| (quoted(member.name, rename), value))
                .collect();
            members
                .extend(others.into_iter().map(|(name, value, seed)| (quoted(&name, seed & rename), value)));
            let at = turn.index(members.len());
            members.rotate_left(at);
            if swap {
                members.swap(0, at);
            }
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{space}{name}:{space}{value}{space}")).collect();
            format!("{{{}}}{space}", members.join(","))
        },
    )
}

const SMALL: Limits = Limits { max_record_bytes: 100_000, max_string_bytes: 70 };

proptest! {
    #[test]
    fn documents_are_judged_as_by_serde_json(json in document()) {
        reference::compare(json.as_bytes(), &SMALL);
    }

    #[test]
    fn changed_documents_are_judged_as_by_serde_json(
        json in document(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            any::<u8>(), prop::sample::select(b"\"\\{}[]:, \n0123456789.-+eEtfn\x00\x1f\x7f\x80\xc3\xed\xff".to_vec()),
        ], 0..3_u8), 1..4),
    ) {
        let mut json = json.into_bytes();
        for (at, byte, how) in changes {
            let at = at.index(json.len());
            match how {
                0 => json[at] = byte,
                1 => json.insert(at, byte),
                _ => drop(json.remove(at)),
            }
        }
        reference::compare(&json, &SMALL);
        agree(READING, SMALL, &json, &[]);
    }

    #[test]
    fn scanner_and_tokenizer_agree(documents in prop::collection::vec(document(), 1..8)) {
        let before: Vec<&[u8]> = documents.iter().map(|json| json.as_bytes()).collect();
        for json in &documents {
            agree(READING, SMALL, json.as_bytes(), &before);
        }
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_decode(&bytes);
    }
}
