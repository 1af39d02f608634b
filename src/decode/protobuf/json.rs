//! The JSON form of Protobuf: members under either style of name, integers as numbers or strings, enums as names or
//! numbers.

use std::borrow::Cow;

use serde_json::Value as Json;
use thiserror::Error;

use super::{Descriptor, Enumeration, Field, Kind, Message, Unknown, Value, symbol};

/// JSON that is not a message of the type.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("member {member:?} must be {expected}, not {found}")]
pub struct JsonError {
    /// The field's name in the schema.
    pub member: &'static str,
    /// What it must be.
    pub expected: &'static str,
    /// What it is.
    pub found: &'static str,
}

/// Reads a message of type `of`. Where a member stands there in both styles, the schema's counts.
///
/// # Errors
/// Which member is not what its field holds.
///
/// # Examples
/// ```
/// use tidegate::decode::protobuf::{Descriptor, Field, Kind, Unknown, json};
///
/// const STOP: Descriptor = Descriptor {
///     name: "Stop",
///     fields: &[Field { number: 1, name: "stop_time", kind: Kind::Uint64, repeated: false }],
/// };
/// for text in [r#"{"stop_time":7}"#, r#"{"stopTime":"7"}"#] {
///     let stop = json::read(&STOP, &serde_json::from_str(text).unwrap(), &mut Unknown::default()).unwrap();
///     assert_eq!(stop.int(1), Some(7));
/// }
/// ```
pub fn read(
    of: &'static Descriptor,
    json: &Json,
    unknown: &mut Unknown,
) -> Result<Message<'static>, JsonError> {
    let Json::Object(members) = json else {
        return Err(JsonError { member: of.name, expected: "an object", found: kind_of(json) });
    };
    let mut message = Message::default();
    for (name, value) in members {
        let Some(field) = of.fields.iter().find(|field| is_name_of(field, name)) else {
            unknown.fields += 1;
            continue;
        };
        if *name != field.name && members.get(field.name).is_some_and(|schema| !schema.is_null()) {
            continue;
        }
        match value {
            Json::Null => {}
            Json::Array(values) if field.repeated => {
                for value in values {
                    put(&mut message, field, value, unknown)?;
                }
            }
            value if field.repeated => {
                return Err(JsonError { member: field.name, expected: "an array", found: kind_of(value) });
            }
            value => put(&mut message, field, value, unknown)?,
        }
    }
    Ok(message)
}

/// Writes `message`, which is of type `of`, as compact JSON: the schema's names, numbers as numbers.
pub fn write(of: &'static Descriptor, message: &Message<'_>, out: &mut String) {
    out.push('{');
    let mut first = true;
    for field in of.fields {
        let mut values = message.all(field.number).peekable();
        if values.peek().is_none() {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        out.push_str(&format!("\"{}\":", field.name));
        if field.repeated {
            out.push('[');
        }
        for (i, value) in values.enumerate() {
            if i > 0 {
                out.push(',');
            }
            write_value(field, value, out);
        }
        if field.repeated {
            out.push(']');
        }
    }
    out.push('}');
}

fn write_value(field: &Field, value: &Value<'_>, out: &mut String) {
    match (value, field.kind) {
        (Value::Message(message), Kind::Message(of)) => write(of, message, out),
        (Value::Int(value), Kind::Bool) => out.push_str(if *value == 0 { "false" } else { "true" }),
        (Value::Int(value), _) => out.push_str(&value.to_string()),
        (Value::Float(value), _) => out.push_str(&Json::from(*value).to_string()),
        (Value::Text(text) | Value::Symbol(text), _) => out.push_str(&Json::from(&**text).to_string()),
        (Value::Message(_), _) => out.push_str("null"),
    }
}

fn put(
    message: &mut Message<'static>,
    field: &'static Field,
    json: &Json,
    unknown: &mut Unknown,
) -> Result<(), JsonError> {
    let wrong = |expected| JsonError { member: field.name, expected, found: kind_of(json) };
    let whole = |range: std::ops::RangeInclusive<i128>, expected| {
        let whole = integer(json).filter(|value| range.contains(value)).ok_or_else(|| wrong(expected))?;
        Ok(Value::Int(i64::try_from(whole).unwrap_or(i64::MAX)))
    };
    let value = match field.kind {
        Kind::Opaque => return Ok(()),
        Kind::Int32 => whole(i32::MIN.into()..=i32::MAX.into(), "a 32-bit integer")?,
        Kind::Int64 => whole(i64::MIN.into()..=i64::MAX.into(), "a 64-bit integer")?,
        Kind::Uint32 => whole(0..=u32::MAX.into(), "a 32-bit integer from 0")?,
        Kind::Uint64 => whole(0..=u64::MAX.into(), "a 64-bit integer from 0")?,
        Kind::Bool => Value::Int(i64::from(json.as_bool().ok_or_else(|| wrong("true or false"))?)),
        Kind::Float => {
            let value = float(json).ok_or_else(|| wrong("a number"))?;
            let near = value as f32;
            if value.is_finite() && near.is_infinite() {
                return Err(wrong("a number within the range of a float"));
            }
            Value::Float(f64::from(near))
        }
        Kind::Double => Value::Float(float(json).ok_or_else(|| wrong("a number"))?),
        Kind::Text => Value::Text(Cow::Owned(json.as_str().ok_or_else(|| wrong("a string"))?.to_owned())),
        Kind::Enum(of) => enumerated(of, json, unknown).ok_or_else(|| wrong("a name or a number"))?,
        Kind::Message(of) => Value::Message(read(of, json, unknown)?),
    };
    message.put(field, value);
    Ok(())
}

fn enumerated(of: &Enumeration, json: &Json, unknown: &mut Unknown) -> Option<Value<'static>> {
    if let Some(name) = json.as_str() {
        if let Some((_, known)) = of.values.iter().find(|(_, known)| *known == name) {
            return Some(Value::Symbol(Cow::Borrowed(known)));
        }
        unknown.symbols += 1;
        return Some(Value::Symbol(Cow::Owned(name.to_owned())));
    }
    let number = integer(json).and_then(|number| i32::try_from(number).ok())?;
    Some(symbol(of, number, unknown))
}

/// A whole number, also as a string, also written as `1.0` or `1e3`.
fn integer(json: &Json) -> Option<i128> {
    let of_float = |value: f64| {
        // Beyond 2^53 a fraction could have been lost.
        (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i128)
    };
    match json {
        Json::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .or_else(|| number.as_f64().and_then(of_float)),
        Json::String(text) if is_number(text) => {
            text.parse::<i128>().ok().or_else(|| text.parse::<f64>().ok().and_then(of_float))
        }
        _ => None,
    }
}

fn float(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text if is_number(text) => text.parse().ok().filter(|value: &f64| value.is_finite()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a text is what JSON writes as a number.
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// Whether `name` is the field's, as the schema has it or in `lowerCamelCase`.
pub(super) fn is_name_of(field: &Field, name: &str) -> bool {
    if field.name == name {
        return true;
    }
    let (mut given, mut upper) = (name.chars(), false);
    for c in field.name.chars() {
        if c == '_' {
            upper = true;
            continue;
        }
        let expected = if std::mem::take(&mut upper) { c.to_ascii_uppercase() } else { c };
        if given.next() != Some(expected) {
            return false;
        }
    }
    given.next().is_none()
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
