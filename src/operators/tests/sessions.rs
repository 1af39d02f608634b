//! Sessions against the contract's words, user by user.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{EARLY, Pace, Step, pace, run, script};
use crate::ingest::Edge;
use crate::keys::{key_hash, key_owner};
use crate::operators::keyed::{KeyedBlock, KeyedRouter, SharedKeys, ToOwners};
use crate::operators::session::{
    EndReason, Mark, SavedSession, Session, SessionEvent, SessionMachine, Sessions,
};
use crate::spill::Budget;
use crate::state::StateHub;

const MINUTE: i64 = 60_000_000;
pub(super) const GAP: i64 = 30 * MINUTE;

/// A record's place and meaning; `watermark` is its partition's before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) user: u8,
    pub(super) watermark: i64,
    pub(super) what: SessionEvent,
}

/// A record as drawn: partition, user, event time, mark, flag.
type Drawn = (u32, u8, i64, Mark, bool);

/// A log in one of the orders in which its partitions can be read together, and the partitions' delay.
/// Times are mostly whole multiples of 5 minutes, so that many are equal and many gaps are exact.
pub(super) fn log() -> impl Strategy<Value = (Vec<Event>, i64)> {
    let time = (-40_i64..120, prop_oneof![4 => Just(0_i64), 1 => -1_i64..=1, 1 => 0..MINUTE])
        .prop_map(|(slot, off)| slot / 4 * 5 * MINUTE + off);
    let mark = prop_oneof![3 => Just(Mark::Join), 2 => Just(Mark::Start), 2 => Just(Mark::End)];
    let record = (0_u32..3, 0_u8..4, time, mark, any::<bool>());
    let delay = prop_oneof![Just(0), Just(2 * MINUTE), 0..4 * GAP];
    // Roughly in time order, so that most are not late; shuffled by up to some tens of records.
    (prop::collection::vec((record, 0_i64..100), 0..80), delay).prop_map(|(mut records, delay)| {
        records.sort_by_key(|((_, _, time, ..), later)| time / MINUTE + later);
        let mut largest = [i64::MIN; 3];
        let judge = |(offset, ((rank, user, time_us, mark, flagged), _)): (i64, (Drawn, i64))| {
            let seen = &mut largest[rank as usize];
            let watermark = if *seen == i64::MIN { i64::MIN } else { *seen - delay };
            *seen = time_us.max(*seen);
            Event { user, watermark, what: SessionEvent { time_us, rank, offset, mark, flagged } }
        };
        ((0..).zip(records).map(judge).collect(), delay)
    })
}

/// A session, its user, and the instant at which it is known to be over.
pub(super) type Row = (u8, Session, i64);

/// The contract, section 6: sessions by row, and how many end markers were ignored.
pub(super) fn naive(events: &[Event], final_watermark: i64) -> (Vec<Row>, u64) {
    let mut on_time: Vec<_> = events.iter().filter(|event| event.what.time_us >= event.watermark).collect();
    on_time.sort_by_key(|event| (event.what.time_us, event.what.rank, event.what.offset));
    let mut rows = Vec::new();
    let mut ignored = 0;
    for user in 0..4 {
        // The open session: its events so far.
        let mut open: Vec<&SessionEvent> = Vec::new();
        let mut starts = BTreeMap::<i64, u32>::new();
        let mut close = |open: &mut Vec<&SessionEvent>, end_us: i64, reason, known: i64| {
            let start_us = open[0].time_us;
            let seq = starts.entry(start_us).or_default();
            let flagged = open.iter().filter(|event| event.flagged).count() as u64;
            let session = Session { start_us, seq: *seq, end_us, reason, events: open.len() as u64, flagged };
            *seq += 1;
            rows.push((user, session, known));
            open.clear();
        };
        for event in on_time.iter().filter(|event| event.user == user).map(|event| &event.what) {
            if let Some(last) = open.last().map(|last| last.time_us)
                && event.time_us - last >= GAP
            {
                close(&mut open, last, EndReason::Timeout, last + GAP);
            }
            match event.mark {
                Mark::Join => open.push(event),
                Mark::Start => {
                    if let Some(last) = open.last().map(|last| last.time_us) {
                        close(&mut open, last, EndReason::Restart, event.time_us);
                    }
                    open.push(event);
                }
                Mark::End if open.is_empty() => ignored += 1,
                Mark::End => {
                    open.push(event);
                    close(&mut open, event.time_us, EndReason::Ended, event.time_us);
                }
            }
        }
        if let Some(last) = open.last().map(|last| last.time_us) {
            let reason = if final_watermark >= last + GAP { EndReason::Timeout } else { EndReason::Open };
            close(&mut open, last, reason, last + GAP);
        }
    }
    rows.sort();
    (rows, ignored)
}

/// The watermarks of all partitions after their last record.
pub(super) fn final_watermark(events: &[Event], delay: i64) -> i64 {
    events.iter().map(|event| event.what.time_us - delay).max().unwrap_or(i64::MIN)
}

/// Where the frontier stands at most: at the smallest watermark of the partitions that have not ended.
pub(super) fn limit(pending: &[Event]) -> Option<i64> {
    (0..3)
        .filter_map(|rank| pending.iter().find(|event| event.what.rank == rank))
        .map(|next| next.watermark)
        .min()
}

proptest! {
    #[test]
    fn sessions_are_the_naive_ones_wherever_the_frontier_stands(
        (events, delay) in log(),
        steps in prop::collection::vec((0_usize..8, 0_i64..=100), 1..60),
        // With next to no memory all that waits is on disk.
        limit_bytes in prop::option::of(1_usize..20_000),
    ) {
        let mut machine = SessionMachine::new(GAP, SharedKeys::default()).with_open();
        if let Some(limit_bytes) = limit_bytes {
            machine = machine.within(Budget::limited(limit_bytes, &std::env::temp_dir()));
        }
        let (mut rows, mut ignored) = (Vec::<Row>::new(), 0);
        let (mut arrived, mut watermark) = (0, EARLY);
        // What was given of open sessions last, by user.
        let mut open = BTreeMap::new();
        for (many, percent) in steps.into_iter().chain([(events.len(), 100)]) {
            let coming = &events[arrived..events.len().min(arrived + many)];
            arrived += coming.len();
            for event in coming.iter().filter(|event| event.what.time_us >= event.watermark) {
                machine.observe(key_hash(&[event.user]), &[event.user], event.what);
            }
            let furthest = limit(&events[arrived..]).unwrap_or(watermark);
            let before = watermark;
            watermark += furthest.saturating_sub(watermark).max(0) * percent / 100;
            machine.advance(watermark, &mut |_, key, session, known| {
                assert!(known >= before - (1 << 22), "known {known} long before {before}");
                rows.push((key[0], session, known));
            });
            ignored += machine.take_ignored();

            machine.changed(&mut |_, key, session, _| open.extend([(key[0], session)]));
            machine.changed(&mut |_, key, _, _| panic!("{key:?} has not changed"));
            let is_over = |user: u8, open: &Session| {
                let same = |(of, over, _): &Row| (*of, over.start_us, over.seq) == (user, open.start_us, open.seq);
                rows.iter().any(same)
            };
            open.retain(|user, session| !is_over(*user, session));
            let passed: Vec<_> =
                events[..arrived].iter().filter(|event| event.what.time_us < watermark).copied().collect();
            let so_far = naive(&passed, i64::MIN).0.into_iter().map(|(user, session, _)| (user, session));
            let expected: BTreeMap<_, _> = so_far
                .filter(|(user, session)| session.reason == EndReason::Open && !is_over(*user, session))
                .collect();
            prop_assert_eq!(&open, &expected, "open sessions at {}", watermark);
        }
        prop_assert!(machine.keys() <= 4);
        machine.finish(final_watermark(&events, delay), &mut |hash, key, session, known| {
            assert_eq!(hash, key_hash(key));
            rows.push((key[0], session, known));
        });
        ignored += machine.take_ignored();
        rows.sort();
        prop_assert_eq!((rows, ignored), naive(&events, final_watermark(&events, delay)));
        prop_assert_eq!((machine.keys(), machine.waiting()), (0, 0), "what is over is freed");
        prop_assert!(machine.failure().is_none());
    }
}

#[test]
fn events_that_wait_go_to_disk_and_come_back_in_order() {
    let budget = Budget::limited(64 << 10, &std::env::temp_dir());
    let mut machine = SessionMachine::new(GAP, SharedKeys::default()).within(budget.clone());
    let what = |time_us, offset| SessionEvent { time_us, rank: 0, offset, mark: Mark::Join, flagged: false };
    // Backwards, over some minutes.
    let all = 20_000;
    for offset in 0..all {
        machine.observe(key_hash(b"u"), b"u", what((all - offset) * 10_000, offset));
    }
    assert!(!budget.is_over(), "{} bytes", budget.used_bytes());
    let mut rows = Vec::new();
    machine.finish(i64::MAX, &mut |_, _, session, _| rows.push(session));
    assert_eq!(rows.iter().map(|session| session.events).sum::<u64>(), all as u64);
    assert!(rows.is_sorted_by_key(|session| session.start_us));
    assert!(machine.failure().is_none());
}

pub(super) fn scripts(
    events: &[Event],
    delay: i64,
    peers: usize,
    pace: &Pace,
) -> Vec<Vec<Step<KeyedBlock<SessionEvent>>>> {
    let worker = |index| {
        let mine: Vec<_> =
            events.iter().filter(|event| event.what.rank as usize % peers == index).copied().collect();
        let mut router = KeyedRouter::new(peers);
        let pack = |events: &[Event]| {
            for event in events.iter().filter(|event| event.what.time_us >= event.watermark) {
                router.push(key_hash(&[event.user]), &[event.user], event.what);
            }
            let mut blocks = Vec::new();
            router.drain(Edge::Flush, &mut |block| blocks.push(block));
            blocks
        };
        let mut steps = script(&mine, pace, pack, limit);
        let end = Edge::End(final_watermark(&mine, delay));
        router.drain(end, &mut |block| steps.push(Step::Send(block)));
        steps
    };
    (0..peers).map(worker).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_to_three_workers_give_the_naive_sessions((events, delay) in log(), pace in pace()) {
        let (expected, ignored) = naive(&events, final_watermark(&events, delay));
        for peers in 1..=3 {
            let (given, counts) = run(&scripts(&events, delay, peers, &pace), |blocks, ledger| {
                blocks.to_owners().sessions("Sessions", GAP, false, Some((ledger.clone(), 0)), &StateHub::none(), |event| Some(*event))
            });
            let mut rows = Vec::new();
            for given in &given {
                for ((hash, key), session) in given.item.keys.iter().zip(&given.item.sessions) {
                    prop_assert_eq!(given.worker, key_owner(hash, peers));
                    rows.push((key[0], *session, given.at.time_us));
                }
            }
            rows.sort();
            let at_step = |known: i64| (known.div_euclid(1 << 22) + 1) * (1 << 22) - 1;
            let expected: Vec<_> =
                expected.iter().map(|(user, session, known)| (*user, *session, at_step(*known))).collect();
            prop_assert_eq!(rows, expected, "{} workers", peers);
            prop_assert_eq!(counts.outputs[0].filtered, ignored);
        }
    }
}

fn one_event(time_us: i64) -> SessionEvent {
    SessionEvent { time_us, rank: 0, offset: 0, mark: Mark::Join, flagged: false }
}

#[test]
fn a_timeout_leaves_at_the_same_time_wherever_the_frontier_has_stood() {
    let leaves_at = |stops: &[i64]| {
        let mut router = KeyedRouter::new(1);
        router.push(key_hash(b"u"), b"u", one_event(7));
        let mut steps = vec![Step::To(super::Tick::new(1, 0))];
        router.drain(Edge::Flush, &mut |block| steps.push(Step::Send(block)));
        steps.extend(stops.iter().map(|stop| Step::To(super::Tick::new(1, *stop))));
        let (given, _) = run(&[steps], |blocks, ledger| {
            blocks.to_owners().sessions(
                "Sessions",
                GAP,
                false,
                Some((ledger.clone(), 0)),
                &StateHub::none(),
                |event| Some(*event),
            )
        });
        given.iter().map(|given| given.at.time_us).collect::<Vec<_>>()
    };
    let undisturbed = leaves_at(&[]);
    assert_eq!(undisturbed.len(), 1);
    for stop in [GAP - 1, GAP + 7, GAP + 8, GAP + 1_100_000, GAP + 3_000_000, GAP + MINUTE] {
        assert_eq!(leaves_at(&[stop]), undisturbed, "stopped at {stop}");
        assert_eq!(leaves_at(&[stop, stop + 1_500_000, stop + GAP]), undisturbed, "stopped at {stop}");
    }
}

#[test]
fn events_that_format_3_saved_with_their_key_wait_and_are_saved_on_their_own() {
    let bytes = bincode::serialize(&(None::<u8>, 0_i64, 0_u32, vec![one_event(7)])).unwrap();
    let saved: SavedSession = bincode::deserialize(&bytes).unwrap();
    let mut machine = SessionMachine::new(GAP, SharedKeys::default()).saved();
    machine.restore(key_hash(b"u"), b"u", saved, |rank| rank + 1);
    assert_eq!((machine.keys(), machine.waiting()), (1, 1));
    let (mut waiting, mut entries) = (Vec::new(), 0);
    machine.save_waiting(&mut |_, key, until_us, event| waiting.push((key.to_vec(), until_us, event.rank)));
    assert_eq!(waiting, [(b"u".to_vec(), 8, 1)]);
    machine.save(&mut |_, _, saved| entries += usize::from(saved.is_some()));
    assert_eq!(entries, 1, "the former entry, which held it, is replaced");
    let mut reasons = Vec::new();
    machine.advance(i64::MAX, &mut |_, _, session, _| reasons.push(session.reason));
    assert_eq!((reasons, machine.keys()), (vec![EndReason::Timeout], 0));
}

#[test]
fn a_watermark_at_the_end_of_time_passes_every_event() {
    let mut machine = SessionMachine::new(GAP, SharedKeys::default());
    for time_us in [-9 * GAP, -5 * GAP, 3 * GAP] {
        machine.observe(key_hash(b"u"), b"u", one_event(time_us));
    }
    let mut closed = 0;
    machine.advance(i64::MAX, &mut |_, _, _, _| closed += 1);
    assert_eq!((closed, machine.waiting(), machine.keys()), (3, 0, 0));
}

#[test]
fn a_gap_beyond_all_time_never_ends_a_session() {
    let mut machine = SessionMachine::new(i64::MAX, SharedKeys::default());
    machine.observe(key_hash(b"u"), b"u", one_event(0));
    machine.advance(i64::MAX - 1, &mut |_, _, session, _| panic!("{session:?}"));
    let mut reasons = Vec::new();
    machine.finish(i64::MAX - 1, &mut |_, _, session, _| reasons.push(session.reason));
    assert_eq!(reasons, [EndReason::Open]);
}
