//! `transit` by hand: a partition after the other, entity by entity, routes and vehicles as numbers.
//!
//! Rows of entities are made as they come. Windows by route and the sightings of vehicles are kept until all is read; runs are then cut
//! where a vehicle was silent. Mean speeds are the project's exact ones, since others would give other rows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use tidegate::aggregate::{ExactSum, Finite};
use tidegate::delivery::OutputTally;
use tidegate::record::Record;
use tidegate::rows::{Cell, Schema};
use tidegate::source::Source;
use tidegate_dataflows::transit::{feed_schemas, table_schemas};

use super::discard::Table;
use super::feed::{
    self, Alert, Entity, Feed, Period, Selector, StopEvent, Symbol, Text, Translated, Trip, Whole,
};
use super::{Answer, each_record, is_ahead};
use crate::interner::Interner;

const WINDOW_US: i64 = 300_000_000;
const DELAY_US: i64 = 120_000_000;
const GAP_US: i64 = 1_800_000_000;
const DAY_US: i64 = 86_400_000_000;
const TOPIC: &str = "dev_topic";

const STATUS: [&str; 3] = ["INCOMING_AT", "STOPPED_AT", "IN_TRANSIT_TO"];
const CONGESTION: [&str; 5] =
    ["UNKNOWN_CONGESTION_LEVEL", "RUNNING_SMOOTHLY", "STOP_AND_GO", "CONGESTION", "SEVERE_CONGESTION"];
const OCCUPANCY: [&str; 4] = ["EMPTY", "MANY_SEATS_AVAILABLE", "FEW_SEATS_AVAILABLE", "STANDING_ROOM_ONLY"];
const SCHEDULE: [&str; 4] = ["SCHEDULED", "ADDED", "UNSCHEDULED", "CANCELED"];
const STOP_SCHEDULE: [&str; 4] = ["SCHEDULED", "SKIPPED", "NO_DATA", "UNSCHEDULED"];
const CAUSE: [&str; 13] = [
    "",
    "UNKNOWN_CAUSE",
    "OTHER_CAUSE",
    "TECHNICAL_PROBLEM",
    "STRIKE",
    "DEMONSTRATION",
    "ACCIDENT",
    "HOLIDAY",
    "WEATHER",
    "MAINTENANCE",
    "CONSTRUCTION",
    "POLICE_ACTIVITY",
    "MEDICAL_EMERGENCY",
];
const EFFECT: [&str; 12] = [
    "",
    "NO_SERVICE",
    "REDUCED_SERVICE",
    "SIGNIFICANT_DELAYS",
    "DETOUR",
    "ADDITIONAL_SERVICE",
    "MODIFIED_SERVICE",
    "OTHER_EFFECT",
    "UNKNOWN_EFFECT",
    "STOP_MOVED",
    "NO_EFFECT",
    "ACCESSIBILITY_ISSUE",
];

/// A route in a window.
#[derive(Default)]
struct Activity {
    vehicles: HashSet<u32>,
    observations: u64,
    speed: ExactSum,
    speeds: u64,
}

/// The answer of a loop by hand.
pub(super) fn by_hand(source: &dyn Source, digests: bool) -> Answer {
    let mut watermarks_us = vec![i64::MIN; source.partitions().len()];
    let mut seen = Seen::new(digests);
    each_record(source, |partition, record| {
        let before_us = watermarks_us[partition];
        let payload = record.value.map(|value| value.bytes()).unwrap_or_default();
        let is_json = payload.trim_ascii_start().first() == Some(&b'{');
        let feed: Option<Feed<'_>> =
            if is_json { serde_json::from_slice(payload).ok() } else { feed::of_wire(payload) };
        let Some(feed) = feed else {
            seen.answer.rejected += 1;
            return;
        };
        let mut place = Place { partition, record, watermark_us: before_us, time_us: 0, feed_us: None };
        let mut latest_us = i64::MIN;
        match (feed.header, feed.entity) {
            (Some(header), Some(entities)) => {
                place.feed_us = seconds(header.timestamp);
                for entity in &entities {
                    let own = entity.vehicle.as_ref().and_then(|vehicle| seconds(vehicle.timestamp));
                    let own = own.or_else(|| seconds(entity.trip_update.as_ref()?.timestamp));
                    let time_us = own.or(place.feed_us).or(record.kafka_time.us());
                    place.time_us = time_us.expect("records of the generator have timestamps");
                    if is_ahead(place.time_us, record) {
                        seen.answer.rejected += 1;
                        continue;
                    }
                    latest_us = latest_us.max(place.time_us);
                    seen.entity(&place, entity);
                }
            }
            _ => {
                place.time_us = record.kafka_time.us().expect("records of the generator have timestamps");
                latest_us = place.time_us;
                seen.other(&place, payload);
            }
        }
        watermarks_us[partition] = before_us.max(latest_us.saturating_sub(DELAY_US));
    });
    let last_us = watermarks_us.into_iter().max().unwrap_or(i64::MIN);
    seen.end(last_us)
}

/// Where an event stands.
struct Place<'r> {
    partition: usize,
    record: &'r Record<'r>,
    watermark_us: i64,
    time_us: i64,
    feed_us: Option<i64>,
}

/// A time in seconds, 0 counting as absent.
fn seconds(value: Option<Whole>) -> Option<i64> {
    value.filter(|Whole(seconds)| *seconds != 0).map(|Whole(seconds)| seconds * 1_000_000)
}

/// All that was seen, and the rows that were made of it.
struct Seen {
    answer: Answer,
    routes: Interner,
    vehicles: Interner,
    windows: HashMap<(i64, u32), Activity>,
    /// Observations by route.
    totals: Vec<u64>,
    /// When each vehicle was observed, late ones left out.
    sightings: Vec<Vec<i64>>,
    /// Rows of entities, by table and day.
    rows: BTreeMap<(usize, i64), Table>,
    schemas: [Arc<Schema>; 4],
    digests: bool,
}

impl Seen {
    fn new(digests: bool) -> Self {
        Seen {
            answer: Answer::default(),
            routes: Interner::new(),
            vehicles: Interner::new(),
            windows: HashMap::new(),
            totals: Vec::new(),
            sightings: Vec::new(),
            rows: BTreeMap::new(),
            schemas: feed_schemas(false),
            digests,
        }
    }

    fn row(&mut self, table: usize, place: &Place<'_>, cells: &[Cell<'_>]) {
        let (schemas, digests) = (&self.schemas, self.digests);
        let day = place.time_us.div_euclid(DAY_US);
        self.rows.entry((table, day)).or_insert_with(|| Table::new(&schemas[table], digests)).push(cells);
    }

    fn other(&mut self, place: &Place<'_>, payload: &[u8]) {
        self.answer.accepted += 1;
        let [a, b, c, d] = origin(place);
        self.row(3, place, &[Cell::Time(place.time_us), Cell::Text(payload), a, b, c, d]);
    }

    fn entity(&mut self, place: &Place<'_>, entity: &Entity<'_>) {
        self.answer.accepted += 1;
        self.observe(place, entity);
        let own = [
            place.feed_us.map_or(Cell::Null, Cell::Time),
            Cell::Time(place.time_us),
            Cell::Text(entity.id.as_str().as_bytes()),
        ];
        let [o1, o2, o3, o4] = origin(place);
        if let Some(vehicle) = &entity.vehicle {
            let (named, position) = (vehicle.vehicle.as_ref(), vehicle.position.as_ref());
            let float = |value: Option<f32>| value.map_or(Cell::Null, |value| Cell::Float(f64::from(value)));
            let [t1, t2, t3, t4, t5] = trip(vehicle.trip.as_ref());
            let cells = [
                own[0],
                own[1],
                own[2],
                t1,
                t2,
                t3,
                t4,
                t5,
                text(named.and_then(|named| named.id.as_ref())),
                text(named.and_then(|named| named.label.as_ref())),
                float(position.and_then(|position| position.latitude)),
                float(position.and_then(|position| position.longitude)),
                float(position.and_then(|position| position.bearing)),
                float(position.and_then(|position| position.speed)),
                text(vehicle.stop_id.as_ref()),
                whole(vehicle.current_stop_sequence),
                symbol(&vehicle.current_status, &STATUS),
                symbol(&vehicle.congestion_level, &CONGESTION),
                symbol(&vehicle.occupancy_status, &OCCUPANCY),
                o1,
                o2,
                o3,
                o4,
            ];
            self.row(0, place, &cells);
        }
        if let Some(update) = &entity.trip_update {
            let named = update.vehicle.as_ref();
            let nothing = feed::Stop::default();
            let one = std::slice::from_ref(&nothing);
            let stops = if update.stop_time_update.is_empty() { one } else { &update.stop_time_update[..] };
            let [t1, t2, t3, t4, t5] = trip(update.trip.as_ref());
            let schedule = update.trip.as_ref().map_or(&None, |trip| &trip.schedule_relationship);
            for stop in stops {
                let cells = [
                    own[0],
                    own[1],
                    own[2],
                    t1,
                    t2,
                    t3,
                    t4,
                    t5,
                    symbol(schedule, &SCHEDULE),
                    text(named.and_then(|named| named.id.as_ref())),
                    text(named.and_then(|named| named.label.as_ref())),
                    whole(stop.stop_sequence),
                    text(stop.stop_id.as_ref()),
                    whole(stop.arrival.and_then(|event| event.delay)),
                    moment(stop.arrival),
                    whole(stop.departure.and_then(|event| event.delay)),
                    moment(stop.departure),
                    symbol(&stop.schedule_relationship, &STOP_SCHEDULE),
                    o1,
                    o2,
                    o3,
                    o4,
                ];
                self.row(1, place, &cells);
            }
        }
        if let Some(alert) = &entity.alert {
            let (periods, informed) = (periods(alert), informed(alert));
            let cells = [
                own[0],
                own[1],
                own[2],
                symbol(&alert.cause, &CAUSE),
                symbol(&alert.effect, &EFFECT),
                Cell::Null,
                translated(&alert.header_text),
                translated(&alert.description_text),
                Cell::Text(periods.as_bytes()),
                Cell::Text(informed.as_bytes()),
                o1,
                o2,
                o3,
                o4,
            ];
            self.row(2, place, &cells);
        }
    }

    /// A vehicle's position, for what is counted.
    fn observe(&mut self, place: &Place<'_>, entity: &Entity<'_>) {
        let Some(vehicle) = &entity.vehicle else { return };
        let named = vehicle.vehicle.as_ref().and_then(|named| named.id.as_ref());
        let of_trip = vehicle.trip.as_ref().and_then(|trip| trip.trip_id.as_ref());
        let names = [named, of_trip].into_iter().flatten().map(Text::as_str);
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or(entity.id.as_str());
        let number = self.vehicles.id(name.as_bytes());
        if place.time_us >= place.watermark_us {
            let number = number as usize;
            if number >= self.sightings.len() {
                self.sightings.resize_with(number + 1, Vec::new);
            }
            self.sightings[number].push(place.time_us);
        }
        let route = vehicle.trip.as_ref().and_then(|trip| trip.route_id.as_ref()).map(Text::as_str);
        let Some(route) = route.filter(|route| !route.is_empty()) else { return };
        let route = self.routes.id(route.as_bytes());
        if route as usize >= self.totals.len() {
            self.totals.resize(route as usize + 1, 0);
        }
        self.totals[route as usize] += 1;
        let window = place.time_us.div_euclid(WINDOW_US);
        if (window + 1) * WINDOW_US <= place.watermark_us {
            self.answer.late += 1;
            return;
        }
        self.answer.counted += 1;
        let activity = self.windows.entry((window, route)).or_default();
        activity.vehicles.insert(number);
        activity.observations += 1;
        let speed = vehicle.position.as_ref().and_then(|position| Finite::new(position.speed?.into()));
        if let Some(speed) = speed {
            activity.speed.add(speed);
            activity.speeds += 1;
        }
    }

    /// All rows, where the largest watermark is `last_us`.
    fn end(mut self, last_us: i64) -> Answer {
        let [mut activity, mut sessions, mut totals] =
            table_schemas().map(|schema| Table::new(&schema, self.digests));
        for ((window, route), of) in &self.windows {
            let mean = if of.speeds > 0 { of.speed.mean(of.speeds) } else { None };
            activity.push(&[
                Cell::Time(window * WINDOW_US),
                Cell::Time((window + 1) * WINDOW_US),
                Cell::Text(self.routes.text(*route)),
                Cell::Int(of.vehicles.len() as i64),
                Cell::Int(of.observations as i64),
                mean.map_or(Cell::Null, Cell::Float),
            ]);
        }
        for (number, times) in self.sightings.iter_mut().enumerate() {
            times.sort_unstable();
            let vehicle = self.vehicles.text(number as u32);
            let runs = times.chunk_by(|before, after| after - before < GAP_US);
            for run in runs.filter(|run| !run.is_empty()) {
                let (start_us, end_us) = (run[0], run[run.len() - 1]);
                let is_last = Some(&end_us) == times.last();
                let is_over = !is_last || last_us >= end_us + GAP_US;
                sessions.push(&[
                    Cell::Text(vehicle),
                    Cell::Time(start_us),
                    Cell::Time(end_us),
                    Cell::Int((end_us - start_us) / 1_000_000),
                    Cell::Int(0),
                    Cell::Text(if is_over { b"timeout" } else { b"open" }),
                    Cell::Int(run.len() as i64),
                ]);
            }
        }
        for (route, count) in self.totals.iter().enumerate() {
            totals.push(&[Cell::Text(self.routes.text(route as u32)), Cell::Int(*count as i64)]);
        }
        let mut outputs = vec![activity.end(), sessions.end(), totals.end()];
        outputs.resize_with(7, OutputTally::default);
        for ((table, _), rows) in self.rows {
            let OutputTally { rows, digest } = rows.end();
            outputs[3 + table].rows += rows;
            outputs[3 + table].digest.merge(&digest);
        }
        Answer { outputs, ..self.answer }
    }
}

fn origin(place: &Place<'_>) -> [Cell<'static>; 4] {
    [
        Cell::Text(TOPIC.as_bytes()),
        Cell::Int(place.partition as i64),
        Cell::Int(place.record.offset),
        place.record.kafka_time.us().map_or(Cell::Null, Cell::Time),
    ]
}

fn trip<'e>(trip: Option<&'e Trip<'_>>) -> [Cell<'e>; 5] {
    let Some(trip) = trip else { return [Cell::Null; 5] };
    [
        text(trip.trip_id.as_ref()),
        text(trip.route_id.as_ref()),
        whole(trip.direction_id),
        text(trip.start_date.as_ref()),
        text(trip.start_time.as_ref()),
    ]
}

fn text<'e>(text: Option<&'e Text<'_>>) -> Cell<'e> {
    text.map_or(Cell::Null, |text| Cell::Text(text.as_str().as_bytes()))
}

fn whole(value: Option<Whole>) -> Cell<'static> {
    value.map_or(Cell::Null, |Whole(value)| Cell::Int(value))
}

fn symbol<'e>(symbol: &'e Option<Symbol<'_>>, names: &[&'static str]) -> Cell<'e> {
    symbol
        .as_ref()
        .and_then(|symbol| symbol.name(names))
        .map_or(Cell::Null, |name| Cell::Text(name.as_bytes()))
}

fn moment(event: Option<StopEvent>) -> Cell<'static> {
    event.and_then(|event| seconds(event.time)).map_or(Cell::Null, Cell::Time)
}

fn translated<'e>(of: &'e Option<Translated<'_>>) -> Cell<'e> {
    text(of.as_ref().and_then(|of| of.translation.first()?.text.as_ref()))
}

/// The members that are there, as a JSON object; writing to a string does not fail.
fn object(out: &mut String, members: &[(&str, Option<String>)]) {
    out.push('{');
    let there = members.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    for (i, (name, value)) in there.enumerate() {
        write!(out, "{}\"{name}\":{value}", if i == 0 { "" } else { "," }).ok();
    }
    out.push('}');
}

fn array<T>(all: &[T], one: impl Fn(&mut String, &T)) -> String {
    let mut out = String::from("[");
    for (i, of) in all.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        one(&mut out, of);
    }
    out.push(']');
    out
}

fn periods(alert: &Alert<'_>) -> String {
    let number = |value: Option<Whole>| value.map(|Whole(value)| value.to_string());
    array(&alert.active_period, |out, Period { start, end }| {
        object(out, &[("start", number(*start)), ("end", number(*end))]);
    })
}

fn informed(alert: &Alert<'_>) -> String {
    let quoted = |text: &Option<Text<'_>>| Some(serde_json::Value::from(text.as_ref()?.as_str()).to_string());
    array(&alert.informed_entity, |out, Selector { route_id, stop_id }| {
        object(out, &[("route_id", quoted(route_id)), ("stop_id", quoted(stop_id))]);
    })
}
