//! Rules that a configuration declares, beside the ranges and the repeats that are always there.
//!
//! A rule has a name and asks one thing of a reading. One about the eight members of a reading looks at what was decoded;
//! one about another member reads the payload once more, so it costs that, and only where such a rule is declared. A member
//! that is missing or null breaks `required` and `type` only: what asks about a value has nothing to ask then.

use std::cell::OnceCell;
use std::fmt::Write;

use regex::bytes::Regex;
use serde::Deserialize;
use serde_json::{Number, Value};
use tidegate::ingest::Range;

use super::event::Reading;

/// The type that `type` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberType {
    /// A string.
    Text,
    /// A number.
    Number,
    /// A number without fraction and exponent.
    Integer,
    /// `true` or `false`.
    Bool,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// What a rule asks for.
#[derive(Clone, Debug)]
pub enum Check {
    /// The member is there and not null.
    Required,
    /// It is there and of this type.
    Type(MemberType),
    /// It is a number in this range.
    Range(Range),
    /// It is one of these texts; a number is compared in its shortest form, a truth value as it is written.
    Enum(Vec<String>),
    /// It is a text that this matches somewhere.
    Regex(Regex),
    /// It stands in this order to another member: both numbers, or both texts, bytewise.
    Compare(Order, String),
    /// The reading is no repeat. That is always asked, by whoever remembers what came before; the rule gives it a name.
    Duplicate,
}

/// A named rule about one member.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, in details and in `data_quality`.
    pub name: String,
    /// The member; none where it is about the whole reading.
    pub member: String,
    /// What is asked of it.
    pub check: Check,
}

/// What a member holds.
enum Held<'a> {
    Missing,
    /// A number that was decoded.
    Decoded(f64),
    /// A number of the payload, which may be an integer that no double is equal to.
    Number(&'a Number),
    Text(&'a [u8]),
    Other(&'a Value),
}

/// The payload, read once more where a rule needs it.
struct Payload<'a> {
    bytes: &'a [u8],
    members: OnceCell<Value>,
}

impl Payload<'_> {
    fn member(&self, name: &str) -> Held<'_> {
        // It was decoded before, so it is an object.
        match self.members.get_or_init(|| self.read()).get(name) {
            None | Some(Value::Null) => Held::Missing,
            Some(Value::String(text)) => Held::Text(text.as_bytes()),
            Some(Value::Number(number)) => Held::Number(number),
            Some(other) => Held::Other(other),
        }
    }

    fn read(&self) -> Value {
        let mut reader = serde_json::Deserializer::from_slice(self.bytes);
        // The decoder has judged its depth, and allows one level more than this reader would.
        reader.disable_recursion_limit();
        Value::deserialize(&mut reader).unwrap_or_default()
    }
}

impl Held<'_> {
    fn number(&self) -> Option<f64> {
        match self {
            Held::Decoded(number) => Some(*number),
            Held::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Held::Number(number) => {
                number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
            }
            _ => None,
        }
    }
}

impl Rule {
    /// Tells of each of `rules` that the reading breaks: the rule, and what is wrong.
    pub(super) fn broken(
        rules: &[Rule],
        reading: &Reading<'_>,
        payload: &[u8],
        tell: &mut dyn FnMut(&Rule, &str),
    ) {
        let payload = Payload { bytes: payload, members: OnceCell::new() };
        let mut why = String::new();
        for rule in rules {
            why.clear();
            if !rule.holds(reading, &payload, &mut why) {
                tell(rule, &why);
            }
        }
    }

    /// Whether it holds; what is wrong is appended to `why`.
    fn holds(&self, reading: &Reading<'_>, payload: &Payload<'_>, why: &mut String) -> bool {
        let member = &*self.member;
        if matches!(self.check, Check::Duplicate) {
            return true;
        }
        let held = held(member, reading, payload);
        // Writing to a string does not fail.
        match (&self.check, &held) {
            (Check::Required | Check::Type(_), Held::Missing) => {
                write!(why, "{member} is missing").ok();
                false
            }
            (_, Held::Missing) | (Check::Required | Check::Duplicate, _) => true,
            (Check::Type(wanted), held) => {
                let fits = match wanted {
                    MemberType::Text => matches!(held, Held::Text(_)),
                    MemberType::Number => held.number().is_some(),
                    MemberType::Bool => matches!(held, Held::Other(Value::Bool(_))),
                    // A decoded number does not say how it was written.
                    MemberType::Integer => payload.member(member).integer().is_some(),
                };
                if !fits {
                    write!(why, "{member} is no {wanted:?}").ok();
                }
                fits
            }
            (Check::Range(range), Held::Decoded(_) | Held::Number(_)) => {
                let number = held.number().unwrap_or(f64::NAN);
                let fits = range.holds(number);
                if !fits {
                    write!(why, "{member} is {number} and must be in {range}").ok();
                }
                fits
            }
            (Check::Enum(values), held) => {
                let text = shown(held);
                let fits = values.contains(&text);
                if !fits {
                    write!(why, "{member} is {text:?} and must be one of {}", values.join(", ")).ok();
                }
                fits
            }
            (Check::Regex(pattern), Held::Text(text)) => {
                let fits = pattern.is_match(text);
                if !fits {
                    write!(why, "{member} is {:?} and must match {pattern}", shown(&held)).ok();
                }
                fits
            }
            (Check::Compare(order, other), held) => {
                let with = self::held(other, reading, payload);
                let ordering = match (held, &with) {
                    (_, Held::Missing) => return true,
                    (Held::Text(a), Held::Text(b)) => Some(a.cmp(b)),
                    (a, b) => match (a.integer().zip(b.integer()), a.number().zip(b.number())) {
                        (Some((a, b)), _) => Some(a.cmp(&b)),
                        (None, Some((a, b))) => a.partial_cmp(&b),
                        (None, None) => None,
                    },
                };
                let fits = ordering.is_some_and(|ordering| order.allows(ordering));
                if !fits {
                    let (a, b) = (shown(held), shown(&with));
                    write!(why, "{member} is {a} and must be {} {other}, which is {b}", order.sign()).ok();
                }
                fits
            }
            (Check::Range(_) | Check::Regex(_), held) => {
                write!(why, "{member} is {:?}, of another type", shown(held)).ok();
                false
            }
        }
    }
}

impl Order {
    /// All of them.
    pub const ALL: [Order; 6] = [
        Order::Less,
        Order::LessOrEqual,
        Order::Greater,
        Order::GreaterOrEqual,
        Order::Equal,
        Order::NotEqual,
    ];

    /// As it is written.
    pub fn sign(self) -> &'static str {
        ["<", "<=", ">", ">=", "==", "!="][self as usize]
    }

    fn allows(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
            Order::Equal => ordering.is_eq(),
            Order::NotEqual => ordering.is_ne(),
        }
    }
}

fn held<'a>(member: &str, reading: &'a Reading<'_>, payload: &'a Payload<'_>) -> Held<'a> {
    match member {
        "temperature" => Held::Decoded(reading.temperature()),
        "humidity" => Held::Decoded(reading.humidity()),
        "energy_consumption" => Held::Decoded(reading.energy_consumption()),
        "sensor_id" => Held::Text(reading.sensor_id()),
        "location" => Held::Text(reading.location()),
        "state" => Held::Text(reading.state()),
        "device_type" => Held::Text(reading.device_type()),
        other => payload.member(other),
    }
}

fn shown(held: &Held<'_>) -> String {
    match held {
        Held::Missing => String::new(),
        Held::Decoded(number) => number.to_string(),
        Held::Number(number) => number.to_string(),
        Held::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Held::Other(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tidegate::decode::json::Limits;
    use tidegate::ingest::Decode;
    use tidegate::record::{Headers, KafkaTime, Record, Value as Bytes};

    use super::super::event::ReadingDecoder;
    use super::*;

    const READING: &str = r#"{"sensor_id":"S1","timestamp":1,"temperature":20.5,"humidity":40,"energy_consumption":1,
        "location":"Mumbai","state":"Maharashtra","device_type":"meter","battery":80,"low":90,"ok":true,"note":null}"#;

    fn broken(member: &str, check: Check) -> Option<String> {
        broken_in(READING, member, check)
    }

    fn broken_in(payload: &str, member: &str, check: Check) -> Option<String> {
        let rule = Rule { name: "r".into(), member: member.into(), check };
        let mut decoder = ReadingDecoder::new(Limits::default());
        let record = Record {
            offset: 0,
            kafka_time: KafkaTime::None,
            key: None,
            value: Some(Bytes::within(payload.as_bytes(), payload.len())),
            headers: Headers::default(),
        };
        let reading = decoder.decode(&record).unwrap_or_else(|_| panic!("it is a reading"));
        let mut told = None;
        Rule::broken(&[rule], &reading, payload.as_bytes(), &mut |rule, why| {
            told = Some(format!("{}: {why}", rule.name));
        });
        told
    }

    #[test]
    fn each_kind_of_rule_holds_and_is_broken() {
        let range = |max| Check::Range(Range::new(None, Some(max)).unwrap());
        let one_of = |values: &[&str]| Check::Enum(values.iter().map(|value| (*value).to_owned()).collect());
        let regex = |pattern| Check::Regex(Regex::new(pattern).unwrap());
        let compare = |order, other: &str| Check::Compare(order, other.to_owned());
        for (member, holds, breaks, why) in [
            ("battery", Check::Required, None, ""),
            ("note", range(1.0), Some(Check::Required), "r: note is missing"),
            (
                "battery",
                Check::Type(MemberType::Integer),
                Some(Check::Type(MemberType::Text)),
                "r: battery is no Text",
            ),
            (
                "ok",
                Check::Type(MemberType::Bool),
                Some(Check::Type(MemberType::Number)),
                "r: ok is no Number",
            ),
            ("battery", range(80.0), Some(range(79.5)), "r: battery is 80 and must be in ..79.5"),
            ("temperature", range(80.0), Some(range(20.0)), "r: temperature is 20.5 and must be in ..20"),
            (
                "state",
                one_of(&["Bayern", "Maharashtra"]),
                Some(one_of(&["X"])),
                "r: state is \"Maharashtra\" and must be one of X",
            ),
            ("sensor_id", regex("^S[0-9]+$"), Some(regex("^T")), "r: sensor_id is \"S1\" and must match ^T"),
            ("ok", one_of(&["true"]), Some(regex("t")), "r: ok is \"true\", of another type"),
            (
                "battery",
                compare(Order::Less, "low"),
                Some(compare(Order::GreaterOrEqual, "low")),
                "r: battery is 80 and must be >= low, which is 90",
            ),
            (
                "temperature",
                compare(Order::Less, "humidity"),
                Some(compare(Order::Equal, "humidity")),
                "r: temperature is 20.5 and must be == humidity, which is 40",
            ),
            (
                "battery",
                compare(Order::Less, "nothing"),
                Some(compare(Order::Less, "state")),
                "r: battery is 80 and must be < state, which is Maharashtra",
            ),
        ] {
            assert_eq!(broken(member, holds), None, "{member}");
            if let Some(breaks) = breaks {
                assert_eq!(broken(member, breaks).as_deref(), Some(why));
            }
        }
    }

    #[test]
    fn numbers_are_asked_for_as_they_are_written() {
        let mut payload = READING.trim_end_matches('}').to_owned();
        payload += r#","whole":80.0,"power":8e1,"a":9007199254740993,"b":9007199254740992}"#;
        let is_integer = || Check::Type(MemberType::Integer);
        for (member, whole) in
            [("battery", true), ("a", true), ("whole", false), ("power", false), ("temperature", false)]
        {
            assert_eq!(broken_in(&payload, member, is_integer()).is_none(), whole, "{member}");
        }
        let greater = |member: &str| Check::Compare(Order::Greater, member.to_owned());
        assert_eq!(broken_in(&payload, "a", greater("b")), None, "they are different, though no doubles are");
        assert!(broken_in(&payload, "b", greater("a")).is_some());
    }

    #[test]
    fn members_behind_the_deepest_nesting_that_is_allowed_are_seen() {
        // The reading itself is a level.
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let payload = READING.replacen('{', &format!(r#"{{"deep":{deep},"#), 1);
        assert_eq!(broken_in(&payload, "battery", Check::Required), None);
        let range = Check::Range(Range::new(None, Some(1.0)).unwrap());
        assert!(broken_in(&payload, "battery", range).is_some());
    }
}
