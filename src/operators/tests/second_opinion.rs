//! The operators against the same aggregates in differential dataflow.
//!
//! The naive models of the other tests are ours; this opinion comes from another system's operators, of which
//! the benches compile the same file.

#[path = "../../../benches/operators/differential.rs"]
mod differential;

use std::collections::BTreeMap;

use proptest::prelude::*;
use timely::dataflow::operators::vec::Map;

use super::keyed_window::closed_by;
use super::{distinct, pace, run, sessions};
use crate::aggregate::{Aggregate, AnyValue, Avg, Count, Finite, Max, Min, StdDev, Sum};
use crate::operators::distinct::DistinctKeys;
use crate::operators::keyed::ToOwners;
use crate::operators::keyed_window::Mode;
use crate::operators::latest::LatestByKey;
use crate::operators::net_changes::NetChanges;
use crate::operators::session::{Mark, Session, SessionEvent, Sessions};
use crate::state::StateHub;
use crate::window::WindowSpec;
use crate::window::tests::{Event, log, windows};

type Statistics = (Count, Sum, Avg, Min<Finite>, Max<Finite>, StdDev, AnyValue<i64>);
type Row = <Statistics as Aggregate>::Output;

const PEERS: usize = 2;

fn finite(value: i64) -> Finite {
    Finite::new(value as f64).expect("a small integer is finite")
}

fn add(partial: &mut Statistics, event: &Event) {
    let (value, any) = (finite(event.value.into()), i64::from(event.value));
    partial.add(((), value, value, value, value, value, (event.origin(), &any)));
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

/// An operator's session as differential has it.
fn session(user: u8, session: Session) -> (u8, differential::Session) {
    let Session { start_us, seq, end_us, reason, events, flagged } = session;
    let why = reason.as_str().chars().next().expect("a reason has a name");
    (user, (start_us, seq, end_us, why, events, flagged))
}

/// What differential is given of a log: each user's events that are not late.
fn by_user(events: &[sessions::Event]) -> Vec<(u8, differential::Event)> {
    let on_time = events.iter().filter(|event| event.what.time_us >= event.watermark);
    let of = |event: &sessions::Event| {
        let SessionEvent { time_us, rank, offset, mark, flagged } = event.what;
        (event.user, (time_us, rank, offset, mark == Mark::Start, mark == Mark::End, flagged))
    };
    on_time.map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn windows_agree_with_counts_and_reductions(events in log(), windows in windows(), pace in pace()) {
        let table = closed_by(&events, PEERS, windows, &pace, add);
        let records = by_window(&events, windows, |event| i64::from(event.value));
        let counts = differential::relation(
            records.iter().map(|(group, _)| *group).collect(), differential::counts,
        );
        let counted: Vec<_> = table.iter().map(|(group, row)| (*group, row.0 as isize)).collect();
        prop_assert_eq!(counted, counts);
        let placed = by_window(&events, windows, |event| {
            ((event.time, event.partition, event.offset), i64::from(event.value))
        });
        let features = differential::relation(placed, differential::features);
        let statistics = differential::relation(records, differential::statistics);
        let expected: BTreeMap<Group, Row> = statistics
            .into_iter()
            .zip(features)
            .map(|((group, (count, sum, least, largest)), (of, (mean, variance, any)))| {
                assert_eq!(of, group, "both have the same groups");
                // Integers this small are exact in f64, and a quotient is rounded once: to the nearest mean,
                // and to the nearest variance.
                let (mean, deviation) = (differential::nearest(mean), differential::nearest(variance).sqrt());
                let (least, largest) = (Some(finite(least)), Some(finite(largest)));
                let total = Some(sum as f64);
                (group, (count as u64, total, Some(mean), least, largest, Some(deviation), Some(any)))
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

    /// Every session that there ever was, and every event: in one of them, or an end marker that found none open.
    #[test]
    fn the_history_of_sessions_agrees_with_a_reduction((events, delay) in sessions::log(), pace in pace()) {
        let scripts = sessions::scripts(&events, delay, PEERS, &pace);
        let (given, counts) = run(&scripts, |blocks, ledger| {
            let ledger = ledger.clone();
            blocks.to_owners().sessions("Sessions", sessions::GAP, false, Some((ledger, 0)), &StateHub::none(), |event| Some(*event))
        });
        let mut history = Vec::new();
        for block in given.into_iter().map(|given| given.item) {
            history.extend(block.keys.iter().zip(block.sessions).map(|((_, key), of)| session(key[0], of)));
        }
        history.sort_unstable();

        let (records, final_watermark) = (by_user(&events), sessions::final_watermark(&events, delay));
        let on_time = records.len() as u64;
        let second = differential::relation(records, move |events| {
            differential::sessions(events, sessions::GAP, final_watermark)
        });
        let in_sessions: u64 = second.iter().map(|(_, session)| session.4).sum();
        prop_assert_eq!(history, second);
        prop_assert_eq!(counts.outputs[0].filtered, on_time - in_sessions);
    }

    #[test]
    fn the_latest_session_of_each_user_agrees_with_two_reductions(
        (events, delay) in sessions::log(), pace in pace(),
    ) {
        let scripts = sessions::scripts(&events, delay, PEERS, &pace);
        let (given, _) = run(&scripts, |blocks, ledger| {
            let sessions = blocks
                .to_owners()
                .sessions("Sessions", sessions::GAP, false, Some((ledger.clone(), 0)), &StateHub::none(), |event| Some(*event));
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
            .map(|(_, ((user, of), _))| session(user, of))
            .collect();

        let final_watermark = sessions::final_watermark(&events, delay);
        let second = differential::relation(by_user(&events), move |events| {
            differential::latest(differential::sessions(events, sessions::GAP, final_watermark))
        });
        prop_assert_eq!(latest.into_iter().collect::<Vec<_>>(), second);
    }
}
