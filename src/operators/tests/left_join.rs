//! Left joins, on one to three workers, against a loop over both sides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use differential_dataflow::input::InputSession;
use proptest::prelude::*;

use crate::operators::left_join::LeftJoin;

/// A change of a side: which worker makes it, the key, the value, and whether it is put in or, if it is there, taken out.
type Change = (usize, u8, u8, bool);

/// What a time changes on the left and on the right.
type Step = (Vec<Change>, Vec<Change>);

/// How often each entry of a side is there.
type Side = BTreeMap<(u8, u8), isize>;

/// How often each row is there.
type Rows = BTreeMap<(u8, (u8, Option<u8>)), isize>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = || (0_usize..6, 0_u8..4, 0_u8..3, prop::bool::weighted(0.6));
    let side = move || prop::collection::vec(change(), 0..5);
    prop::collection::vec((side(), side()), 1..8)
}

/// Applies changes to a side, and gives those that it takes: nothing is taken out that is not there.
fn taken(side: &mut Side, changes: &[Change]) -> Vec<(usize, (u8, u8), isize)> {
    let mut given = Vec::new();
    for &(worker, key, value, put) in changes {
        let times = side.entry((key, value)).or_default();
        let diff = if put { 1 } else { -1 };
        if *times + diff >= 0 {
            *times += diff;
            given.push((worker, (key, value), diff));
        }
    }
    side.retain(|_, times| *times != 0);
    given
}

fn joined(left: &Side, right: &Side) -> Rows {
    let mut rows = Rows::new();
    for (&(key, value), &times) in left {
        let mut of_key = right.iter().filter(|((other, _), _)| *other == key).peekable();
        if of_key.peek().is_none() {
            rows.insert((key, (value, None)), times);
        }
        rows.extend(of_key.map(|(&(_, other), &more)| ((key, (value, Some(other))), times * more)));
    }
    rows
}

/// What the operator changes at each time, by all workers.
fn changes(given: Vec<Given>, peers: usize) -> BTreeMap<u64, Rows> {
    let all = Arc::new(Mutex::new(BTreeMap::<u64, Rows>::new()));
    let into = Arc::clone(&all);
    let config = if peers == 1 { timely::Config::thread() } else { timely::Config::process(peers) };
    let guards = timely::execute(config, move |worker| {
        let (mut left, mut right) = (InputSession::new(), InputSession::new());
        let into = Arc::clone(&into);
        let probe = worker.dataflow::<u64, _, _>(|scope| {
            let (left, right) = (left.to_collection(scope), right.to_collection(scope));
            let rows = left.left_join(right).inspect(move |(row, time, diff)| {
                let mut all = into.lock().expect("no panic");
                let times = all.entry(*time).or_default().entry(*row).or_default();
                assert_eq!(*times, 0, "consolidated: a row is given once a time");
                *times += diff;
            });
            rows.probe().0
        });
        let index = worker.index();
        for (time, (of_left, of_right)) in given.iter().enumerate() {
            for (side, changes) in [(&mut left, of_left), (&mut right, of_right)] {
                for &(worker, entry, diff) in changes {
                    if worker % peers == index {
                        side.update(entry, diff);
                    }
                }
                side.advance_to(time as u64 + 1);
                side.flush();
            }
            while probe.less_than(&(time as u64 + 1)) {
                worker.step_or_park(None);
            }
        }
        drop((left, right));
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    })
    .expect("threads start");
    guards.join().into_iter().for_each(|result| result.expect("no worker panics"));
    std::mem::take(&mut *all.lock().expect("no panic"))
}

/// The changes of the left and of the right at a time: by which worker, of what, how often.
type Given = (Vec<(usize, (u8, u8), isize)>, Vec<(usize, (u8, u8), isize)>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// At each time just the rows change in which the join before and the join after differ.
    #[test]
    fn what_changes_is_what_the_joins_before_and_after_differ_in(steps in steps()) {
        let (mut left, mut right, mut given, mut expected) = (Side::new(), Side::new(), Vec::new(), BTreeMap::new());
        for (time, (of_left, of_right)) in steps.iter().enumerate() {
            let mut difference = joined(&left, &right);
            difference.values_mut().for_each(|times| *times = -*times);
            given.push((taken(&mut left, of_left), taken(&mut right, of_right)));
            for (row, times) in joined(&left, &right) {
                *difference.entry(row).or_default() += times;
            }
            difference.retain(|_, times| *times != 0);
            if !difference.is_empty() {
                expected.insert(time as u64, difference);
            }
        }
        for peers in 1..=3 {
            prop_assert_eq!(&changes(given.clone(), peers), &expected, "{} workers", peers);
        }
    }
}
