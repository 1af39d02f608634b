//! [`WindowCloser`] against the contract, window by window: no pane and no class is known here.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{ClosedWindow, Eligible, Firing, PaneBlock, WindowCloser, WindowSpec};
use crate::aggregate::{Aggregate, AnyValue, Count, DistinctExact, Finite, Max, Min, Origin, Sum};
use crate::keys::{KeyColumn, key_hash};

/// All aggregates whose running form differs.
pub(crate) type All = (Count, Sum, Min<Finite>, Max<Finite>, AnyValue<str>, DistinctExact);
pub(crate) type Row = <All as Aggregate>::Output;
/// Results by (window's start, key).
pub(crate) type Table = BTreeMap<(i64, u8), Row>;

/// A record at its position in its partition.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) partition: u64,
    pub(crate) offset: i64,
    pub(crate) time: i64,
    pub(crate) watermark: i64,
    pub(crate) key: u8,
    pub(crate) value: i8,
}

impl Event {
    pub(crate) fn origin(&self) -> Origin {
        Origin { event_time_us: self.time, partition: self.partition, offset: self.offset }
    }

    fn word(&self) -> String {
        format!("w{}", self.value % 3)
    }

    /// Starts of the windows that the event counts in, by the contract's words.
    pub(crate) fn windows(&self, size: i64, slide: i64) -> Vec<i64> {
        let mut starts = Vec::new();
        let mut start = self.time.div_euclid(slide) * slide;
        while start + size > self.time {
            if start + size > self.watermark {
                starts.push(start);
            }
            start -= slide;
        }
        starts
    }
}

/// A log's records, in one of the orders in which its partitions can be read together.
pub(crate) fn log() -> impl Strategy<Value = Vec<Event>> {
    let record = (0_u64..3, -60_i64..160, 0_u8..4, -20_i8..20);
    (prop::collection::vec(record, 0..60), 0_i64..60).prop_map(|(records, delay)| {
        let mut largest = [i64::MIN; 3];
        let judge = |(offset, (partition, time, key, value)): (i64, (u64, i64, u8, i8))| {
            let seen = &mut largest[partition as usize];
            let watermark = if *seen == i64::MIN { i64::MIN } else { *seen - delay };
            *seen = time.max(*seen);
            Event { partition, offset, time, watermark, key, value }
        };
        (0..).zip(records).map(judge).collect()
    })
}

pub(crate) fn windows() -> impl Strategy<Value = (i64, i64)> {
    prop_oneof![
        (1_i64..40).prop_map(|size| (size, size)),
        (1_i64..15, 1_i64..8).prop_map(|(slide, times)| (slide * times, slide)),
        (1_i64..20, 0_i64..60).prop_map(|(slide, extra)| (slide + extra, slide)),
    ]
}

fn naive_row(events: &[&Event]) -> Row {
    let values = || events.iter().map(|event| f64::from(event.value));
    let finite = |value: f64| Finite::new(value).expect("finite");
    let first = events.iter().min_by_key(|event| (event.time, event.partition, event.offset));
    (
        events.len() as u64,
        Some(values().sum()),
        Some(finite(values().fold(f64::MAX, f64::min))),
        Some(finite(values().fold(f64::MIN, f64::max))),
        first.map(|event| event.word()),
        events.iter().map(|event| event.word()).collect::<BTreeSet<_>>().len() as u64,
    )
}

pub(crate) fn naive_table<'e>(events: impl IntoIterator<Item = &'e Event>, size: i64, slide: i64) -> Table {
    let mut groups = BTreeMap::<(i64, u8), Vec<&Event>>::new();
    for event in events {
        for start in event.windows(size, slide) {
            groups.entry((start, event.key)).or_default().push(event);
        }
    }
    groups.into_iter().map(|(group, events)| (group, naive_row(&events))).collect()
}

/// Adds an event to all of them.
pub(crate) fn add_all(partial: &mut All, event: &Event) {
    let value = Finite::new(event.value.into()).expect("finite");
    let word = event.word();
    partial.add(((), value, value, value, (event.origin(), &word), word.as_bytes()));
}

/// The blocks that carry `events`, which a source worker sends together.
pub(crate) fn blocks(spec: &WindowSpec, events: &[Event]) -> Vec<PaneBlock<All>> {
    blocks_of(spec, events, add_all)
}

/// The same for any aggregate, to which `add` adds an event.
pub(crate) fn blocks_of<A: Aggregate>(
    spec: &WindowSpec,
    events: &[Event],
    add: impl Fn(&mut A, &Event),
) -> Vec<PaneBlock<A>> {
    let mut partials = BTreeMap::<Eligible, BTreeMap<u8, A>>::new();
    for event in events {
        let Some(at) = spec.eligible(event.time, event.watermark) else { continue };
        add(partials.entry(at).or_default().entry(event.key).or_default(), event);
    }
    let block = |(at, partials): (Eligible, BTreeMap<u8, A>)| {
        let mut keys = KeyColumn::default();
        partials.keys().for_each(|key| keys.push(key_hash(&[*key]), &[*key]));
        PaneBlock { target: 0, at, keys, partials: partials.into_values().collect() }
    };
    partials.into_iter().map(block).collect()
}

pub(crate) fn rows<V: Clone>(closed: ClosedWindow<V>, spec: &WindowSpec) -> Vec<((i64, u8), V)> {
    assert_eq!(closed.end_us - closed.start_us, spec.size_us());
    assert_eq!(closed.keys.len(), closed.values.len());
    let key = |(hash, key): (u64, &[u8])| {
        assert_eq!(hash, key_hash(key));
        (closed.start_us, key[0])
    };
    closed.keys.iter().map(key).zip(closed.values.clone()).collect()
}

/// Adds rows to a table that must not have them yet.
pub(crate) fn insert_new<V>(table: &mut BTreeMap<(i64, u8), V>, rows: Vec<((i64, u8), V)>) {
    for (at, row) in rows {
        assert!(table.insert(at, row).is_none(), "{at:?} is given twice");
    }
}

/// How far the frontier may go while `pending` is still to come: short of the end of any window that the
/// pending events count in.
pub(crate) fn limit(pending: &[Event], size: i64, slide: i64) -> i64 {
    let ends = pending.iter().flat_map(|event| event.windows(size, slide)).map(|start| start + size - 1);
    ends.min().unwrap_or(10_000)
}

/// A step of a run: how many events come together, how far the frontier then moves (in percent of what it
/// may), and whether a trigger fires before the close.
type Steps = Vec<(usize, i64, bool)>;

fn steps() -> impl Strategy<Value = Steps> {
    prop::collection::vec((0_usize..8, 0_i64..=100, any::<bool>()), 1..40)
}

/// Runs a closer over `events` by `steps`; checks every provisional and final row against the model on the way.
fn run(events: &[Event], (size, slide): (i64, i64), steps: &Steps, update_mode: bool) -> Table {
    let spec = WindowSpec::sliding(size, slide).expect("valid");
    let mut closer = WindowCloser::<All>::new(spec, update_mode).with_early();
    let (mut finals, mut upserted) = (Table::new(), Table::new());
    let (mut arrived, mut watermark) = (0, -1_000);
    // Since the last trigger at the end of an epoch, and since the last of any kind.
    let (mut changed, mut changed_early) = (BTreeSet::new(), BTreeSet::new());
    for &(many, percent, trigger) in steps.iter().chain(&[(events.len(), 50, true)]) {
        let coming = &events[arrived..events.len().min(arrived + many)];
        blocks(&spec, coming).iter().for_each(|block| closer.merge(block));
        arrived += coming.len();
        for event in coming {
            let windows = event.windows(size, slide).into_iter().map(|start| (start, event.key));
            changed_early.extend(windows.clone());
            changed.extend(windows);
        }

        let expected = naive_table(&events[..arrived], size, slide);
        for (firing, fires) in [(Firing::Early, percent % 3 == 0), (Firing::Epoch, trigger)] {
            if !fires {
                continue;
            }
            assert_eq!(closer.has_early(), update_mode && !changed_early.is_empty());
            let mut provisional = Table::new();
            closer.changed(firing, &mut |block| {
                assert_eq!(block.firing, firing);
                insert_new(&mut provisional, rows(block, &spec));
            });
            let early = std::mem::take(&mut changed_early);
            let due = if firing == Firing::Early { early } else { std::mem::take(&mut changed) };
            let of_changed = |at: &(i64, u8)| (*at, expected[at].clone());
            let wanted = due.iter().filter(|_| update_mode).map(of_changed).collect::<Table>();
            assert_eq!(provisional, wanted, "{firing:?} rows at {watermark}");
            upserted.extend(provisional);
        }

        let furthest = limit(&events[arrived..], size, slide).max(watermark);
        watermark += (furthest - watermark) * percent / 100;
        let mut closed = Table::new();
        let mut last_start = i64::MIN;
        closer.close(Some(watermark), &mut |block| {
            assert!(block.firing.is_final() && block.start_us > last_start, "windows close once, in order");
            last_start = block.start_us;
            insert_new(&mut closed, rows(block, &spec));
        });
        let open: BTreeSet<i64> =
            expected.keys().map(|at| at.0).filter(|start| start + size > watermark).collect();
        assert_eq!(closer.open_windows(), open.len() as u64, "open windows at {watermark}");
        let due = |at: &(i64, u8)| at.0 + size <= watermark && !finals.contains_key(at);
        let wanted = expected.into_iter().filter(|(at, _)| due(at)).collect::<Table>();
        assert_eq!(closed, wanted, "final rows at {watermark}");
        changed.retain(|at| at.0 + size > watermark);
        changed_early.retain(|at| at.0 + size > watermark);
        upserted.extend(closed.clone());
        finals.extend(closed);
    }
    let mut closed = Table::new();
    closer.close(None, &mut |block| insert_new(&mut closed, rows(block, &spec)));
    upserted.extend(closed.clone());
    closed.into_iter().for_each(|(at, row)| insert_new(&mut finals, vec![(at, row)]));
    for firing in [Firing::Early, Firing::Epoch] {
        closer.changed(firing, &mut |block| panic!("{block:?} after the end"));
    }
    assert_eq!((closer.entries(), closer.keys()), (0, 0), "closed windows are freed");
    assert_eq!(closer.open_windows(), 0);
    assert_eq!(upserted, finals, "in the end both modes leave the same rows");
    finals
}

proptest! {
    #[test]
    fn every_window_closes_once_with_the_naive_row(events in log(), windows in windows(), steps in steps()) {
        prop_assert_eq!(run(&events, windows, &steps, false), naive_table(&events, windows.0, windows.1));
    }

    #[test]
    fn update_mode_gives_what_changed_and_ends_like_final_mode(
        events in log(), windows in windows(), steps in steps(),
    ) {
        prop_assert_eq!(run(&events, windows, &steps, true), naive_table(&events, windows.0, windows.1));
    }
}

#[test]
fn a_record_late_for_its_older_windows_counts_in_the_newer_ones() {
    let event = |offset, time, watermark| Event { partition: 0, offset, time, watermark, key: 0, value: 1 };
    // Windows of 10 every 5: the second record is late for [0, 10) and on time for [5, 15).
    let events = [event(0, 12, i64::MIN), event(1, 7, 10)];
    let table = run(&events, (10, 5), &vec![(1, 0, false)], false);
    let counts: Vec<_> = table.into_iter().map(|((start, _), row)| (start, row.0)).collect();
    assert_eq!(counts, [(5, 2), (10, 1)]);
}

#[test]
fn sliding_windows_share_their_keys_until_one_comes_or_goes() {
    let spec = WindowSpec::sliding(4, 1).expect("valid");
    let mut closer = WindowCloser::<Count>::new(spec, false);
    for (time, key) in [(0, 1_u8), (2, 1), (5, 1), (5, 2)] {
        let mut keys = KeyColumn::default();
        keys.push(key_hash(&[key]), &[key]);
        let mut one = Count::default();
        one.add(());
        let at = spec.eligible(time, i64::MIN).expect("nothing is late");
        closer.merge(&PaneBlock { target: 0, at, keys, partials: vec![one] });
    }
    let mut closed = Vec::new();
    closer.close(None, &mut |block| closed.push(block));
    let shared: Vec<_> =
        closed.windows(2).map(|pair| std::sync::Arc::ptr_eq(&pair[0].keys, &pair[1].keys)).collect();
    let counts: Vec<_> = closed.iter().map(|block| block.values.clone()).collect();
    // Windows start at -3 to 5; key 2 comes with the window that starts at 2, and then they leave together.
    assert_eq!(
        counts,
        [[1].as_slice(), &[1], &[2], &[2], &[1], &[2, 1], &[1, 1], &[1, 1], &[1, 1]].map(<[u64]>::to_vec)
    );
    assert_eq!(shared, [true, true, true, true, false, true, true, true]);
}

#[test]
fn a_closer_keeps_no_memory_of_keys_that_are_gone() {
    let spec = WindowSpec::sliding(60, 20).expect("valid");
    let mut closer = WindowCloser::<Count>::new(spec, true);
    let mut most = 0;
    for step in 0..400_i64 {
        let mut keys = KeyColumn::default();
        for n in 0..500_i64 {
            let key = (step * 500 + n).to_le_bytes();
            keys.push(key_hash(&key), &key);
        }
        let mut one = Count::default();
        one.add(());
        let at = spec.eligible(step * 20, i64::MIN).expect("nothing is late");
        closer.merge(&PaneBlock { target: 0, at, partials: vec![one; keys.len()], keys });
        closer.close(Some(step * 20), &mut |_| ());
        assert!(closer.keys() <= 4 * 500, "{} keys at step {step}", closer.keys());
        most = most.max(if step == 100 { closer.heap_bytes() } else { 0 });
    }
    assert!(closer.heap_bytes() <= 2 * most, "{} bytes, {most} at step 100", closer.heap_bytes());
}
