//! Pivots and ordered state as dataflows on one to three workers, against plain loops.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Given, Pace, Step, pace, run, script};
use crate::operators::ordered::{Machine, Ordered, OrderedState};
use crate::operators::pivot::{OpenGroups, Pivot, Pivoted};
use crate::state::StateHub;

const LANES: usize = 3;

/// An event time, a group, a lane, a value: each (time, group, lane) once.
pub(super) type Entry = (i64, u8, u32, i64);

/// Distinct entries, dealt out to workers, each with a pace.
fn dealt() -> impl Strategy<Value = (Vec<Vec<Entry>>, Vec<Pace>)> {
    let entry = (-40_i64..40, 0_u8..3, 0..LANES as u32, -9_i64..9);
    let entries = prop::collection::vec((entry, 0_usize..3), 0..60);
    (entries, 1_usize..=3, prop::collection::vec(pace(), 3)).prop_map(|(entries, peers, paces)| {
        let mut seen = BTreeMap::new();
        let mut dealt = vec![Vec::new(); peers];
        for ((time, group, lane, value), worker) in entries {
            if seen.insert((time, group, lane), ()).is_none() {
                dealt[worker % peers].push((time, group, lane, value));
            }
        }
        (dealt, paces)
    })
}

/// Distinct entries in any order.
pub(super) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (-40_i64..40, 0_u8..3, 0..LANES as u32, -9_i64..9);
    prop::collection::vec(entry, 0..60).prop_map(|entries| {
        let mut seen = std::collections::BTreeSet::new();
        entries.into_iter().filter(|(time, group, lane, _)| seen.insert((*time, *group, *lane))).collect()
    })
}

/// A script whose items travel at their own event times: the capability never passes one that is to come.
pub(super) fn scripts(dealt: &[Vec<Entry>], paces: &[Pace]) -> Vec<Vec<Step<Vec<Entry>>>> {
    let limit = |rest: &[Entry]| rest.iter().map(|entry| entry.0).min();
    let one = |(entries, pace): (&Vec<Entry>, &Pace)| {
        script(entries, pace, |together| vec![together.to_vec()], limit)
    };
    dealt.iter().zip(paces).map(one).collect()
}

/// Sends each entry of a block at its own event time.
fn at_own_times<'s>(
    blocks: timely::dataflow::StreamVec<'s, crate::tick::Tick, Vec<Entry>>,
) -> timely::dataflow::StreamVec<'s, crate::tick::Tick, Entry> {
    use timely::dataflow::channels::pact::Pipeline;
    use timely::dataflow::operators::generic::Operator;
    blocks.unary(Pipeline, "AtOwnTimes", |_capability, _info| {
        |input, output| {
            input.for_each(|time, blocks| {
                for entry in blocks.drain(..).flatten() {
                    let at = time.time().at(entry.0);
                    let own = time.delayed(&at, output.output_index());
                    output.session(&own).give(entry);
                }
            });
        }
    })
}

/// The entries pivoted.
pub(super) fn pivoted<'s>(
    blocks: timely::dataflow::StreamVec<'s, crate::tick::Tick, Vec<Entry>>,
    state: &StateHub,
) -> timely::dataflow::StreamVec<'s, crate::tick::Tick, Pivoted<u8, i64>> {
    use timely::dataflow::operators::vec::Map;
    at_own_times(blocks).map(|(_, group, lane, value)| (group, lane, value)).pivot("Pivot", LANES, state)
}

/// The entries numbered.
pub(super) fn numbering<'s>(
    blocks: timely::dataflow::StreamVec<'s, crate::tick::Tick, Vec<Entry>>,
    state: &StateHub,
) -> timely::dataflow::StreamVec<'s, crate::tick::Tick, <Numbering as Machine>::Output> {
    at_own_times(blocks).ordered("Ordered", Numbering, state)
}

/// Remembers how many items it has met, and what the last one was.
pub(super) struct Numbering;

impl Machine for Numbering {
    type Key = u8;
    type Item = Entry;
    type Order = u32;
    type State = (u64, Option<Entry>);
    type Output = (u8, u64, Option<Entry>, Entry);

    fn key(&self, entry: &Entry) -> u8 {
        entry.1
    }
    fn order(&self, entry: &Entry) -> u32 {
        entry.2
    }
    fn apply(
        &self,
        key: &u8,
        (count, last): &mut (u64, Option<Entry>),
        time_us: i64,
        entry: Entry,
        emit: &mut dyn FnMut(Self::Output),
    ) {
        assert_eq!(time_us, entry.0);
        emit((*key, *count, last.replace(entry), entry));
        *count += 1;
    }
}

/// A plain loop over each key's sorted entries.
pub(super) fn numbered(dealt: &[Vec<Entry>]) -> Vec<<Numbering as Machine>::Output> {
    let mut sorted: Vec<Entry> = dealt.iter().flatten().copied().collect();
    sorted.sort_by_key(|entry| (entry.1, entry.0, entry.2));
    let mut out: Vec<<Numbering as Machine>::Output> = Vec::new();
    for entry in sorted {
        let before = out.last().filter(|last| last.0 == entry.1).map(|last| (last.1 + 1, last.3));
        let (count, last) = before.map_or((0, None), |(count, last)| (count, Some(last)));
        out.push((entry.1, count, last, entry));
    }
    out
}

pub(super) fn naive_pivot(dealt: &[Vec<Entry>]) -> BTreeMap<(i64, u8), Vec<Option<i64>>> {
    let mut rows = BTreeMap::new();
    for &(time, group, lane, value) in dealt.iter().flatten() {
        rows.entry((time, group)).or_insert_with(|| vec![None; LANES])[lane as usize] = Some(value);
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_group_is_one_row_at_its_time_with_all_lanes((dealt, paces) in dealt()) {
        let (given, _) =
            run(&scripts(&dealt, &paces), |blocks, _ledger| pivoted(blocks, &StateHub::none()));
        let mut rows = BTreeMap::new();
        for Given { at, item: Pivoted { time_us, group, lanes }, .. } in given {
            prop_assert_eq!(at.time_us, time_us);
            prop_assert!(rows.insert((time_us, group), lanes).is_none(), "a group leaves once");
        }
        prop_assert_eq!(rows, naive_pivot(&dealt));
    }

    #[test]
    fn each_key_meets_its_items_in_event_time_order((dealt, paces) in dealt()) {
        let (given, _) =
            run(&scripts(&dealt, &paces), |blocks, _ledger| numbering(blocks, &StateHub::none()));
        let mut found = Vec::new();
        for Given { at, item, .. } in given {
            prop_assert_eq!(at.time_us, item.3.0, "an output has its item's time");
            found.push(item);
        }
        found.sort_by_key(|(key, count, ..)| (*key, *count));
        prop_assert_eq!(found, numbered(&dealt));
    }

    /// Saved anywhere in between, taken back by another worker, it goes on as if nothing had been.
    #[test]
    fn state_that_is_saved_and_restored_goes_on(
        mut entries in prop::collection::vec((-40_i64..40, 0_u8..3, 0..LANES as u32, -9_i64..9), 0..40),
        cut in 0_usize..40,
        passed in -40_i64..40,
    ) {
        entries.sort();
        entries.dedup_by_key(|entry| (entry.0, entry.1, entry.2));
        // What comes after the cut is not before what the frontier has passed.
        let (early, late): (Vec<_>, Vec<_>) =
            entries.iter().enumerate().partition(|(i, entry)| *i < cut || entry.0 < passed);
        let (mut whole, mut first) = (OrderedState::new(Numbering), OrderedState::saved(Numbering));
        let (mut open, mut first_open) = (OpenGroups::new(LANES), OpenGroups::saved(LANES));
        let (mut saved, mut saved_open) = (BTreeMap::new(), BTreeMap::new());
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        let (mut rows, mut found_rows) = (Vec::new(), Vec::new());
        for (i, entry) in &early {
            // What was saved before is replaced by what is saved later.
            if i % 7 == 0 {
                saved.extend(first.save());
                first_open.save(&mut |place, lanes| drop(saved_open.insert(*place, lanes.clone())));
            }
            whole.take(entry.0, **entry);
            first.take(entry.0, **entry);
            open.put(entry.0, entry.1, entry.2 as usize, entry.3);
            first_open.put(entry.0, entry.1, entry.2 as usize, entry.3);
        }
        whole.pass(Some(passed), &mut |_, output| expected.push(output));
        first.pass(Some(passed), &mut |_, output| found.push(output));
        open.pass(Some(passed), &mut |row| rows.push(row));
        first_open.pass(Some(passed), &mut |row| found_rows.push(row));

        saved.extend(first.save());
        first_open.save(&mut |place, lanes| drop(saved_open.insert(*place, lanes.clone())));
        prop_assert!(first.save().is_empty(), "it is saved once");
        let (mut second, mut second_open) = (OrderedState::new(Numbering), OpenGroups::new(LANES));
        saved.into_iter().for_each(|(key, share)| second.restore(key, share));
        saved_open.retain(|(time, _), _| *time >= passed);
        saved_open.into_iter().for_each(|(place, lanes)| second_open.restore(place, lanes));
        prop_assert_eq!(second.waiting(), whole.waiting());
        for (_, entry) in &late {
            whole.take(entry.0, **entry);
            second.take(entry.0, **entry);
            open.put(entry.0, entry.1, entry.2 as usize, entry.3);
            second_open.put(entry.0, entry.1, entry.2 as usize, entry.3);
        }
        whole.pass(None, &mut |_, output| expected.push(output));
        second.pass(None, &mut |_, output| found.push(output));
        open.pass(None, &mut |row| rows.push(row));
        second_open.pass(None, &mut |row| found_rows.push(row));
        prop_assert_eq!(found, expected);
        prop_assert_eq!(found_rows, rows);
        prop_assert!(open.is_empty() && whole.waiting() == 0);
    }
}
