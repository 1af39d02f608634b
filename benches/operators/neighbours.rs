//! Operators for rows that belong together or follow each other: pivot, ordered state with a rolling baseline, repeats.
//!
//! Rows come as closed windows do: of 17 lanes in 20 groups at each of 295 instants, in their order.

use std::collections::VecDeque;

use criterion::Criterion;
use hashbrown::{HashMap, HashSet};
use tidegate::aggregate::Finite;
use tidegate::ingest::Dedup;
use tidegate::operators::baseline::RollingMoments;
use tidegate::operators::ordered::{Machine, Ordered};
use tidegate::operators::pivot::Pivot;
use tidegate::state::StateHub;
use tidegate::tick::Tick;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use crate::data::{BASE_US, DATA, EVENTS, Each, Event, MINUTE_US, Row};
use crate::differential::{self, nearest};
use crate::{Answer, add, compare, minutes, operator, plain};

const LANES: usize = 17;
const GROUPS: usize = 20;
/// How many values a baseline has.
const LAST: usize = 60;

/// The row that an event stands for: each (instant, group) has each lane once.
fn row(event: &Event) -> Row {
    let number = event.offset as usize;
    let (instant, place) = (number / (GROUPS * LANES), number % (GROUPS * LANES));
    // After the event time of all of its events, so that no watermark has passed it.
    let step_us = (GROUPS * LANES) as i64 * 60 * MINUTE_US / EVENTS as i64;
    let time_us = BASE_US + (instant as i64 + 1) * step_us;
    Row { time_us, group: (place / LANES) as u32, lane: (place % LANES) as u32, value: event.value }
}

fn rows() -> Vec<Row> {
    DATA.events.iter().map(row).collect()
}

/// Sends rows at their own times, as closed windows are sent.
fn at_own_times(rows: StreamVec<'_, Tick, Row>) -> StreamVec<'_, Tick, Row> {
    rows.unary(Pipeline, "AtOwnTimes", |_capability, _info| {
        |input, output| {
            input.for_each(|time, rows| {
                for of_instant in rows.chunk_by(|one, other| one.time_us == other.time_us) {
                    let at = time.delayed(&time.time().at(of_instant[0].time_us), output.output_index());
                    output.session(&at).give_iterator(of_instant.iter().copied());
                }
            });
        }
    })
}

/// What a pivoted row adds to the answer.
fn of_lanes(time_us: i64, group: u32, lanes: impl Iterator<Item = Option<i64>>) -> Answer {
    let number =
        |hash: u64, value: Option<i64>| hash.wrapping_mul(31).wrapping_add(value.map_or(7, |v| v as u64));
    (1, lanes.fold(time_us as u64 + u64::from(group), number))
}

fn pivot(c: &mut Criterion) {
    compare(
        &mut c.benchmark_group("pivot, 17 lanes"),
        || {
            operator(
                || Each::of(row),
                |rows| {
                    at_own_times(rows)
                        .map(|row| (row.group, row.lane, row.value))
                        .pivot("Pivot", LANES, &StateHub::none())
                        .map(|row| of_lanes(row.time_us, row.group, row.lanes.into_iter()))
                },
            )
        },
        rows().into_iter().map(|row| ((row.time_us, row.group), (row.lane, row.value))).collect(),
        |records| {
            let rows = differential::relation(records, |rows| {
                rows.reduce(|_place, values, output| {
                    output.push((values.iter().map(|(value, _)| **value).collect::<Vec<(u32, i64)>>(), 1));
                })
            });
            let of = |((time_us, group), spoken): ((i64, u32), Vec<(u32, i64)>)| {
                let mut spoken = spoken.into_iter().peekable();
                let lane = |lane| spoken.next_if(|(of, _)| *of == lane).map(|(_, value)| value);
                of_lanes(time_us, group, (0..LANES as u32).map(lane))
            };
            rows.into_iter().map(of).fold((0, 0), add)
        },
        || {
            let mut open = HashMap::<(i64, u32), [Option<i64>; LANES]>::new();
            for row in DATA.events.iter().map(row) {
                open.entry((row.time_us, row.group)).or_default()[row.lane as usize] = Some(row.value);
            }
            let of = |((time_us, group), lanes): ((i64, u32), [Option<i64>; LANES])| {
                of_lanes(time_us, group, lanes.into_iter())
            };
            open.into_iter().map(of).fold((0, 0), add)
        },
    );
}

/// Gives mean and deviation of a group's last values with each new one.
struct Baseline;

impl Machine for Baseline {
    type Key = u32;
    type Item = Row;
    type Order = u32;
    type State = RollingMoments;
    type Output = Answer;

    fn key(&self, row: &Row) -> u32 {
        row.group
    }
    fn order(&self, row: &Row) -> u32 {
        row.lane
    }
    fn apply(
        &self,
        _group: &u32,
        last: &mut RollingMoments,
        _time_us: i64,
        row: Row,
        emit: &mut dyn FnMut(Answer),
    ) {
        let Some(value) = Finite::new(row.value as f64) else { return };
        last.push(value, LAST);
        if let Some((mean, deviation)) = last.mean_and_deviation() {
            emit(of_baseline(mean, deviation));
        }
    }
}

fn of_baseline(mean: f64, deviation: f64) -> Answer {
    (1, plain::fold(0, [mean, deviation]))
}

/// The last values of a group, with their sums: what whoever knows that they are small integers would keep.
#[derive(Default)]
struct Sums {
    values: VecDeque<i64>,
    sum: i64,
    squares: i64,
}

impl Sums {
    fn push(&mut self, value: i64) -> (i64, i64, i64) {
        self.values.push_back(value);
        (self.sum, self.squares) = (self.sum + value, self.squares + value * value);
        if let Some(oldest) = (self.values.len() > LAST).then(|| self.values.pop_front()).flatten() {
            (self.sum, self.squares) = (self.sum - oldest, self.squares - oldest * oldest);
        }
        (self.values.len() as i64, self.sum, self.squares)
    }
}

fn of_sums((count, sum, squares): (i64, i64, i64)) -> Answer {
    let variance = nearest((count * squares - sum * sum, count * (count - 1)));
    of_baseline(nearest((sum, count)), variance.sqrt())
}

fn ordered(c: &mut Criterion) {
    compare(
        &mut c.benchmark_group("ordered state, mean and deviation of the last 60"),
        || {
            operator(
                || Each::of(row),
                |rows| at_own_times(rows).ordered("Ordered", Baseline, &StateHub::none()),
            )
        },
        rows().into_iter().map(|row| (row.group, (row.time_us, row.lane, row.value))).collect(),
        |records| {
            let rows = differential::relation(records, |rows| {
                rows.reduce(|_group, rows, output| {
                    let mut last = Sums::default();
                    // The input of a reduction is sorted, so the rows come in the order of time and lane.
                    for ((time_us, lane, value), _) in rows {
                        output.push(((*time_us, *lane, last.push(*value)), 1));
                    }
                })
            });
            rows.into_iter().map(|(_, (_, _, sums))| of_sums(sums)).fold((0, 0), add)
        },
        || {
            let mut groups = HashMap::<u32, Sums>::new();
            let mut sorted = rows();
            sorted.sort_unstable_by_key(|row| (row.time_us, row.group, row.lane));
            let of = |row: Row| of_sums(groups.entry(row.group).or_default().push(row.value));
            sorted.into_iter().map(of).fold((0, 0), add)
        },
    );
}

/// A page and a second, of which the first view counts.
fn view(event: &Event) -> (u32, i64) {
    (event.page, event.time_us - event.time_us.rem_euclid(1_000_000))
}

fn repeats(c: &mut Criterion) {
    compare(
        &mut c.benchmark_group("repeats by page and second, windows of 1 min"),
        || {
            let (mut dedup, mut answer) = (Dedup::new(minutes(1, 1)), (0, 0));
            for event in &DATA.events {
                let (page, time_us) = view(event);
                let name = DATA.pages[page as usize].as_bytes();
                if !dedup.is_repeat(0, name, time_us, event.watermark_us) {
                    dedup.remember(0, name, time_us, event.watermark_us);
                    answer = add(answer, (1, time_us as u64));
                }
            }
            answer
        },
        DATA.events.iter().map(view).collect(),
        |records| {
            let rows = differential::relation(records, |views| views.distinct());
            rows.into_iter().map(|(_, time_us)| (1, time_us as u64)).fold((0, 0), add)
        },
        || {
            let seen: HashSet<(u32, i64)> = DATA.events.iter().map(view).collect();
            seen.into_iter().map(|(_, time_us)| (1, time_us as u64)).fold((0, 0), add)
        },
    );
}

/// All of them.
pub(crate) fn neighbours(c: &mut Criterion) {
    pivot(c);
    ordered(c);
    repeats(c);
}
