//! The records of `dev_topic`: FeedMessages in either form, entity by entity, other JSON objects, and messages of a type
//! that a file describes, which are read as the JSON objects that they stand for.
//!
//! What is wrong with an entity concerns it alone: the others of its record go on. A record that holds no entity is
//! one event that is nothing to anybody, so that it too is accounted for.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use serde::de::IgnoredAny;
use tidegate::decode::json::{Limits, Object, ObjectReader, elements, present};
use tidegate::decode::protobuf::described::DescribedType;
use tidegate::decode::protobuf::wire::{Fields, Raw};
use tidegate::decode::protobuf::{Message, Unknown, json, quick, wire};
use tidegate::decode::{Reason, Rejected};
use tidegate::ingest::{Decode, Part};
use tidegate::record::{Record, Value};
use tidegate::telemetry::Board;
use tidegate::time;

use super::config::{Config, Format, TimeUnit};
use super::gtfs::{ENTITY, HEADER};
use super::metrics;

/// The year 10000 begins, in seconds since the epoch.
const YEAR_10000_S: i64 = 253_402_300_800;

/// What a record holds: one of its entities, or all of it.
pub enum TransitEvent<'a> {
    /// An entity of a FeedMessage.
    Entity(Box<Entity<'a>>),
    /// A JSON object that is no FeedMessage.
    Other {
        /// Its event time.
        time_us: i64,
        /// The object: as it came, or what a message of the configured type stands for.
        payload: &'a [u8],
    },
    /// A FeedMessage without entities.
    Nothing,
}

/// An entity of a FeedMessage.
pub struct Entity<'a> {
    /// Its own timestamp, else the header's, else the record's.
    pub time_us: i64,
    /// The header's timestamp.
    pub feed_us: Option<i64>,
    /// All of it.
    pub message: Message<'a>,
    /// Its bytes, where they hold fields that the schema does not name.
    pub unknown: Option<(Form, &'a [u8])>,
}

impl Entity<'_> {
    /// Its id; never empty.
    pub fn id(&self) -> &str {
        self.message.text(1).unwrap_or_default()
    }

    /// The vehicle's position, if it is one.
    pub fn vehicle(&self) -> Option<&Message<'_>> {
        self.message.message(4)
    }
}

/// Decodes records by the configured format.
pub struct TransitDecoder {
    format: Format,
    limits: Limits,
    message: Option<DescribedType>,
    time_field: Option<(String, TimeUnit)>,
    objects: ObjectReader,
    /// The object that a message of that type stands for.
    object: Vec<u8>,
    unknown: Rc<Cell<Unknown>>,
    /// Where that is stated.
    board: Option<Arc<Board>>,
}

impl TransitDecoder {
    /// A decoder under `config`.
    pub fn new(config: &Config) -> Self {
        TransitDecoder {
            format: config.format,
            limits: config.limits,
            message: config.message.clone(),
            time_field: config.time_field.clone().map(|field| (field, config.time_unit)),
            objects: ObjectReader::default(),
            object: Vec::new(),
            unknown: Rc::default(),
            board: None,
        }
    }

    /// The same, which states what is unknown on `board`.
    pub fn watched(self, board: &Arc<Board>) -> Self {
        TransitDecoder { board: Some(Arc::clone(board)), ..self }
    }

    /// How many unknown fields and enum values were met; shared with the decoder.
    pub fn unknown(&self) -> Rc<Cell<Unknown>> {
        Rc::clone(&self.unknown)
    }
}

impl Decode for TransitDecoder {
    type Event<'a> = TransitEvent<'a>;
    const MANY: bool = true;

    /// The event of a record that holds one.
    fn decode<'a>(&'a mut self, record: &Record<'a>) -> Result<TransitEvent<'a>, Rejected> {
        let mut events = Vec::new();
        self.decode_each(record, |_part, event| events.push(event));
        let only = if events.len() == 1 { events.pop() } else { None };
        only.unwrap_or_else(|| Err(schema("the record holds several entities")))
    }

    fn decode_each<'a>(
        &'a mut self,
        record: &Record<'a>,
        mut each: impl FnMut(Part<'_>, Result<TransitEvent<'a>, Rejected>),
    ) {
        let TransitDecoder { format, limits, message, time_field, objects, object, unknown, board } = self;
        let source = match present(record.value, limits) {
            Ok(source) => source,
            Err(why) => return each(Part::WHOLE, Err(why)),
        };
        let is_json = match format {
            Format::Json => true,
            Format::Protobuf => false,
            Format::Auto => source.trim_ascii_start().first() == Some(&b'{'),
        };
        let is_described = |of: &&DescribedType| !is_json || is_message_in_disguise(*format, of, source);
        let mut met = unknown.get();
        let reads = Reads { limits, kafka_us: record.kafka_time.us() };
        if let Some(of) = message.as_ref().filter(is_described) {
            match reads.object_of_wire(of, source, object, &mut met) {
                Err(why) => each(Part::WHOLE, Err(why)),
                Ok(payload) => {
                    // Its bytes were within the limit of a record; as text they may be more.
                    let unlimited = Limits { max_record_bytes: usize::MAX, ..*limits };
                    let read = objects.read(Some(Value::exact(payload)), &unlimited);
                    each(
                        Part::WHOLE,
                        read.and_then(|object| reads.other(object, payload, time_field.as_ref())),
                    );
                }
            }
        } else if !is_json {
            match reads.feed_of_wire(source, &mut met) {
                Err(why) => each(Part::WHOLE, Err(why)),
                Ok(feed) => reads.entities(feed, &mut met, &mut each),
            }
        } else {
            match objects.read(record.value, limits) {
                Err(why) => match reads.feed_in_disguise(*format, source, &mut met) {
                    Some(feed) => reads.entities(feed, &mut met, &mut each),
                    None => each(Part::WHOLE, Err(why)),
                },
                Ok(object) => match (object.member("header"), object.member("entity")) {
                    (Some(header), Some(entities)) => match reads.feed_of_json(header, entities, &mut met) {
                        Err(why) => each(Part::WHOLE, Err(why)),
                        Ok(feed) => reads.entities(feed, &mut met, &mut each),
                    },
                    _ => each(Part::WHOLE, reads.other(object, source, time_field.as_ref())),
                },
            }
        }
        let before = unknown.replace(met);
        if let Some(board) = board.as_ref().filter(|_| before != met) {
            metrics::met(board, before, met);
        }
    }

    fn event_time_us(event: &TransitEvent<'_>) -> i64 {
        match event {
            TransitEvent::Entity(entity) => entity.time_us,
            TransitEvent::Other { time_us, .. } => *time_us,
            // Before everything: it moves no watermark, and is ahead of nothing.
            TransitEvent::Nothing => i64::MIN,
        }
    }
}

/// A FeedMessage taken apart, not yet read.
struct Feed<'a> {
    form: Form,
    header_us: Option<i64>,
    /// The header as it came.
    header: &'a [u8],
    /// Each entity as it came.
    entities: Vec<&'a [u8]>,
}

/// The forms of Protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// That of its encoding.
    Wire,
    /// That of the JSON mapping.
    Json,
}

/// What reading an event needs besides its bytes.
struct Reads<'a> {
    limits: &'a Limits,
    kafka_us: Option<i64>,
}

impl Reads<'_> {
    /// A feed on the wire whose first bytes look like white space and a brace, and which is no JSON: one with a header
    /// of 123 bytes.
    fn feed_in_disguise<'a>(&self, format: Format, source: &'a [u8], met: &mut Unknown) -> Option<Feed<'a>> {
        looks_like_both(format, source).then(|| self.feed_of_wire(source, met).ok())?
    }

    /// A message of type `of` as the JSON object that it stands for.
    fn object_of_wire<'a>(
        &self,
        of: &DescribedType,
        source: &[u8],
        object: &'a mut Vec<u8>,
        met: &mut Unknown,
    ) -> Result<&'a [u8], Rejected> {
        object.clear();
        let unknown = of.write_json(source, object);
        met.fields += unknown.map_err(|error| schema(format!("not a {}: {error}", of.name())))?;
        Ok(object)
    }

    fn feed_of_wire<'a>(&self, source: &'a [u8], met: &mut Unknown) -> Result<Feed<'a>, Rejected> {
        let (mut header, mut entities) = (None, Vec::new());
        for field in Fields::of(source) {
            match field.map_err(|error| schema(format!("not a FeedMessage: {error}")))? {
                (1, Raw::Bytes(bytes)) => header = Some(bytes),
                (2, Raw::Bytes(bytes)) => entities.push(bytes),
                _ => met.fields += 1,
            }
        }
        let header = header.ok_or_else(|| schema("not a FeedMessage: it has no header"))?;
        let message = wire::read(&HEADER, header, met);
        let message = message.map_err(|error| schema(format!("the FeedMessage's header: {error}")))?;
        Ok(Feed {
            form: Form::Wire,
            header_us: self.time_of(&message, 3, "header.timestamp")?,
            header,
            entities,
        })
    }

    fn feed_of_json<'a>(
        &self,
        header: &'a [u8],
        entities: &'a [u8],
        met: &mut Unknown,
    ) -> Result<Feed<'a>, Rejected> {
        let message = match quick::read(&HEADER, header, met) {
            Some(message) => message,
            None => {
                let json = serde_json::from_slice(header);
                let json = json.map_err(|error| schema(format!("member \"header\": {error}")))?;
                let message = json::read(&HEADER, &json, met);
                message.map_err(|error| schema(format!("the FeedMessage's header: {error}")))?
            }
        };
        let entities = match entities {
            b"null" => Vec::new(),
            entities => elements(entities).ok_or_else(|| schema("member \"entity\" must be an array"))?,
        };
        Ok(Feed {
            form: Form::Json,
            header_us: self.time_of(&message, 3, "header.timestamp")?,
            header,
            entities,
        })
    }

    fn entities<'a>(
        &self,
        feed: Feed<'a>,
        met: &mut Unknown,
        each: &mut impl FnMut(Part<'_>, Result<TransitEvent<'a>, Rejected>),
    ) {
        if feed.entities.is_empty() {
            return each(Part::WHOLE, Ok(TransitEvent::Nothing));
        }
        let several = feed.entities.len() > 1;
        for &bytes in &feed.entities {
            let alone = || feed.alone(bytes);
            let alone: Option<&dyn Fn() -> Vec<u8>> = if several { Some(&alone) } else { None };
            let before = met.fields;
            let message = match feed.form {
                Form::Wire => {
                    wire::read(&ENTITY, bytes, met).map_err(|error| schema(format!("the entity: {error}")))
                }
                Form::Json => entity_of_json(bytes, met),
            };
            let entity = message.map_err(|why| (id_of(feed.form, bytes), why)).and_then(|message| {
                let unknown = (met.fields > before).then_some((feed.form, bytes));
                self.entity(message, feed.header_us, unknown).map_err(|why| (id_of(feed.form, bytes), why))
            });
            match entity {
                Ok(entity) => {
                    let id = entity.id().to_owned();
                    let part = Part { id: Some(id.as_bytes()), alone };
                    each(part, Ok(TransitEvent::Entity(Box::new(entity))));
                }
                Err((id, why)) => each(Part { id: Some(id.as_bytes()), alone }, Err(why)),
            }
        }
    }

    fn entity<'a>(
        &self,
        message: Message<'a>,
        feed_us: Option<i64>,
        unknown: Option<(Form, &'a [u8])>,
    ) -> Result<Entity<'a>, Rejected> {
        if message.text(1).is_none_or(str::is_empty) {
            return Err(schema("member \"id\" is missing or empty"));
        }
        self.check_texts(&message)?;
        let of_vehicle = message.message(4).map(|vehicle| self.time_of(vehicle, 5, "vehicle.timestamp"));
        let of_trip = message.message(3).map(|trip| self.time_of(trip, 4, "trip_update.timestamp"));
        let own = of_vehicle.transpose()?.flatten().or(of_trip.transpose()?.flatten());
        let time_us = own.or(feed_us).or(self.kafka_us);
        let time_us = time_us.ok_or_else(|| schema("neither entity, header nor record has a timestamp"))?;
        Ok(Entity { time_us, feed_us, message, unknown })
    }

    /// No text may hold U+0000; an id may not be longer than the limit, as every text that is a key.
    fn check_texts(&self, message: &Message<'_>) -> Result<(), Rejected> {
        let mut wrong = None;
        message.texts(&mut |text| {
            if text.contains('\0') {
                wrong.get_or_insert("a text holds U+0000");
            }
        });
        let mut long = |text: &str| {
            if text.len() > self.limits.max_string_bytes {
                wrong.get_or_insert("an id is over the limit of a text");
            }
        };
        message.text(1).into_iter().for_each(&mut long);
        for number in [3, 4] {
            message.message(number).into_iter().for_each(|of| of.texts(&mut long));
        }
        wrong.map_or(Ok(()), |what| Err(schema(what)))
    }

    fn other<'a>(
        &self,
        object: Object<'a>,
        payload: &'a [u8],
        time_field: Option<&(String, TimeUnit)>,
    ) -> Result<TransitEvent<'a>, Rejected> {
        let stated = time_field.and_then(|(name, unit)| Some((name, unit, object.member(name)?)));
        let time_us = match stated.filter(|(_, _, text)| *text != b"null") {
            Some((name, unit, text)) => Some(unit.read(text).ok_or_else(|| {
                Rejected::new(Reason::Time, format!("member {name:?} is not a time in {}", unit.as_str()))
            })?),
            None => self.kafka_us,
        };
        let time_us = time_us.ok_or_else(|| schema("neither object nor record has a timestamp"))?;
        Ok(TransitEvent::Other { time_us, payload })
    }

    /// A time in seconds, 0 counting as absent.
    fn time_of(&self, message: &Message<'_>, field: u32, name: &str) -> Result<Option<i64>, Rejected> {
        match message.int(field).filter(|seconds| *seconds != 0) {
            None => Ok(None),
            Some(seconds) if seconds < YEAR_10000_S => Ok(Some(seconds * 1_000_000)),
            Some(seconds) => {
                Err(Rejected::new(Reason::Time, format!("{name} is {seconds} s, beyond the year 9999")))
            }
        }
    }
}

/// Whether the bytes begin as JSON does, with white space and a brace, and as a message does whose first field has 123 bytes.
fn looks_like_both(format: Format, source: &[u8]) -> bool {
    format == Format::Auto && source.starts_with(b"\n{")
}

/// Whether bytes that begin as JSON does, with white space and a brace, are a message of type `of` all the same: white space is
/// what tags look like too.
fn is_message_in_disguise(format: Format, of: &DescribedType, source: &[u8]) -> bool {
    format == Format::Auto
        && source.first() != Some(&b'{')
        && serde_json::from_slice::<IgnoredAny>(source).is_err()
        && of.write_json(source, &mut Vec::new()).is_ok()
}

impl Feed<'_> {
    /// A FeedMessage of the header and this entity.
    fn alone(&self, entity: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header.len() + entity.len() + 32);
        match self.form {
            Form::Json => {
                out.extend_from_slice(b"{\"header\":");
                out.extend_from_slice(self.header);
                out.extend_from_slice(b",\"entity\":[");
                out.extend_from_slice(entity);
                out.extend_from_slice(b"]}");
            }
            Form::Wire => {
                for (tag, bytes) in [(0x0a, self.header), (0x12, entity)] {
                    out.push(tag);
                    write_length(&mut out, bytes.len());
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }
}

/// A length as a plain varint.
fn write_length(out: &mut Vec<u8>, len: usize) {
    let mut rest = len;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn entity_of_json<'a>(bytes: &'a [u8], met: &mut Unknown) -> Result<Message<'a>, Rejected> {
    if let Some(message) = quick::read(&ENTITY, bytes, met) {
        return Ok(message);
    }
    let json = serde_json::from_slice(bytes).map_err(|error| schema(format!("the entity: {error}")))?;
    json::read(&ENTITY, &json, met).map_err(|error| schema(error.to_string()))
}

/// The id of an entity that could not be used, as far as it can be read; else empty.
fn id_of(form: Form, bytes: &[u8]) -> String {
    match form {
        Form::Wire => {
            let fields = Fields::of(bytes).map_while(Result::ok);
            let ids = fields.filter_map(|(number, raw)| match raw {
                Raw::Bytes(text) if number == 1 => std::str::from_utf8(text).ok(),
                _ => None,
            });
            ids.last().unwrap_or_default().to_owned()
        }
        Form::Json => {
            let json: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
            json["id"].as_str().unwrap_or_default().to_owned()
        }
    }
}

fn schema(detail: impl Into<std::borrow::Cow<'static, str>>) -> Rejected {
    Rejected::new(Reason::Schema, detail)
}

impl TimeUnit {
    /// The time that a member's JSON text states.
    fn read(self, text: &[u8]) -> Option<i64> {
        if self == TimeUnit::Rfc3339 {
            let text: String = serde_json::from_slice(text).ok()?;
            return time::parse(text.as_bytes());
        }
        let number: i64 = serde_json::from_slice(text).ok()?;
        let us = match self {
            TimeUnit::Seconds => number.checked_mul(1_000_000)?,
            TimeUnit::Milliseconds => number.checked_mul(1_000)?,
            TimeUnit::Microseconds | TimeUnit::Rfc3339 => number,
        };
        const FIRST_US: i64 = -62_135_596_800_000_000;
        (FIRST_US..YEAR_10000_S * 1_000_000).contains(&us).then_some(us)
    }
}
