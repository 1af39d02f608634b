//! FeedMessages in either form, read into structures that know what `transit` needs of them.
//!
//! JSON by `serde`, which borrows where nothing is escaped; the wire by a `match` over field numbers. What the tables do not have is passed over.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use tidegate::decode::protobuf::wire::{Fields, Raw};

/// A text.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A whole number, in JSON also as a string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole(pub(super) i64);

/// A value of an enumeration: a number, or in JSON its name.
#[derive(Clone, Debug)]
pub(super) enum Symbol<'a> {
    Number(i64),
    Name(Cow<'a, str>),
}

impl<'a> Symbol<'a> {
    /// Its name, that of number `i` being `names[i]`.
    pub(super) fn name(&self, names: &[&'static str]) -> Option<&str> {
        match self {
            Symbol::Name(name) => Some(name),
            Symbol::Number(number) => names.get(usize::try_from(*number).ok()?).copied(),
        }
    }
}

/// A feed, or an object that is none: it then lacks one of the two.
#[derive(Default, Deserialize)]
pub(super) struct Feed<'a> {
    pub(super) header: Option<Header>,
    #[serde(borrow)]
    pub(super) entity: Option<Vec<Entity<'a>>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
pub(super) struct Header {
    pub(super) timestamp: Option<Whole>,
}

#[derive(Default, Deserialize)]
pub(super) struct Entity<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, alias = "tripUpdate")]
    pub(super) trip_update: Option<Update<'a>>,
    #[serde(borrow)]
    pub(super) vehicle: Option<Vehicle<'a>>,
    #[serde(borrow)]
    pub(super) alert: Option<Alert<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Trip<'a> {
    #[serde(borrow, alias = "tripId")]
    pub(super) trip_id: Option<Text<'a>>,
    #[serde(borrow, alias = "startTime")]
    pub(super) start_time: Option<Text<'a>>,
    #[serde(borrow, alias = "startDate")]
    pub(super) start_date: Option<Text<'a>>,
    #[serde(borrow, alias = "scheduleRelationship")]
    pub(super) schedule_relationship: Option<Symbol<'a>>,
    #[serde(borrow, alias = "routeId")]
    pub(super) route_id: Option<Text<'a>>,
    #[serde(alias = "directionId")]
    pub(super) direction_id: Option<Whole>,
}

#[derive(Default, Deserialize)]
pub(super) struct Named<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) label: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Position {
    pub(super) latitude: Option<f32>,
    pub(super) longitude: Option<f32>,
    pub(super) bearing: Option<f32>,
    pub(super) speed: Option<f32>,
}

#[derive(Default, Deserialize)]
pub(super) struct Vehicle<'a> {
    #[serde(borrow)]
    pub(super) trip: Option<Trip<'a>>,
    pub(super) position: Option<Position>,
    #[serde(alias = "currentStopSequence")]
    pub(super) current_stop_sequence: Option<Whole>,
    #[serde(borrow, alias = "currentStatus")]
    pub(super) current_status: Option<Symbol<'a>>,
    pub(super) timestamp: Option<Whole>,
    #[serde(borrow, alias = "congestionLevel")]
    pub(super) congestion_level: Option<Symbol<'a>>,
    #[serde(borrow, alias = "stopId")]
    pub(super) stop_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) vehicle: Option<Named<'a>>,
    #[serde(borrow, alias = "occupancyStatus")]
    pub(super) occupancy_status: Option<Symbol<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Update<'a> {
    #[serde(borrow)]
    pub(super) trip: Option<Trip<'a>>,
    #[serde(borrow, default, alias = "stopTimeUpdate")]
    pub(super) stop_time_update: Vec<Stop<'a>>,
    #[serde(borrow)]
    pub(super) vehicle: Option<Named<'a>>,
    pub(super) timestamp: Option<Whole>,
}

#[derive(Default, Deserialize)]
pub(super) struct Stop<'a> {
    #[serde(alias = "stopSequence")]
    pub(super) stop_sequence: Option<Whole>,
    pub(super) arrival: Option<StopEvent>,
    pub(super) departure: Option<StopEvent>,
    #[serde(borrow, alias = "stopId")]
    pub(super) stop_id: Option<Text<'a>>,
    #[serde(borrow, alias = "scheduleRelationship")]
    pub(super) schedule_relationship: Option<Symbol<'a>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
pub(super) struct StopEvent {
    pub(super) delay: Option<Whole>,
    pub(super) time: Option<Whole>,
}

#[derive(Default, Deserialize)]
pub(super) struct Alert<'a> {
    #[serde(default, alias = "activePeriod")]
    pub(super) active_period: Vec<Period>,
    #[serde(borrow, default, alias = "informedEntity")]
    pub(super) informed_entity: Vec<Selector<'a>>,
    #[serde(borrow)]
    pub(super) cause: Option<Symbol<'a>>,
    #[serde(borrow)]
    pub(super) effect: Option<Symbol<'a>>,
    #[serde(borrow, alias = "headerText")]
    pub(super) header_text: Option<Translated<'a>>,
    #[serde(borrow, alias = "descriptionText")]
    pub(super) description_text: Option<Translated<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Period {
    pub(super) start: Option<Whole>,
    pub(super) end: Option<Whole>,
}

#[derive(Default, Deserialize)]
pub(super) struct Selector<'a> {
    #[serde(borrow, alias = "routeId")]
    pub(super) route_id: Option<Text<'a>>,
    #[serde(borrow, alias = "stopId")]
    pub(super) stop_id: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Translated<'a> {
    #[serde(borrow, default)]
    pub(super) translation: Vec<Translation<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Translation<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;
        impl Visitor<'_> for Of {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Whole, E> {
                Ok(Whole(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Whole, E> {
                i64::try_from(value).map(Whole).map_err(E::custom)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Whole, E> {
                text.parse().map(Whole).map_err(E::custom)
            }
        }
        from.deserialize_any(Of)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Symbol<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Symbol<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a number")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Symbol<'de>, E> {
                Ok(Symbol::Number(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Symbol<'de>, E> {
                i64::try_from(value).map(Symbol::Number).map_err(E::custom)
            }
            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Symbol<'de>, E> {
                Ok(Symbol::Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Symbol<'de>, E> {
                Ok(Symbol::Name(Cow::Owned(name.to_owned())))
            }
        }
        from.deserialize_any(Of)
    }
}

/// The feed on the wire; `None` where it cannot be read.
pub(super) fn of_wire(bytes: &[u8]) -> Option<Feed<'_>> {
    let mut feed = Feed { entity: Some(Vec::new()), ..Feed::default() };
    let entities = feed.entity.get_or_insert_default();
    each(bytes, |number, raw| {
        match number {
            1 => feed.header = Some(Header::wire(bytes_of(raw)?)?),
            2 => entities.push(Entity::wire(bytes_of(raw)?)?),
            _ => {}
        }
        Some(())
    })?;
    Some(feed)
}

fn each<'a>(bytes: &'a [u8], mut take: impl FnMut(u32, Raw<'a>) -> Option<()>) -> Option<()> {
    for field in Fields::of(bytes) {
        let (number, raw) = field.ok()?;
        take(number, raw)?;
    }
    Some(())
}

fn bytes_of(raw: Raw<'_>) -> Option<&[u8]> {
    if let Raw::Bytes(bytes) = raw { Some(bytes) } else { None }
}

fn text_of(raw: Raw<'_>) -> Option<Text<'_>> {
    std::str::from_utf8(bytes_of(raw)?).ok().map(|text| Text(Cow::Borrowed(text)))
}

fn whole_of(raw: Raw<'_>) -> Option<Whole> {
    if let Raw::Varint(value) = raw { Some(Whole(value as i64)) } else { None }
}

fn float_of(raw: Raw<'_>) -> Option<f32> {
    if let Raw::Fixed32(bits) = raw { Some(f32::from_bits(bits)) } else { None }
}

fn symbol_of<'a>(raw: Raw<'_>) -> Option<Symbol<'a>> {
    whole_of(raw).map(|Whole(number)| Symbol::Number(number))
}

/// What reads a message off the wire: for each field that is needed its number, its member, and what makes the one of
/// the other; repeated ones stand behind a bar.
macro_rules! on_the_wire {
    ($($message:ty: $($number:literal $member:ident = $read:ident),+ $(| $many_number:literal $many:ident = $many_read:ident)*;)*) => {$(
        impl<'a> Wire<'a> for $message {
            fn wire(bytes: &'a [u8]) -> Option<Self> {
                let mut message = Self::default();
                each(bytes, |number, raw| {
                    match number {
                        $($number => message.$member = Some($read(raw)?),)+
                        $($many_number => message.$many.push($many_read(raw)?),)*
                        _ => {}
                    }
                    Some(())
                })?;
                Some(message)
            }
        }
    )*};
}

/// Can be read off the wire.
trait Wire<'a>: Sized {
    fn wire(bytes: &'a [u8]) -> Option<Self>;
}

fn nested<'a, M: Wire<'a>>(raw: Raw<'a>) -> Option<M> {
    M::wire(bytes_of(raw)?)
}

impl<'a> Wire<'a> for Entity<'a> {
    fn wire(bytes: &'a [u8]) -> Option<Self> {
        let mut entity = Entity::default();
        each(bytes, |number, raw| {
            match number {
                1 => entity.id = text_of(raw)?,
                3 => entity.trip_update = Some(nested(raw)?),
                4 => entity.vehicle = Some(nested(raw)?),
                5 => entity.alert = Some(nested(raw)?),
                _ => {}
            }
            Some(())
        })?;
        Some(entity)
    }
}

impl<'a> Wire<'a> for Translated<'a> {
    fn wire(bytes: &'a [u8]) -> Option<Self> {
        let mut translated = Translated::default();
        each(bytes, |number, raw| {
            if number == 1 {
                translated.translation.push(nested(raw)?);
            }
            Some(())
        })?;
        Some(translated)
    }
}

on_the_wire! {
    Header: 3 timestamp = whole_of;
    Trip<'a>:
        1 trip_id = text_of, 2 start_time = text_of, 3 start_date = text_of, 4 schedule_relationship = symbol_of,
        5 route_id = text_of, 6 direction_id = whole_of;
    Named<'a>: 1 id = text_of, 2 label = text_of;
    Position: 1 latitude = float_of, 2 longitude = float_of, 3 bearing = float_of, 5 speed = float_of;
    Vehicle<'a>:
        1 trip = nested, 2 position = nested, 3 current_stop_sequence = whole_of, 4 current_status = symbol_of,
        5 timestamp = whole_of, 6 congestion_level = symbol_of, 7 stop_id = text_of, 8 vehicle = nested,
        9 occupancy_status = symbol_of;
    Update<'a>: 1 trip = nested, 3 vehicle = nested, 4 timestamp = whole_of | 2 stop_time_update = nested;
    Stop<'a>:
        1 stop_sequence = whole_of, 2 arrival = nested, 3 departure = nested, 4 stop_id = text_of,
        5 schedule_relationship = symbol_of;
    StopEvent: 1 delay = whole_of, 2 time = whole_of;
    Alert<'a>:
        6 cause = symbol_of, 7 effect = symbol_of, 10 header_text = nested, 11 description_text = nested
        | 1 active_period = nested | 5 informed_entity = nested;
    Period: 1 start = whole_of, 2 end = whole_of;
    Selector<'a>: 2 route_id = text_of, 5 stop_id = text_of;
    Translation<'a>: 1 text = text_of;
}
