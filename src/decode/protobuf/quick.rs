//! The JSON form of Protobuf, straight into a message: texts are borrowed, and there is no tree between.
//!
//! It reads what producers write. Whatever is unusual it leaves to [`json::read`](super::json::read), which then says what is wrong, if
//! anything is: a member twice, in both styles of its name too; a value that is not written as its kind mostly is, such as `1.0` for an
//! integer. So it accepts only what that function accepts, with the same values, in the order in which members stand in the text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::is_name_of;
use super::{Descriptor, Enumeration, Field, Kind, Message, Unknown, Value, symbol};

/// Reads a message of type `of` from `text`, which is JSON that has been judged; `None` where [`json::read`](super::json::read) is to
/// look at it.
///
/// # Examples
/// ```
/// use tidegate::decode::protobuf::{Descriptor, Kind, Unknown, one, quick};
///
/// static STOP: Descriptor = Descriptor { name: "Stop", fields: &[one(1, "stop_time", Kind::Uint64)] };
/// let read = |text| quick::read(&STOP, text, &mut Unknown::default());
/// assert_eq!(read(br#"{"stopTime":"7"}"#).and_then(|stop| stop.int(1)), Some(7));
/// assert!(read(br#"{"stopTime":7.0}"#).is_none(), "not as it is mostly written");
/// ```
pub fn read<'a>(of: &'static Descriptor, text: &'a [u8], unknown: &mut Unknown) -> Option<Message<'a>> {
    // Where it gives up, nothing has been counted.
    let mut met = *unknown;
    let mut reader = serde_json::Deserializer::from_slice(text);
    let message = OfMessage { of, unknown: &mut met }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    *unknown = met;
    Some(message)
}

/// Why something is left to the other reader: nobody is told.
fn unusual<E: Error>() -> E {
    E::custom("unusual")
}

struct OfMessage<'u> {
    of: &'static Descriptor,
    unknown: &'u mut Unknown,
}

impl<'de> DeserializeSeed<'de> for OfMessage<'_> {
    type Value = Message<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Message<'de>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfMessage<'_> {
    type Value = Message<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Message<'de>, A::Error> {
        let OfMessage { of, unknown } = self;
        let mut message = Message::of_about(of.fields.len());
        let (mut seen, mut others) = (0_u64, Vec::new());
        while let Some(name) = members.next_key_seed(Name(of))? {
            let index = match name {
                Ok(index) => index,
                Err(other) => {
                    members.next_value::<IgnoredAny>()?;
                    if others.contains(&other) {
                        return Err(unusual());
                    }
                    others.push(other);
                    continue;
                }
            };
            let bit = 1_u64.checked_shl(index as u32).ok_or_else(unusual)?;
            if seen & bit != 0 {
                return Err(unusual());
            }
            seen |= bit;
            let field = &of.fields[index];
            if field.repeated {
                members.next_value_seed(OfList { field, unknown, message: &mut message })?;
            } else if let Some(value) = members.next_value_seed(OfField { field, unknown })? {
                message.0.push((field.number, value));
            }
        }
        unknown.fields += others.len() as u64;
        Ok(message)
    }
}

/// A member's name: the place of its field, or itself where there is none.
struct Name(&'static Descriptor);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Result<usize, Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Name {
    fn place(&self, name: &str) -> Option<usize> {
        let first = name.as_bytes().first();
        // Both styles of a name begin alike, so that most fields are told by a byte.
        let may_be = |field: &Field| field.name.starts_with('_') || field.name.as_bytes().first() == first;
        self.0.fields.iter().position(|field| may_be(field) && is_name_of(field, name))
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Result<usize, Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(self.place(name).ok_or(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.place(name).ok_or_else(|| Cow::Owned(name.to_owned())))
    }
}

/// The values of a repeated field, which go into the message.
struct OfList<'u, 'm, 'de> {
    field: &'static Field,
    unknown: &'u mut Unknown,
    message: &'m mut Message<'de>,
}

impl<'de> DeserializeSeed<'de> for OfList<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OfList<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let OfList { field, unknown, message } = self;
        while let Some(value) = values.next_element_seed(OfField { field, unknown })? {
            message.0.push((field.number, value.ok_or_else(unusual)?));
        }
        Ok(())
    }
}

/// One value; `None` for null, and for what is not looked at.
struct OfField<'u> {
    field: &'static Field,
    unknown: &'u mut Unknown,
}

impl<'de> DeserializeSeed<'de> for OfField<'_> {
    type Value = Option<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        match self.field.kind {
            Kind::Opaque => from.deserialize_ignored_any(IgnoredAny).map(|_| None),
            _ => from.deserialize_any(self),
        }
    }
}

impl OfField<'_> {
    fn whole<'de, E: Error>(self, whole: i64) -> Result<Option<Value<'de>>, E> {
        let fits = match self.field.kind {
            Kind::Int32 => i32::try_from(whole).is_ok(),
            Kind::Uint32 => u32::try_from(whole).is_ok(),
            Kind::Int64 => true,
            Kind::Uint64 => whole >= 0,
            Kind::Enum(of) => {
                let number = i32::try_from(whole).map_err(|_| unusual())?;
                return Ok(Some(symbol(of, number, self.unknown)));
            }
            Kind::Float | Kind::Double => return self.float(whole as f64),
            _ => false,
        };
        if fits { Ok(Some(Value::Int(whole))) } else { Err(unusual()) }
    }

    fn float<'de, E: Error>(self, value: f64) -> Result<Option<Value<'de>>, E> {
        match self.field.kind {
            Kind::Double => Ok(Some(Value::Float(value))),
            Kind::Float => {
                let near = value as f32;
                if near.is_finite() { Ok(Some(Value::Float(f64::from(near)))) } else { Err(unusual()) }
            }
            _ => Err(unusual()),
        }
    }

    /// A text of a field that holds none, as the producer's own would be.
    fn written<'de, E: Error>(self, text: &str) -> Result<Option<Value<'de>>, E> {
        match self.field.kind {
            Kind::Enum(of) => {
                known(of, text).map(|name| Some(Value::Symbol(Cow::Borrowed(name)))).ok_or_else(unusual)
            }
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 if is_decimal(text) => {
                let whole = text.parse().map_err(|_| unusual())?;
                self.whole(whole)
            }
            _ => Err(unusual()),
        }
    }
}

impl<'de> Visitor<'de> for OfField<'_> {
    type Value = Option<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        if self.field.kind == Kind::Bool { Ok(Some(Value::Int(value.into()))) } else { Err(unusual()) }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.whole(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.whole(i64::try_from(value).map_err(|_| unusual())?)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.float(value)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        match self.field.kind {
            Kind::Text => Ok(Some(Value::Text(Cow::Borrowed(text)))),
            _ => self.written(text),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.field.kind {
            Kind::Text => Ok(Some(Value::Text(Cow::Owned(text.to_owned())))),
            _ => self.written(text),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        match self.field.kind {
            Kind::Message(of) => OfMessage { of, unknown: self.unknown }
                .visit_map(members)
                .map(|read| Some(Value::Message(read))),
            _ => Err(unusual()),
        }
    }
}

fn known(of: &Enumeration, name: &str) -> Option<&'static str> {
    of.values.iter().find(|(_, known)| *known == name).map(|(_, known)| *known)
}

/// Whether a text is a whole number as it is written without need: no sign but a minus, no leading zero.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    digits.iter().all(u8::is_ascii_digit) && matches!(digits, [b'0'] | [b'1'..=b'9', ..])
}
