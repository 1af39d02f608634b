//! The way of events to the owners of their keys, as a dataflow.

use std::collections::BTreeMap;

use proptest::prelude::*;
use timely::dataflow::operators::vec::Map;

use super::{Step, run};
use crate::ingest::Edge;
use crate::keys::{key_hash, key_owner};
use crate::operators::keyed::{KeyedBlock, KeyedRouter, ToOwners};
use crate::tick::Tick;

/// An event: its number in the log, and its time.
type Event = (usize, i64);

/// What a worker does with its front: it shows it so many events, and then drains it.
#[derive(Clone, Copy, Debug)]
struct Batch {
    worker: usize,
    events: usize,
    /// How far time moves on, after which only full blocks need leave where that is nowhere; `None` at the end of an
    /// epoch.
    advance: Option<i64>,
}

/// Batches from nothing to more than a block holds, of all workers; how many keys they have, and how long these are.
fn log() -> impl Strategy<Value = (Vec<Batch>, (usize, usize))> {
    let events = prop_oneof![6 => 0_usize..6, 3 => 0_usize..300, 1 => 0_usize..20_000];
    let advance = prop_oneof![4 => Just(Some(0)), 3 => (1_i64..9).prop_map(Some), 1 => Just(None)];
    let batch =
        (0_usize..6, events, advance).prop_map(|(worker, events, advance)| Batch { worker, events, advance });
    (prop::collection::vec(batch, 0..16), (prop_oneof![1_usize..8, 8_usize..3_000], 0_usize..40))
}

/// The key of event `number`: its digits, up to `keys` of them different, in no order that a group or an owner has;
/// the first is empty.
fn key(number: usize, keys: usize, length: usize) -> Vec<u8> {
    match number.wrapping_mul(7_919) % keys {
        0 => Vec::new(),
        key => format!("{key:0length$}").into_bytes(),
    }
}

/// The final watermark of a worker; they differ.
fn final_watermark(worker: usize) -> i64 {
    1_000 + worker as i64
}

/// Events by their number: key and time.
type Log = BTreeMap<usize, (Vec<u8>, i64)>;

/// What each worker sends, and the events of all of them.
fn scripts(
    batches: &[Batch],
    (keys, length): (usize, usize),
    peers: usize,
) -> (Vec<Vec<Step<KeyedBlock<Event>>>>, Log) {
    let mut log = Log::new();
    let mut worker = |index| {
        let (mut router, mut at) = (KeyedRouter::new(peers), Tick::new(Tick::FIRST_EPOCH, 0));
        let mut steps = vec![Step::To(at)];
        for batch in batches.iter().filter(|batch| batch.worker % peers == index) {
            for _ in 0..batch.events {
                let number = log.len();
                let key = key(number, keys, length);
                router.push(key_hash(&key), &key, (number, at.time_us));
                log.insert(number, (key, at.time_us));
            }
            let edge = batch.advance.map_or(Edge::Flush, |us| Edge::Advance(at.time_us + us));
            router.drain(edge, &mut |block| steps.push(Step::Send(block)));
            let epoch = at.epoch + u64::from(batch.advance.is_none());
            at = Tick::new(epoch, at.time_us + batch.advance.unwrap_or(0));
            steps.push(Step::To(at));
        }
        router.drain(Edge::End(final_watermark(index)), &mut |block| steps.push(Step::Send(block)));
        steps
    };
    let steps = (0..peers).map(&mut worker).collect();
    (steps, log)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_event_reaches_the_owner_of_its_key_once((batches, keys) in log()) {
        for peers in 1..=3 {
            let (scripts, log) = scripts(&batches, keys, peers);
            let (given, _) = run(&scripts, |blocks, _ledger| blocks.to_owners().blocks.map(|block| block.block().clone()));
            let (mut arrived, mut owners) = (Log::new(), BTreeMap::new());
            let mut watermarks = vec![Vec::new(); peers];
            for given in given {
                let block = given.item;
                prop_assert_eq!(block.target as usize, given.worker);
                prop_assert_eq!(block.keys.len(), block.events.len(), "a key an event");
                for ((hash, key), &(number, time_us)) in block.keys.iter().zip(&block.events) {
                    prop_assert_eq!(hash, key_hash(key));
                    prop_assert_eq!(given.worker, key_owner(hash, peers));
                    prop_assert_eq!(*owners.entry(key.to_vec()).or_insert(given.worker), given.worker);
                    prop_assert!(given.at.time_us <= time_us, "an event of {} comes at {:?}", time_us, given.at);
                    let again = arrived.insert(number, (key.to_vec(), time_us));
                    prop_assert_eq!(again, None, "event {} comes twice", number);
                }
                watermarks[given.worker].extend(block.final_watermark_us);
            }
            // Not compared by `prop_assert_eq`, which would print tens of thousands of events.
            prop_assert!(arrived == log, "{} of {} events on {} workers", arrived.len(), log.len(), peers);
            let expected: Vec<i64> = (0..peers).map(final_watermark).collect();
            for mut of_owner in watermarks {
                of_owner.sort_unstable();
                prop_assert_eq!(&of_owner, &expected, "each owner is told each worker's final watermark once");
            }
        }
    }

    /// What makes blocks large: while time stands still, what is not a full block stays.
    #[test]
    fn a_block_waits_until_it_is_full_or_time_moves(events in prop::collection::vec(0_usize..9_000, 1..8)) {
        let mut router = KeyedRouter::new(1);
        let mut blocks = Vec::new();
        router.drain(Edge::Advance(0), &mut |block| blocks.push(block));
        let mut waiting = 0;
        for events in events {
            (0..events).for_each(|number| router.push(key_hash(b"k"), b"k", number));
            waiting += events;
            router.drain(Edge::Advance(0), &mut |block: KeyedBlock<usize>| blocks.push(block));
            let sent: usize = std::mem::take(&mut blocks).iter().map(|block| block.events.len()).sum();
            prop_assert_eq!(sent, if waiting < 8 << 10 { 0 } else { waiting });
            waiting -= sent;
        }
        router.drain(Edge::Advance(1), &mut |block| blocks.push(block));
        prop_assert_eq!(blocks.iter().map(|block| block.events.len()).sum::<usize>(), waiting);
    }
}
