//! The near ends of the pipeline's outputs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidegate::aggregate::{Avg, Count, DistinctExact, Finite, IfPresent};
use tidegate::decode::protobuf::{Descriptor, Message, json};
use tidegate::ingest::{Edge, EventRows, Front, Position, Verdict, Verdicts};
use tidegate::keys::key_hash;
use tidegate::operators::keyed::{KeyedBlock, KeyedRouter};
use tidegate::operators::keyed_window::Measure;
use tidegate::operators::session::{Mark, SessionEvent};
use tidegate::rows::Cell;
use tidegate::time;

use super::event::{Entity, Form, TransitDecoder, TransitEvent};
use super::gtfs::{PERIOD, SELECTOR};
use super::tables::{ALERTS, DATE, EVENTS, TRIP_UPDATES, VEHICLE_POSITIONS};

const DAY_US: i64 = 86_400_000_000;

/// Vehicles seen, observations, mean speed.
pub(super) type RouteActivity = (DistinctExact, Count, IfPresent<Avg>);

/// An observation of a vehicle: its position's message, what names it, and its route if it has one.
struct Observation<'e> {
    position: &'e Message<'e>,
    vehicle: &'e str,
    route: Option<&'e str>,
}

impl<'e> Observation<'e> {
    fn of(event: &'e TransitEvent<'_>) -> Option<Self> {
        let TransitEvent::Entity(entity) = event else { return None };
        let position = entity.vehicle()?;
        let trip = position.message(1);
        let named =
            |message: Option<&'e Message<'e>>, field| message?.text(field).filter(|text| !text.is_empty());
        let vehicle = named(position.message(8), 1).or(named(trip, 1)).unwrap_or(entity.id());
        Some(Observation { position, vehicle, route: named(trip, 5) })
    }
}

/// Activity by route, from the positions of vehicles that are on one.
pub(super) struct ByRoute;

impl Measure<TransitDecoder> for ByRoute {
    type Aggregate = RouteActivity;

    fn measure<'e>(
        &self,
        _at: &Position<'_>,
        event: &'e TransitEvent<'_>,
    ) -> Option<(&'e [u8], (&'e [u8], (), Option<Finite>))> {
        let Observation { position, vehicle, route } = Observation::of(event)?;
        let speed = position.message(2).and_then(|position| Finite::new(position.float(5)?));
        Some((route?.as_bytes(), (vehicle.as_bytes(), (), speed)))
    }
}

/// Sends observations that are not late to the owner of their vehicle.
pub(super) struct ByVehicle(pub(super) KeyedRouter<SessionEvent>);

impl Front<TransitDecoder> for ByVehicle {
    type Item = KeyedBlock<SessionEvent>;

    fn observe(&mut self, at: &Position<'_>, event: &TransitEvent<'_>, _verdicts: &mut Verdicts<'_>) {
        if at.outside_windows() != Verdict::Counted {
            return;
        }
        let Some(Observation { vehicle, .. }) = Observation::of(event) else { return };
        let (time_us, rank, offset) = (at.time_us, at.place.rank, at.record.offset);
        let joins = SessionEvent { time_us, rank, offset, mark: Mark::Join, flagged: false };
        self.0.push(key_hash(vehicle.as_bytes()), vehicle.as_bytes(), joins);
    }

    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(Self::Item)) {
        self.0.drain(edge, send);
    }
}

/// Counts observations by route, late ones too; the counts leave with the epoch.
#[derive(Default)]
pub(super) struct RouteCounts(BTreeMap<Vec<u8>, u64>);

impl Front<TransitDecoder> for RouteCounts {
    type Item = (Vec<u8>, u64);

    fn observe(&mut self, _at: &Position<'_>, event: &TransitEvent<'_>, _verdicts: &mut Verdicts<'_>) {
        let Some(route) = Observation::of(event).and_then(|seen| seen.route) else { return };
        match self.0.get_mut(route.as_bytes()) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(route.as_bytes().to_vec(), 1)),
        }
    }

    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(Self::Item)) {
        if edge.is_end() {
            std::mem::take(&mut self.0).into_iter().for_each(send);
        }
    }
}

/// Rows of the tables that take entities as they come.
pub(super) struct FeedRows {
    /// Whether entities have the column of those with unknown fields.
    pub(super) keep_unknown: bool,
}

impl EventRows<TransitDecoder> for FeedRows {
    fn directory(&self, day: i64) -> String {
        format!("{DATE}={}", String::from_utf8_lossy(&time::format_date(day * DAY_US)))
    }

    fn rows(
        &self,
        at: &Position<'_>,
        event: &TransitEvent<'_>,
        row: &mut dyn FnMut(usize, i64, &[Cell<'_>]),
    ) {
        let origin = [
            Cell::Text(at.place.partition.topic.as_bytes()),
            Cell::Int(at.place.partition.number.into()),
            Cell::Int(at.record.offset),
            at.record.kafka_time.us().map_or(Cell::Null, Cell::Time),
        ];
        let day = at.time_us.div_euclid(DAY_US);
        match event {
            TransitEvent::Nothing => {}
            TransitEvent::Other { payload, .. } => {
                row(EVENTS, day, Row::of([&[Cell::Time(at.time_us), Cell::Text(payload)], &origin]).cells());
            }
            TransitEvent::Entity(entity) => {
                let own = [
                    entity.feed_us.map_or(Cell::Null, Cell::Time),
                    Cell::Time(at.time_us),
                    Cell::Text(entity.id().as_bytes()),
                ];
                let kept = entity.unknown.filter(|_| self.keep_unknown).map(|(form, bytes)| match form {
                    Form::Json => Cow::Borrowed(bytes),
                    Form::Wire => Cow::Owned(STANDARD.encode(bytes).into_bytes()),
                });
                let mut kept = [kept.as_deref().map_or(Cell::Null, Cell::Text)];
                of_entity(entity, &mut |table, cells| {
                    let more = if self.keep_unknown { &kept[..] } else { &[] };
                    row(table, day, Row::of([&own, cells, &origin, more]).cells());
                    // Once is enough: a trip's update is a row for each of its stops.
                    kept = [Cell::Null];
                });
            }
        }
    }
}

/// A row that is put together from parts, in place: every entity makes some.
struct Row<'e> {
    cells: [Cell<'e>; Row::MOST],
    len: usize,
}

impl<'e> Row<'e> {
    /// More than the widest of the tables has.
    const MOST: usize = 32;

    fn of<const N: usize>(parts: [&[Cell<'e>]; N]) -> Self {
        let mut row = Row { cells: [Cell::Null; Row::MOST], len: 0 };
        for part in parts {
            row.cells[row.len..][..part.len()].copy_from_slice(part);
            row.len += part.len();
        }
        row
    }

    fn cells(&self) -> &[Cell<'e>] {
        &self.cells[..self.len]
    }
}

fn of_entity(entity: &Entity<'_>, row: &mut dyn FnMut(usize, &[Cell<'_>])) {
    if let Some(vehicle) = entity.vehicle() {
        let (named, position) = (vehicle.message(8), vehicle.message(2));
        let cells = [
            text(named, 1),
            text(named, 2),
            float(position, 1),
            float(position, 2),
            float(position, 3),
            float(position, 5),
            text(Some(vehicle), 7),
            int(Some(vehicle), 3),
            text(Some(vehicle), 4),
            text(Some(vehicle), 6),
            text(Some(vehicle), 9),
        ];
        row(VEHICLE_POSITIONS, Row::of([&trip(vehicle), &cells]).cells());
    }
    if let Some(update) = entity.message.message(3) {
        let named = update.message(3);
        let of_trip = [text(update.message(1), 4), text(named, 1), text(named, 2)];
        let mut none = true;
        let mut of_stop = |stop: Option<&Message<'_>>| {
            let (arrival, departure) = (stop.and_then(|s| s.message(2)), stop.and_then(|s| s.message(3)));
            let cells = [
                int(stop, 1),
                text(stop, 4),
                int(arrival, 1),
                seconds(arrival, 2),
                int(departure, 1),
                seconds(departure, 2),
                text(stop, 5),
            ];
            row(TRIP_UPDATES, Row::of([&trip(update), &of_trip, &cells]).cells());
        };
        for stop in update.messages(2) {
            none = false;
            of_stop(Some(stop));
        }
        if none {
            of_stop(None);
        }
    }
    if let Some(alert) = entity.message.message(5) {
        let periods = list(alert, 1, &PERIOD);
        let informed = list(alert, 5, &SELECTOR);
        let cells = [
            text(Some(alert), 6),
            text(Some(alert), 7),
            text(Some(alert), 14),
            translated(alert.message(10)),
            translated(alert.message(11)),
            Cell::Text(periods.as_bytes()),
            Cell::Text(informed.as_bytes()),
        ];
        row(ALERTS, &cells);
    }
}

/// The trip of a vehicle's position or of a trip's update: it is field 1 of both.
fn trip<'e>(of: &'e Message<'_>) -> [Cell<'e>; 5] {
    let trip = of.message(1);
    [text(trip, 1), text(trip, 5), int(trip, 6), text(trip, 3), text(trip, 2)]
}

fn text<'e>(message: Option<&'e Message<'_>>, field: u32) -> Cell<'e> {
    message.and_then(|message| message.text(field)).map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))
}

fn int<'e>(message: Option<&'e Message<'_>>, field: u32) -> Cell<'e> {
    message.and_then(|message| message.int(field)).map_or(Cell::Null, Cell::Int)
}

fn float<'e>(message: Option<&'e Message<'_>>, field: u32) -> Cell<'e> {
    message.and_then(|message| message.float(field)).map_or(Cell::Null, Cell::Float)
}

/// A time in seconds; 0, and what no calendar has, is absent.
fn seconds<'e>(message: Option<&'e Message<'_>>, field: u32) -> Cell<'e> {
    let seconds = message.and_then(|message| message.int(field)).filter(|seconds| *seconds != 0);
    let us = seconds.and_then(|seconds| time::from_epoch_ms(seconds.checked_mul(1000)?));
    us.map_or(Cell::Null, Cell::Time)
}

/// The first translation of a text.
fn translated<'e>(message: Option<&'e Message<'_>>) -> Cell<'e> {
    text(message.and_then(|message| message.messages(1).next()), 1)
}

/// The messages of a repeated field, as a JSON array.
fn list(message: &Message<'_>, field: u32, of: &'static Descriptor) -> String {
    let mut out = String::from("[");
    for (i, message) in message.messages(field).enumerate() {
        if i > 0 {
            out.push(',');
        }
        json::write(of, message, &mut out);
    }
    out.push(']');
    out
}
