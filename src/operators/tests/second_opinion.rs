//! The operators against the same aggregates in differential dataflow.
//!
//! The naive models of the other tests are ours; this opinion comes from another system's operators, of which
//! the benches compile the same file.

#[path = "../../../benches/operators/differential.rs"]
mod differential;

use std::collections::BTreeMap;

use proptest::prelude::*;
use timely::dataflow::operators::vec::Map;

use self::differential::Relation;
use super::{Pace, Step, distinct, pace, run, script, sessions};
use crate::aggregate::{Aggregate, AnyValue, Avg, Count, Finite, Max, Min, Origin, StdDev, Sum};
use crate::keys::{KeyColumn, key_hash, key_owner};
use crate::operators::distinct::DistinctKeys;
use crate::operators::keyed::ToOwners;
use crate::operators::keyed_window::{CloseWindows, Mode};
use crate::operators::latest::LatestByKey;
use crate::operators::net_changes::NetChanges;
use crate::operators::session::{Mark, Sessions};
use crate::state::StateHub;
use crate::window::tests::{Event, limit, log, windows};
use crate::window::{Eligible, PaneBlock, WindowSpec};

type Statistics = (Count, Sum, Avg, Min<Finite>, Max<Finite>, StdDev, AnyValue<i64>);
type Row = <Statistics as Aggregate>::Output;

const PEERS: usize = 2;

fn finite(value: i64) -> Finite {
    Finite::new(value as f64).expect("a small integer is finite")
}

fn pack(spec: &WindowSpec, events: &[Event]) -> Vec<PaneBlock<Statistics>> {
    let mut partials = BTreeMap::<(Eligible, u32), BTreeMap<u8, Statistics>>::new();
    for event in events {
        let Some(at) = spec.eligible(event.time, event.watermark) else { continue };
        let (value, any) = (finite(event.value.into()), i64::from(event.value));
        let Event { time: event_time_us, partition, offset, .. } = *event;
        let origin = Origin { event_time_us, partition, offset };
        let target = key_owner(key_hash(&[event.key]), PEERS) as u32;
        let partial = partials.entry((at, target)).or_default().entry(event.key).or_default();
        partial.add(((), value, value, value, value, value, (origin, &any)));
    }
    let block = |((at, target), partials): (_, BTreeMap<u8, Statistics>)| {
        let mut keys = KeyColumn::default();
        partials.keys().for_each(|key| keys.push(key_hash(&[*key]), &[*key]));
        PaneBlock { target, at, keys, partials: partials.into_values().collect() }
    };
    partials.into_iter().map(block).collect()
}

fn closed_by_the_operator(
    events: &[Event],
    (size, slide): (i64, i64),
    pace: &Pace,
) -> BTreeMap<(i64, u8), Row> {
    let spec = WindowSpec::sliding(size, slide).expect("valid");
    let worker = |index| -> Vec<Step<PaneBlock<Statistics>>> {
        let mine: Vec<_> =
            events.iter().filter(|event| event.partition as usize % PEERS == index).cloned().collect();
        let may = |pending: &[Event]| (!pending.is_empty()).then(|| limit(pending, size, slide));
        script(&mine, pace, |events| pack(&spec, events), may)
    };
    let (given, _) = run(&[worker(0), worker(1)], move |blocks, _ledger| {
        blocks.close_windows("Windows", spec, Mode::Final, &StateHub::none())
    });
    let mut table = BTreeMap::new();
    for closed in given.into_iter().map(|given| given.item) {
        for ((_, key), row) in closed.keys.iter().zip(closed.values.clone()) {
            assert!(table.insert((closed.start_us, key[0]), row).is_none(), "a row is given twice");
        }
    }
    table
}

/// A window's start, and a key.
type Group = (i64, u8);

/// A record once for each window that it counts in, as what `of` takes of it.
fn by_window<T: Copy>(
    events: &[Event],
    (size, slide): (i64, i64),
    of: impl Fn(&Event) -> T,
) -> Vec<(Group, T)> {
    let each = |event: &Event| {
        let (key, taken) = (event.key, of(event));
        event.windows(size, slide).into_iter().map(move |start| ((start, key), taken))
    };
    events.iter().flat_map(each).collect()
}

/// n·Σx² − (Σx)² and n·(n − 1), whose quotient is the sample variance.
fn variance(values: Relation<'_, (Group, i64)>) -> Relation<'_, (Group, (i64, i64))> {
    values.reduce(|_group, values, output| {
        let count: i64 = values.iter().map(|(_, times)| *times as i64).sum();
        let sum: i64 = values.iter().map(|(value, times)| **value * *times as i64).sum();
        let squares: i64 = values.iter().map(|(value, times)| **value * **value * *times as i64).sum();
        output.push(((count * squares - sum * sum, count * (count - 1)), 1));
    })
}

/// A value and, before it, where its record stands: event time, partition, offset.
type Placed = ((i64, u64, i64), i64);

/// The value that stands first.
fn any_value(values: Relation<'_, (Group, Placed)>) -> Relation<'_, (Group, i64)> {
    values.reduce(|_group, values, output| output.push((values[0].0.1, 1)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn windows_agree_with_counts_and_reductions(events in log(), windows in windows(), pace in pace()) {
        let table = closed_by_the_operator(&events, windows, &pace);
        let records = by_window(&events, windows, |event| i64::from(event.value));
        let counts = differential::relation(
            records.iter().map(|(group, _)| *group).collect(), differential::counts,
        );
        let counted: Vec<_> = table.iter().map(|(group, row)| (*group, row.0 as isize)).collect();
        prop_assert_eq!(counted, counts);
        let variances = differential::relation(records.clone(), variance);
        let variances: BTreeMap<_, _> = variances.into_iter().collect();
        let placed = by_window(&events, windows, |event| {
            ((event.time, event.partition, event.offset), i64::from(event.value))
        });
        let any: BTreeMap<_, _> = differential::relation(placed, any_value).into_iter().collect();
        let statistics = differential::relation(records, differential::statistics);
        let expected: BTreeMap<Group, Row> = statistics
            .into_iter()
            .map(|(group, (count, sum, least, largest))| {
                // Integers this small are exact in f64, and a quotient is rounded once: to the nearest mean,
                // and to the nearest variance.
                let (total, mean) = (sum as f64, sum as f64 / count as f64);
                let (over, under) = variances[&group];
                let deviation = if under == 0 { 0.0 } else { (over as f64 / under as f64).sqrt() };
                let (least, largest) = (Some(finite(least)), Some(finite(largest)));
                let any = any.get(&group).copied();
                (group, (count as u64, Some(total), Some(mean), least, largest, Some(deviation), any))
            })
            .collect();
        prop_assert_eq!(table, expected);
    }

    #[test]
    fn sliding_distinct_keys_agree_with_distinct_and_count(
        events in log(), windows in windows(), pace in pace(),
    ) {
        let spec = WindowSpec::sliding(windows.0, windows.1).expect("valid");
        let (given, _) = run(&distinct::scripts(&events, PEERS, windows, &pace), move |blocks, _ledger| {
            blocks.to_owners().distinct_keys("Distinct", spec, Mode::Final, &StateHub::none(), |run| *run)
        });
        let mut counts: Vec<_> =
            given.iter().map(|given| (spec.start(given.item.window), given.item.keys as isize)).collect();
        counts.sort_unstable();
        let records = by_window(&events, windows, |_| ()).into_iter().map(|(group, _)| group).collect();
        prop_assert_eq!(counts, differential::relation(records, differential::distinct));
    }

    #[test]
    fn the_latest_session_of_each_user_agrees_with_two_reductions(
        (events, delay) in sessions::log(), pace in pace(),
    ) {
        let scripts = sessions::scripts(&events, delay, PEERS, &pace);
        let (given, _) = run(&scripts, |blocks, ledger| {
            let sessions = blocks
                .to_owners()
                .sessions("Sessions", sessions::GAP, ledger.clone(), 0, &StateHub::none(), |event| Some(*event));
            let by_user = sessions.flat_map(|block| {
                let users: Vec<u8> = block.keys.iter().map(|(_, key)| key[0]).collect();
                users.into_iter().zip(block.sessions)
            });
            by_user.latest_by_key("Latest", &StateHub::none()).net_changes()
        });
        // Later epochs replace what earlier ones gave.
        let mut changes: Vec<_> = given.into_iter().map(|given| (given.at.epoch, given.item)).collect();
        changes.sort_unstable();
        let latest: BTreeMap<u8, _> = changes
            .into_iter()
            .filter(|(_, (_, diff))| *diff > 0)
            .map(|(_, ((user, s), _))| {
                let why = s.reason.as_str().chars().next().expect("a reason has a name");
                (user, (s.start_us, s.seq, s.end_us, why, s.events))
            })
            .collect();

        let on_time = events.iter().filter(|event| event.what.time_us >= event.watermark);
        let records = on_time
            .map(|event| {
                let what = event.what;
                let (starts, ends) = (what.mark == Mark::Start, what.mark == Mark::End);
                (event.user, (what.time_us, what.rank, what.offset, starts, ends))
            })
            .collect();
        let final_watermark = sessions::final_watermark(&events, delay);
        let second = differential::relation(records, move |events| {
            differential::latest(differential::sessions(events, sessions::GAP, final_watermark))
        });
        prop_assert_eq!(latest.into_iter().collect::<Vec<_>>(), second);
    }
}
