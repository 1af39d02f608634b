//! The operators' aggregates in a few lines of differential dataflow each: a second opinion.
//!
//! It shares nothing with the operators, not even a type: a window is its start, and which windows a record
//! counts in is the caller's to say. Everything is put in at one instant and read when it is all in, which is
//! how differential is at its best: in steps it would give every intermediate answer, and take it back.
//! The property tests in `src/operators/tests/second_opinion.rs` compile this same file.

use std::cell::RefCell;
use std::hash::Hash;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::input::Input;
use differential_dataflow::{ExchangeData, VecCollection};

/// A collection, with multiplicities.
pub(crate) type Relation<'scope, D> = VecCollection<'scope, u64, D, isize>;

/// What the relation that `build` makes of `records` holds in the end, sorted.
pub(crate) fn relation<D, O, B>(records: Vec<D>, build: B) -> Vec<O>
where
    D: ExchangeData + Sync,
    O: ExchangeData,
    B: for<'scope> FnOnce(Relation<'scope, D>) -> Relation<'scope, O> + Send + Sync + 'static,
{
    timely::execute_directly(move |worker| {
        let changes = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&changes);
        worker.dataflow::<u64, _, _>(|scope| {
            let (_input, records) = scope.new_collection_from(records);
            build(records).inspect(move |(entry, _at, diff)| into.borrow_mut().push((entry.clone(), *diff)));
        });
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
        let mut changes = changes.take();
        consolidate(&mut changes);
        assert!(changes.iter().all(|(_, diff)| *diff == 1), "every entry is there once");
        changes.into_iter().map(|(entry, _)| entry).collect()
    })
}

/// How often each (window, key) is there.
pub(crate) fn counts<'s, K>(records: Relation<'s, (i64, K)>) -> Relation<'s, ((i64, K), isize)>
where
    K: ExchangeData + Hash,
{
    records.count()
}

/// Count, sum, least and largest.
pub(crate) type Statistics = (i64, i64, i64, i64);

/// Count, sum, least and largest by (window, key).
pub(crate) fn statistics<'s, K>(values: Relation<'s, ((i64, K), i64)>) -> Relation<'s, ((i64, K), Statistics)>
where
    K: ExchangeData + Hash,
{
    values.reduce(|_group, values, output| {
        let count = values.iter().map(|(_, times)| *times as i64).sum();
        let sum = values.iter().map(|(value, times)| **value * *times as i64).sum();
        output.push(((count, sum, *values[0].0, *values[values.len() - 1].0), 1));
    })
}

/// A value and, before it, where its record stands: time, partition, offset.
pub(crate) type Placed = ((i64, u64, i64), i64);

/// A quotient of integers: exact, and ordered as what is in a relation must be.
pub(crate) type Quotient = (i64, i64);

/// The `f64` nearest to a quotient of integers that `f64` has; 0 where there is nothing to divide by.
pub(crate) fn nearest((over, under): Quotient) -> f64 {
    if under == 0 { 0.0 } else { over as f64 / under as f64 }
}

/// Mean, sample variance, and the value that stands first.
pub(crate) type Features = (Quotient, Quotient, i64);

/// Mean, sample variance and the value that stands first by (window, key).
pub(crate) fn features<'s, K>(values: Relation<'s, ((i64, K), Placed)>) -> Relation<'s, ((i64, K), Features)>
where
    K: ExchangeData + Hash,
{
    values.reduce(|_group, values, output| {
        let of =
            |power| values.iter().map(|((_, value), times)| value.pow(power) * *times as i64).sum::<i64>();
        let (count, sum, squares) = (of(0), of(1), of(2));
        let variance = (count * squares - sum * sum, count * (count - 1));
        output.push((((sum, count), variance, values[0].0.1), 1));
    })
}

/// The number of distinct keys by window.
pub(crate) fn distinct<'s, K>(records: Relation<'s, (i64, K)>) -> Relation<'s, (i64, isize)>
where
    K: ExchangeData + Hash,
{
    records.distinct().map(|(window, _key)| window).count()
}

/// An event as sessions see it: time, partition, offset; whether it starts a session, whether it ends one, whether it
/// is a view.
pub(crate) type Event = (i64, u32, i64, bool, bool, bool);

/// A session: start, number among those that start with it, end, the first letter of why it is over, events, views.
pub(crate) type Session = (i64, u32, i64, char, u64, u64);

/// Each key's sessions; those that nothing has ended are `open`, or over by `final_watermark`.
pub(crate) fn sessions<K: ExchangeData + Hash>(
    events: Relation<'_, (K, Event)>,
    gap: i64,
    final_watermark: i64,
) -> Relation<'_, (K, Session)> {
    events.reduce(move |_key, events, output| {
        let (mut open, mut last_start) = (None::<Session>, (i64::MIN, 0));
        let mut close = |open: &mut Option<Session>, end: i64, why| {
            if let Some((start, seq, _, _, count, views)) = open.take() {
                output.push(((start, seq, end, why, count, views), 1));
            }
        };
        // The input of a reduction is sorted, so the events come in (time, partition, offset) order.
        for ((time, _, _, starts, ends, view), _) in events {
            if let Some((_, _, last, ..)) = open.filter(|session| time - session.2 >= gap) {
                close(&mut open, last, 't');
            }
            if let Some((_, _, last, ..)) = open.filter(|_| *starts) {
                close(&mut open, last, 'r');
            }
            let view = u64::from(*view);
            match &mut open {
                Some((_, _, last, _, count, views)) => {
                    (*last, *count, *views) = (*time, *count + 1, *views + view);
                }
                None if *ends => {}
                None => {
                    let seq = if last_start.0 == *time { last_start.1 + 1 } else { 0 };
                    last_start = (*time, seq);
                    open = Some((*time, seq, *time, ' ', 1, view));
                }
            }
            if *ends {
                close(&mut open, *time, 'e');
            }
        }
        if let Some((_, _, last, ..)) = open {
            close(&mut open, last, if final_watermark >= last + gap { 't' } else { 'o' });
        }
        output.sort();
    })
}

/// The largest entry of each key.
pub(crate) fn latest<K, V>(entries: Relation<'_, (K, V)>) -> Relation<'_, (K, V)>
where
    K: ExchangeData + Hash,
    V: ExchangeData,
{
    entries.reduce(|_key, entries, output| output.push((entries[entries.len() - 1].0.clone(), 1)))
}
