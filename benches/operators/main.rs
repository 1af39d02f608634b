//! What does each operator cost a record, against differential dataflow and against a plain loop?
//!
//! Data: 100,000 events over an hour, 5 s of disorder, 1,000 pages, 10,000 users; decoded already, nothing late.
//! Operators run as they do in a pipeline: near end, exchange, far end and frontier on one timely worker, in
//! batches of 1,000, over the names of pages and users. Rivals: `differential.rs`, given everything at one
//! instant, and loops over hash maps in memory, which know no lateness, no frontier and no other worker. Both
//! are given numbers in place of names. All three must give the same answer before anything is measured.
//!
//! Where the rivals are expected to win: the loops, which do a small part of the work, and least where a record
//! counts in many windows, for they add it to each and the operators to one pane. Differential where what has
//! been put in is taken back or corrected later, which these operators cannot do and this data does not ask
//! for; latest entries, totals and the left join are differential themselves, the first with the maximum as its difference.

mod data;
mod differential;
mod neighbours;
mod plain;
mod relations;

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use data::{
    DATA, EVENTS, Features, MINUTE_US, Ready, Sketch, Users, Values, Views, feed, final_watermark_us,
};
use neighbours::neighbours;
use relations::relations;
use tidegate::ingest::{Front, Ledger};
use tidegate::operators::distinct::DistinctKeys;
use tidegate::operators::keyed::{KeyedRouter, ToOwners};
use tidegate::operators::keyed_window::{CloseWindows, Measure, Mode, WindowFront};
use tidegate::operators::session::{Session, Sessions};
use tidegate::state::StateHub;
use tidegate::tick::Tick;
use tidegate::window::WindowSpec;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;
use timely::worker::Worker;

/// How many rows there are, and a sum over them: what the three must agree about.
pub(crate) type Answer = (u64, u64);

pub(crate) fn add(answer: Answer, more: Answer) -> Answer {
    (answer.0 + more.0, answer.1.wrapping_add(more.1))
}

pub(crate) fn minutes(size: i64, slide: i64) -> WindowSpec {
    WindowSpec::sliding(size * MINUTE_US, slide * MINUTE_US).expect("whole minutes")
}

/// A worker on this thread, as `timely::execute_directly` makes one, which asks for what may be sent to another thread.
pub(crate) fn thread() -> Worker {
    let allocator = timely::communication::Allocator::Thread(Default::default());
    Worker::new(Default::default(), allocator, None)
}

/// Runs an operator over all events.
fn operator<F, B>(front: impl FnOnce() -> F, build: B) -> Answer
where
    F: Front<Ready>,
    B: for<'s> FnOnce(StreamVec<'s, Tick, F::Item>) -> StreamVec<'s, Tick, Answer>,
{
    let total = Rc::new(Cell::new((0, 0)));
    let into = Rc::clone(&total);
    let mut worker = thread();
    worker.dataflow::<Tick, _, _>(|scope| {
        build(feed(scope, front())).sink(Pipeline, "Total", move |(input, _frontier)| {
            input.for_each(|_time, answers| {
                into.set(answers.drain(..).fold(into.get(), add));
            });
        });
    });
    while worker.has_dataflows() {
        worker.step_or_park(None);
    }
    total.get()
}

fn window<M: Measure<Ready>>(spec: WindowSpec, measure: M) -> WindowFront<Ready, M> {
    WindowFront::new(spec, measure, 0, 1)
}

fn users(spec: WindowSpec) -> Users {
    Users { spec, router: KeyedRouter::new(1) }
}

/// Each event once for each window that it counts in, as (window, what `of` takes).
fn by_window<T>(spec: WindowSpec, of: impl Fn(&data::Event) -> T) -> Vec<(i64, T)> {
    let each = |event: &data::Event| {
        let reach = spec.eligible(event.time_us, event.watermark_us).expect("nothing is late");
        (reach.class..=spec.last_window(reach.pane)).map(|window| (window, of(event))).collect::<Vec<_>>()
    };
    DATA.events.iter().flat_map(each).collect()
}

/// Measures an operator against its rivals, which must give the same answer first.
fn compare<D: Clone>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    operator: impl Fn() -> Answer,
    records: Vec<D>,
    differential: impl Fn(Vec<D>) -> Answer,
    plain: impl Fn() -> Answer,
) {
    let answer = operator();
    assert_eq!(differential(records.clone()), answer, "differential gives another answer");
    assert_eq!(plain(), answer, "the loop gives another answer");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.sample_size(10);
    group.bench_function("operator", |b| b.iter(|| black_box(operator())));
    group.bench_function("differential", |b| {
        b.iter_batched(|| records.clone(), |records| black_box(differential(records)), BatchSize::LargeInput);
    });
    group.bench_function("loop", |b| b.iter(|| black_box(plain())));
}

fn windows(c: &mut Criterion) {
    for (name, spec) in [("tumbling 1 min", minutes(1, 1)), ("sliding 5 min by 1 min", minutes(5, 1))] {
        compare(
            &mut c.benchmark_group(format!("count by page, {name}")),
            || {
                operator(
                    || window(spec, Views),
                    |blocks| {
                        let closed = blocks.close_windows("Windows", spec, Mode::Final, &StateHub::none());
                        closed.map(|closed| (closed.values.len() as u64, closed.values.iter().sum()))
                    },
                )
            },
            by_window(spec, |event| event.page),
            |records| {
                let rows = differential::relation(records, differential::counts);
                (rows.len() as u64, rows.iter().map(|(_, count)| *count as u64).sum())
            },
            || plain::counts(spec),
        );
    }
    let spec = minutes(1, 1);
    compare(
        &mut c.benchmark_group("count, sum, mean, least, largest by page, tumbling 1 min"),
        || {
            operator(
                || window(spec, Values),
                |blocks| {
                    let closed = blocks.close_windows("Windows", spec, Mode::Final, &StateHub::none());
                    closed.map(|closed| {
                        let rows = closed.values.iter().map(|(count, sum, _, least, largest)| {
                            let least = least.map_or(0.0, |least| least.get());
                            let largest = largest.map_or(0.0, |largest| largest.get());
                            plain::fold(*count, [sum.unwrap_or_default(), least, largest])
                        });
                        (closed.values.len() as u64, rows.fold(0, u64::wrapping_add))
                    })
                },
            )
        },
        by_window(spec, |event| (event.page, event.value))
            .into_iter()
            .map(|(window, (page, value))| ((window, page), value))
            .collect(),
        |records| {
            let rows = differential::relation(records, differential::statistics);
            let fold = |&(_, (count, sum, least, largest)): &(_, differential::Statistics)| {
                plain::fold(count as u64, [sum as f64, least as f64, largest as f64])
            };
            (rows.len() as u64, rows.iter().map(fold).fold(0, u64::wrapping_add))
        },
        || plain::statistics(spec),
    );
    compare(
        &mut c.benchmark_group("mean, deviation, any value by page, tumbling 1 min"),
        || {
            operator(
                || window(spec, Features),
                |blocks| {
                    let closed = blocks.close_windows("Windows", spec, Mode::Final, &StateHub::none());
                    closed.map(|closed| {
                        let rows = closed.values.iter().map(|(mean, deviation, any)| {
                            let more = [mean.unwrap_or_default(), deviation.unwrap_or_default()];
                            plain::fold(any.unwrap_or_default() as u64, more)
                        });
                        (closed.values.len() as u64, rows.fold(0, u64::wrapping_add))
                    })
                },
            )
        },
        by_window(spec, |event| (event.page, ((event.time_us, 0, event.offset), event.value)))
            .into_iter()
            .map(|(window, (page, placed))| ((window, page), placed))
            .collect(),
        |records| {
            let rows = differential::relation(records, differential::features);
            let fold = |&(_, (mean, variance, any)): &(_, differential::Features)| {
                let deviation = differential::nearest(variance).sqrt();
                plain::fold(any as u64, [differential::nearest(mean), deviation])
            };
            (rows.len() as u64, rows.iter().map(fold).fold(0, u64::wrapping_add))
        },
        || plain::features(spec),
    );
}

fn distinct(c: &mut Criterion) {
    let spec = minutes(5, 1);
    let mut group = c.benchmark_group("distinct users, sliding 5 min by 1 min");
    compare(
        &mut group,
        || {
            operator(
                || users(spec),
                |blocks| {
                    let counts = blocks.to_owners().distinct_keys(
                        "Distinct",
                        spec,
                        Mode::Final,
                        &StateHub::none(),
                        |event| Some(event.0),
                    );
                    counts.map(|count| (1, count.keys))
                },
            )
        },
        by_window(spec, |event| event.user),
        |records| {
            let rows = differential::relation(records, differential::distinct);
            (rows.len() as u64, rows.iter().map(|(_, count)| *count as u64).sum())
        },
        || plain::distinct(spec),
    );
    let sketch = || {
        operator(
            || window(spec, Sketch),
            |blocks| {
                let closed = blocks.close_windows("Windows", spec, Mode::Final, &StateHub::none());
                closed.map(|closed| (1, closed.values[0]))
            },
        )
    };
    let ((windows, exact), (estimated_windows, estimate)) = (plain::distinct(spec), sketch());
    assert_eq!(windows, estimated_windows);
    assert!(estimate.abs_diff(exact) * 50 <= exact, "{estimate} is more than 2 % from {exact}");
    group.bench_function("operator, HyperLogLog", |b| b.iter(|| black_box(sketch())));
    group.finish();
}

fn of_session(session: &Session) -> Answer {
    let Session { start_us, seq, end_us, reason, events, flagged } = *session;
    let why = reason.as_str().chars().next().expect("a reason has a name");
    plain::of_session(&(start_us, seq, end_us, why, events, flagged))
}

fn sessions(c: &mut Criterion) {
    let (spec, gap_us) = (minutes(1, 1), 30 * MINUTE_US);
    let final_us = final_watermark_us();
    let records: Vec<_> = DATA.events.iter().map(|event| (event.user, plain::session_event(event))).collect();
    compare(
        &mut c.benchmark_group("sessions by user"),
        || {
            operator(
                || users(spec),
                |blocks| {
                    let ledger = Ledger::new(1);
                    let sessions = blocks.to_owners().sessions(
                        "Sessions",
                        gap_us,
                        false,
                        Some((ledger, 0)),
                        &StateHub::none(),
                        |event| Some(event.1),
                    );
                    sessions.map(|block| block.sessions.iter().map(of_session).fold((0, 0), add))
                },
            )
        },
        records,
        move |records| {
            let rows = differential::relation(records, move |events| {
                differential::sessions(events, gap_us, final_us)
            });
            rows.iter().map(|(_, session)| plain::of_session(session)).fold((0, 0), add)
        },
        move || plain::sessions(gap_us, final_us),
    );
}

criterion_group!(benches, windows, distinct, sessions, neighbours, relations);
criterion_main!(benches);
