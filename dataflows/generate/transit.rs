//! A synthetic feed for `transit`: vehicles on routes, polled every some seconds, in both forms.
//!
//! At each poll every vehicle has moved on; its position was measured a little before. A poll is one record, a whole
//! feed, on every second partition, and one record a vehicle on the others, as producers of either kind write them.
//! Records are Protobuf and JSON in turn. Every few polls there are trip updates, an alert, an object that is no feed,
//! and now and then an entity whose clock is far ahead. Some positions are reported long after they were measured. Where
//! it is asked for, some cannot be used, each in one way that decoding knows; which ones is told.

use std::time::Duration;

use serde::Serialize;
use tidegate::time;

use super::activity::{BadSpec, Generated, PARTITIONS_MAX};
use super::marks::Mark;
use super::random::Random;

/// A position is reported at most this long after it was measured, unless it is a straggler.
const DISORDER_S: u64 = 20;
/// A straggler is reported at least this long after …
const STRAGGLER_MIN_S: u64 = 480;
/// … and less than this long.
const STRAGGLER_MAX_S: u64 = 900;
/// How far a wrong clock is ahead.
const AHEAD_S: i64 = 86_400;

/// What is wrong with an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A day ahead of its arrival.
    WrongClock,
    /// Without an id.
    MissingId,
    /// A time beyond the year 9999, as milliseconds look where seconds are expected.
    BadTime,
    /// Half of a record; just where the entity has one of its own.
    CutShort,
}

const FAULTS: [FaultKind; 4] =
    [FaultKind::WrongClock, FaultKind::MissingId, FaultKind::BadTime, FaultKind::CutShort];

impl FaultKind {
    /// As the marks and the header `fault` call it.
    pub fn name(self) -> &'static str {
        ["wrong_clock", "missing_id", "bad_time", "cut_short"][self as usize]
    }

    /// The reason that its dead letter is to have.
    fn reason(self, json: bool) -> &'static str {
        match self {
            FaultKind::WrongClock => "ahead",
            FaultKind::MissingId => "schema",
            FaultKind::BadTime => "time",
            FaultKind::CutShort if json => "not_json",
            FaultKind::CutShort => "schema",
        }
    }
}

/// What is generated. The same specification gives the same bytes, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Chooses everything.
    pub seed: u64,
    /// How many polls.
    pub polls: u32,
    /// The time from one poll to the next.
    pub every: Duration,
    /// How many partitions.
    pub partitions: u32,
    /// How many vehicles.
    pub vehicles: u32,
    /// How many routes.
    pub routes: u32,
    /// When the first poll is, in milliseconds since the epoch.
    pub start_ms: i64,
    /// One position in so many is reported late, on average; 0: none.
    pub late_every: u32,
    /// One position in so many cannot be used, on average; 0: none but the clocks that are ahead now and then.
    pub fault_every: u32,
}

impl Default for Spec {
    /// 160 polls every 15 s, 40 vehicles on 8 routes, 2 partitions.
    fn default() -> Self {
        Spec {
            seed: 1,
            polls: 160,
            every: Duration::from_secs(15),
            partitions: 2,
            vehicles: 40,
            routes: 8,
            start_ms: 1_767_225_600_000,
            late_every: 50,
            fault_every: 0,
        }
    }
}

/// A record that waits to be given.
#[derive(Clone, Debug)]
struct Made {
    partition: u32,
    kafka_ms: i64,
    key: String,
    payload: Vec<u8>,
    /// What is wrong: with which entity, and what its dead letter says.
    faults: Vec<(FaultKind, &'static str, String)>,
    /// Their names.
    fault: String,
}

impl Made {
    fn new(partition: u32, kafka_ms: i64, key: String, payload: Vec<u8>) -> Made {
        Made { partition, kafka_ms, key, payload, faults: Vec::new(), fault: String::new() }
    }
}

/// An entity, and what is wrong with it.
struct Entity {
    node: Node,
    fault: Option<FaultKind>,
}

/// The records of a [`Spec`], in the order of their arrival.
///
/// # Examples
/// ```
/// use tidegate_dataflows::generate::transit::{Feed, Spec};
///
/// let mut feed = Feed::new(Spec { polls: 1, ..Spec::default() })?;
/// assert!(feed.next_event().is_some());
/// # Ok::<(), tidegate_dataflows::generate::activity::BadSpec>(())
/// ```
#[derive(Clone, Debug)]
pub struct Feed {
    spec: Spec,
    random: Random,
    poll: u32,
    waiting: std::collections::VecDeque<Made>,
    given: Option<Made>,
    offsets: Vec<i64>,
    faults: Vec<Mark<FaultKind>>,
}

impl Feed {
    /// The records of `spec`, from the first.
    ///
    /// # Errors
    /// When there can be no such records.
    pub fn new(spec: Spec) -> Result<Feed, BadSpec> {
        let counts = [("partitions", spec.partitions), ("vehicles", spec.vehicles), ("routes", spec.routes)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(BadSpec::Zero(name));
        }
        if spec.partitions > PARTITIONS_MAX {
            return Err(BadSpec::Partitions(spec.partitions));
        }
        let span_ms = spec.every.as_millis().saturating_mul(spec.polls.into());
        let last_ms = i64::try_from(span_ms).ok().and_then(|ms| spec.start_ms.checked_add(ms));
        if spec.start_ms < 86_400_000 || last_ms.and_then(time::from_epoch_ms).is_none() {
            return Err(BadSpec::Time);
        }
        let (offsets, random) = (vec![0; spec.partitions as usize], Random::new(spec.seed));
        let (waiting, faults) = (Default::default(), Vec::new());
        Ok(Feed { spec, random, poll: 0, waiting, given: None, offsets, faults })
    }

    /// What cannot be used of the records so far.
    pub fn faults(&self) -> &[Mark<FaultKind>] {
        &self.faults
    }

    /// The next record; `None` after the last.
    pub fn next_event(&mut self) -> Option<Generated<'_>> {
        while self.waiting.is_empty() {
            if self.poll == self.spec.polls {
                return None;
            }
            self.make_poll();
            self.poll += 1;
        }
        let made = self.given.insert(self.waiting.pop_front()?);
        let offset = self.offsets[made.partition as usize];
        self.offsets[made.partition as usize] += 1;
        let partition = made.partition as i32;
        self.faults.extend(made.faults.drain(..).map(|(kind, reason, entity_id)| Mark {
            kind,
            reason,
            partition,
            offset,
            entity_id: Some(entity_id),
        }));
        Some(Generated {
            partition,
            offset,
            kafka_ms: made.kafka_ms,
            key: made.key.as_bytes(),
            payload: &made.payload,
            fault: Some(&*made.fault).filter(|fault| !fault.is_empty()),
        })
    }

    fn make_poll(&mut self) {
        let Spec { partitions, vehicles, every, start_ms, .. } = self.spec;
        let kafka_ms = start_ms + (every.as_millis() * u128::from(self.poll)) as i64;
        let now_s = kafka_ms / 1000;
        let json = self.poll % 2 == 1;
        for partition in 0..partitions {
            let mine: Vec<u32> = (0..vehicles).filter(|vehicle| vehicle % partitions == partition).collect();
            let alone = partition % 2 == 1;
            let mut entities: Vec<Entity> =
                mine.iter().map(|vehicle| self.vehicle(*vehicle, now_s, alone)).collect();
            let whole = |node| Entity { node, fault: None };
            if self.poll.is_multiple_of(4) {
                let updates = mine.iter().step_by(3).map(|vehicle| self.trip_update(*vehicle, now_s));
                entities.extend(updates.map(whole));
            }
            if self.poll % 16 == 5 {
                entities.push(whole(self.alert(now_s)));
            }
            if self.poll % 32 == 9 {
                let vehicle =
                    node(vec![(8, node(vec![(1, text("clock"))])), (5, Node::Int(now_s + AHEAD_S))]);
                let node = node(vec![(1, text("ahead")), (4, vehicle)]);
                entities.push(Entity { node, fault: Some(FaultKind::WrongClock) });
            }
            let header = |now_s| node(vec![(1, text("2.0")), (3, Node::Int(now_s))]);
            let feed = |entities: &[Entity]| {
                let all = entities.iter().map(|entity| (2, entity.node.clone()));
                node([(1, header(now_s))].into_iter().chain(all).collect())
            };
            let render = |feed: &Node| if json { feed.json(&FEED) } else { feed.wire(&FEED) };
            let made = |key: &str, entities: &[Entity]| {
                let mut made = Made::new(partition, kafka_ms, key.to_owned(), render(&feed(entities)));
                for (kind, entity) in entities.iter().filter_map(|entity| Some((entity.fault?, entity))) {
                    made.faults.push((kind, kind.reason(json), entity.node.id().to_owned()));
                    made.fault.push_str(if made.fault.is_empty() { "" } else { "," });
                    made.fault.push_str(kind.name());
                    if kind == FaultKind::CutShort {
                        made.payload.truncate(made.payload.len() / 2);
                    }
                }
                made
            };
            if alone {
                let records = entities.iter().map(|own| made(own.node.id(), std::slice::from_ref(own)));
                self.waiting.extend(records);
            } else {
                self.waiting.push_back(made("feed", &entities));
            }
            if self.poll % 10 == 3 {
                let payload = format!("{{\"poll\":{},\"status\":\"ok\"}}", self.poll).into_bytes();
                self.waiting.push_back(Made::new(partition, kafka_ms, "monitor".to_owned(), payload));
            }
        }
    }

    fn trip(&self, vehicle: u32) -> Node {
        let route = vehicle % self.spec.routes;
        // A vehicle has a new trip every quarter of an hour or so.
        let trip = self.poll / 60 * 1000 + vehicle;
        node(vec![
            (1, text(&format!("trip-{trip}"))),
            (5, text(&format!("R{route}"))),
            (6, Node::Int((vehicle % 2).into())),
        ])
    }

    /// A position, which may be faulty; cut short just where it has a record `alone`.
    fn vehicle(&mut self, vehicle: u32, now_s: i64, alone: bool) -> Entity {
        let late = self.spec.late_every;
        let straggles = late > 0 && self.random.below(late.into()) == 0;
        let behind_s = match straggles {
            true => STRAGGLER_MIN_S + self.random.below(STRAGGLER_MAX_S - STRAGGLER_MIN_S),
            false => self.random.below(DISORDER_S),
        };
        // In steps that a float has exactly, so that both forms say the same.
        let step = |random: &mut Random, n: u64, unit: f64| random.below(n) as f64 * unit;
        let position = node(vec![
            (1, Node::Float(47.0 + step(&mut self.random, 1024, 1.0 / 1024.0))),
            (2, Node::Float(-122.5 + step(&mut self.random, 1024, 1.0 / 1024.0))),
            (3, Node::Float(step(&mut self.random, 720, 0.5))),
            (5, Node::Float(step(&mut self.random, 160, 0.125))),
        ]);
        let named = node(vec![(1, text(&format!("bus-{vehicle}"))), (2, text(&format!("{vehicle:04}")))]);
        let status = self.random.below(3) as i64;
        // A straggler is late and nothing else, so that both can be counted.
        let fault_every = self.spec.fault_every;
        let is_faulty = fault_every > 0 && self.random.below(fault_every.into()) == 0 && !straggles;
        let kinds = &FAULTS[..if alone { FAULTS.len() } else { FAULTS.len() - 1 }];
        let fault = is_faulty.then(|| kinds[self.random.below(kinds.len() as u64) as usize]);
        let time_s = match fault {
            Some(FaultKind::WrongClock) => now_s + AHEAD_S,
            Some(FaultKind::BadTime) => now_s * 1_000,
            _ => now_s - behind_s as i64,
        };
        let body = node(vec![
            (1, self.trip(vehicle)),
            (2, position),
            (3, Node::Int((self.poll % 30 + 1).into())),
            (4, Node::Symbol(status)),
            (5, Node::Int(time_s)),
            (7, text(&format!("stop-{}", (vehicle * 7 + self.poll) % 90))),
            (8, named),
        ]);
        let id = (fault != Some(FaultKind::MissingId)).then(|| (1, text(&format!("v{vehicle}"))));
        Entity { node: node(id.into_iter().chain([(4, body)]).collect()), fault }
    }

    fn trip_update(&mut self, vehicle: u32, now_s: i64) -> Node {
        let delay = self.random.below(600) as i64 - 120;
        let stop = |n: u32| {
            let event = node(vec![(1, Node::Int(delay)), (2, Node::Int(now_s + i64::from(n) * 90 + delay))]);
            let place = text(&format!("stop-{}", (vehicle * 7 + self.poll + n) % 90));
            node(vec![(1, Node::Int((self.poll % 30 + n).into())), (2, event), (4, place)])
        };
        let stops = (1..=2).map(|n| (2, stop(n)));
        let body = [(1, self.trip(vehicle)), (4, Node::Int(now_s))].into_iter().chain(stops).collect();
        node(vec![(1, text(&format!("t{vehicle}"))), (3, node(body))])
    }

    fn alert(&mut self, now_s: i64) -> Node {
        let route = self.random.below(self.spec.routes.into());
        let said = |text_of: &str| node(vec![(1, node(vec![(1, text(text_of)), (2, text("en"))]))]);
        let body = node(vec![
            (1, node(vec![(1, Node::Int(now_s)), (2, Node::Int(now_s + 3_600))])),
            (5, node(vec![(2, text(&format!("R{route}")))])),
            (6, Node::Symbol(10)),
            (7, Node::Symbol(4)),
            (10, said("Detour")),
            (11, said("Roadworks: buses take another way")),
        ]);
        node(vec![(1, text(&format!("a{}", self.poll))), (5, body)])
    }
}

/// A message or a value, to be written in either form.
#[derive(Clone, Debug)]
enum Node {
    Message(Vec<(u32, Node)>),
    Text(String),
    Int(i64),
    Symbol(i64),
    Float(f64),
}

fn node(fields: Vec<(u32, Node)>) -> Node {
    Node::Message(fields)
}

fn text(text: &str) -> Node {
    Node::Text(text.to_owned())
}

/// The names of a message's fields in JSON, and of the messages in them.
struct Names {
    fields: &'static [(u32, &'static str, bool, Option<&'static Names>)],
}

const fn field(number: u32, name: &'static str) -> (u32, &'static str, bool, Option<&'static Names>) {
    (number, name, false, None)
}

static FEED: Names =
    Names { fields: &[(1, "header", false, Some(&HEADER)), (2, "entity", true, Some(&ENTITY))] };
static HEADER: Names = Names { fields: &[field(1, "gtfsRealtimeVersion"), field(3, "timestamp")] };
static ENTITY: Names = Names {
    fields: &[
        field(1, "id"),
        (3, "tripUpdate", false, Some(&UPDATE)),
        (4, "vehicle", false, Some(&VEHICLE)),
        (5, "alert", false, Some(&ALERT)),
    ],
};
static TRIP: Names = Names { fields: &[field(1, "tripId"), field(5, "routeId"), field(6, "directionId")] };
static POSITION: Names =
    Names { fields: &[field(1, "latitude"), field(2, "longitude"), field(3, "bearing"), field(5, "speed")] };
static NAMED: Names = Names { fields: &[field(1, "id"), field(2, "label")] };
static VEHICLE: Names = Names {
    fields: &[
        (1, "trip", false, Some(&TRIP)),
        (2, "position", false, Some(&POSITION)),
        field(3, "currentStopSequence"),
        field(4, "currentStatus"),
        field(5, "timestamp"),
        field(7, "stopId"),
        (8, "vehicle", false, Some(&NAMED)),
    ],
};
static STOP_EVENT: Names = Names { fields: &[field(1, "delay"), field(2, "time")] };
static STOP: Names = Names {
    fields: &[field(1, "stopSequence"), (2, "arrival", false, Some(&STOP_EVENT)), field(4, "stopId")],
};
static UPDATE: Names = Names {
    fields: &[
        (1, "trip", false, Some(&TRIP)),
        (2, "stopTimeUpdate", true, Some(&STOP)),
        field(4, "timestamp"),
    ],
};
static PERIOD: Names = Names { fields: &[field(1, "start"), field(2, "end")] };
static SELECTOR: Names = Names { fields: &[field(2, "routeId")] };
static TRANSLATION: Names = Names { fields: &[field(1, "text"), field(2, "language")] };
static TRANSLATED: Names = Names { fields: &[(1, "translation", true, Some(&TRANSLATION))] };
static ALERT: Names = Names {
    fields: &[
        (1, "activePeriod", true, Some(&PERIOD)),
        (5, "informedEntity", true, Some(&SELECTOR)),
        field(6, "cause"),
        field(7, "effect"),
        (10, "headerText", false, Some(&TRANSLATED)),
        (11, "descriptionText", false, Some(&TRANSLATED)),
    ],
};

impl Node {
    fn id(&self) -> &str {
        match self {
            Node::Message(fields) => fields.first().map_or("", |(number, id)| match (number, id) {
                (1, Node::Text(id)) => id,
                _ => "",
            }),
            _ => "",
        }
    }

    fn wire(&self, _names: &Names) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_wire(&mut out);
        out
    }

    fn write_wire(&self, out: &mut Vec<u8>) {
        let Node::Message(fields) = self else { return };
        for (number, value) in fields {
            let tag = u64::from(*number) << 3;
            match value {
                Node::Int(value) | Node::Symbol(value) => {
                    varint(tag, out);
                    varint(*value as u64, out);
                }
                Node::Float(value) => {
                    varint(tag | 5, out);
                    out.extend_from_slice(&(*value as f32).to_le_bytes());
                }
                Node::Text(text) => {
                    varint(tag | 2, out);
                    varint(text.len() as u64, out);
                    out.extend_from_slice(text.as_bytes());
                }
                Node::Message(_) => {
                    let mut inner = Vec::new();
                    value.write_wire(&mut inner);
                    varint(tag | 2, out);
                    varint(inner.len() as u64, out);
                    out.extend_from_slice(&inner);
                }
            }
        }
    }

    fn json(&self, names: &'static Names) -> Vec<u8> {
        self.to_json(Some(names)).to_string().into_bytes()
    }

    fn to_json(&self, names: Option<&'static Names>) -> serde_json::Value {
        match (self, names) {
            (Node::Message(fields), Some(names)) => {
                let mut object = serde_json::Map::new();
                for (number, value) in fields {
                    let known = names.fields.iter().find(|(known, ..)| known == number);
                    let Some((_, name, repeated, inner)) = known else { continue };
                    let value = value.to_json(*inner);
                    let slot = object.entry(*name);
                    if *repeated {
                        let list = slot.or_insert_with(|| serde_json::Value::Array(Vec::new()));
                        list.as_array_mut().into_iter().for_each(|list| list.push(value.clone()));
                    } else {
                        slot.or_insert(value);
                    }
                }
                object.into()
            }
            (Node::Text(text), _) => text.as_str().into(),
            // As the mapping writes 64-bit integers.
            (Node::Int(value), _) if *value > i64::from(i32::MAX) => value.to_string().into(),
            (Node::Int(value) | Node::Symbol(value), _) => (*value).into(),
            (Node::Float(value), _) => (*value).into(),
            (Node::Message(_), None) => serde_json::Value::Null,
        }
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transit::{Config, TransitDecoder, TransitEvent};
    use tidegate::ingest::Decode;
    use tidegate::record::{Headers, KafkaTime, Record, Value};

    fn all(spec: Spec) -> Vec<(i32, i64, i64, Vec<u8>)> {
        let mut feed = Feed::new(spec).unwrap();
        let mut out = Vec::new();
        while let Some(event) = feed.next_event() {
            out.push((event.partition, event.offset, event.kafka_ms, event.payload.to_vec()));
        }
        out
    }

    #[test]
    fn same_seed_same_records_and_another_seed_others() {
        let spec = Spec { polls: 40, ..Spec::default() };
        assert_eq!(all(spec.clone()), all(spec.clone()));
        assert_ne!(all(spec.clone()), all(Spec { seed: 2, ..spec }));
    }

    #[test]
    fn every_record_can_be_decoded_but_for_the_clock_that_is_ahead() {
        let mut decoder = TransitDecoder::new(&Config::default());
        let (mut vehicles, mut others, mut late) = (0, 0, 0);
        for (_, offset, kafka_ms, payload) in all(Spec { polls: 40, ..Spec::default() }) {
            let record = Record {
                offset,
                kafka_time: KafkaTime::Create(kafka_ms),
                key: None,
                value: Some(Value::exact(&payload)),
                headers: Headers::default(),
            };
            decoder.decode_each(&record, |_part, event| match event.unwrap() {
                TransitEvent::Entity(entity) => {
                    vehicles += usize::from(entity.vehicle().is_some());
                    late += usize::from(entity.time_us < (kafka_ms - 480_000) * 1000 + 1);
                }
                TransitEvent::Other { .. } => others += 1,
                TransitEvent::Nothing => panic!("no feed is empty"),
            });
        }
        assert_eq!(vehicles, 40 * 40 + 2);
        assert_eq!(others, 2 * 4);
        assert!((15..60).contains(&late), "{late}");
        assert_eq!(decoder.unknown().get(), Default::default());
    }

    #[test]
    fn faults_are_of_every_kind_and_decoding_finds_them_by_their_reasons() {
        let mut feed = Feed::new(Spec { polls: 80, fault_every: 20, ..Spec::default() }).unwrap();
        let mut decoder = TransitDecoder::new(&Config::default());
        let mut found = Vec::new();
        while let Some(event) = feed.next_event() {
            let (partition, offset, kafka_ms) = (event.partition, event.offset, event.kafka_ms);
            let record = Record {
                offset,
                kafka_time: KafkaTime::Create(kafka_ms),
                key: None,
                value: Some(Value::exact(event.payload)),
                headers: Headers::default(),
            };
            let before = found.len();
            decoder.decode_each(&record, |_part, read| {
                let reason = match read {
                    Err(rejected) => Some(rejected.reason.as_str()),
                    Ok(TransitEvent::Entity(entity)) if entity.time_us > (kafka_ms + 3_600_000) * 1_000 => {
                        Some("ahead")
                    }
                    Ok(_) => None,
                };
                found.extend(reason.map(|reason| (partition, offset, reason)));
            });
            let told = event.fault.map_or(0, |fault| fault.split(',').count());
            assert_eq!(found.len() - before, told, "{:?}", event.fault);
        }
        let marked = |mark: &Mark<FaultKind>| (mark.partition, mark.offset, mark.reason);
        assert_eq!(found, feed.faults().iter().map(marked).collect::<Vec<_>>());
        for kind in FAULTS {
            assert!(feed.faults().iter().any(|mark| mark.kind == kind), "{kind:?}");
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn impossible_specifications_are_refused() {
        let refused = |spec| Feed::new(spec).err();
        assert_eq!(refused(Spec { routes: 0, ..Spec::default() }), Some(BadSpec::Zero("routes")));
        assert_eq!(refused(Spec { partitions: 513, ..Spec::default() }), Some(BadSpec::Partitions(513)));
        assert_eq!(refused(Spec { start_ms: i64::MIN, ..Spec::default() }), Some(BadSpec::Time));
    }
}
