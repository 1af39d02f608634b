//! State that is saved in the middle and taken back by another number of workers: what follows is what would have
//! followed anyway.
//!
//! First machine by machine, cut between any two records; then as dataflows, cut between two epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::{Operator, operator::source};
use timely::worker::Worker;
use timely::{Config, ExchangeData};

use super::keyed_window::route;
use super::sessions::{GAP, final_watermark};
use super::{EARLY, Given, PATIENCE, Pace, Step, distinct, pace, pivot, run, script, sessions};
use crate::aggregate::{Aggregate, Count};
use crate::ingest::{Counts, Edge, Ledger};
use crate::keys::key_hash;
use crate::operators::distinct::{DistinctCount, DistinctCounter, DistinctKeys};
use crate::operators::keyed::{KeyedBlock, KeyedRouter, SharedKeys, ToOwners};
use crate::operators::keyed_window::{CloseWindows, Mode};
use crate::operators::latest::LatestByKey;
use crate::operators::net_changes::NetChanges;
use crate::operators::session::{SessionEvent, SessionMachine, Sessions};
use crate::operators::totals::TotalByKey;
use crate::runtime::{ManualClock, Trigger};
use crate::spill::Budget;
use crate::state::{Blocks, Compactions, Fold, Restored, StateBlock, StateHub, StateWriter};
use crate::tick::{Tick, watermark_us};
use crate::window::tests::{
    All, Event, Row, Table, blocks, insert_new, limit, log, naive_table, rows, windows,
};
use crate::window::{Eligible, Firing, PaneBlock, WindowCloser, WindowSpec};

/// The epoch in which a restored dataflow reads first.
const SECOND_EPOCH: u64 = Tick::FIRST_EPOCH + 1;

/// What three partitions are numbered after others have been added between them.
const RANKS: [u32; 3] = [1, 3, 4];

/// What a checkpoint keeps, as it comes out of its file, and the hubs of the `peers` workers that take it back.
fn hubs(watermark_us: i64, ranks: &[u32], blocks: &[StateBlock], peers: usize) -> Vec<StateHub> {
    let bytes = bincode::serialize(&folded(blocks, watermark_us)).expect("blocks are plain data");
    let blocks: Vec<StateBlock> = bincode::deserialize(&bytes).expect("as they were written");
    // In memory, or from disk in many small shares.
    let in_memory = blocks.len().is_multiple_of(2);
    let mut waiting = if in_memory { Blocks::default() } else { Blocks::all_on_disk(&std::env::temp_dir()) };
    blocks.into_iter().for_each(|block| waiting.push(block));
    let restored = Arc::new(Restored::new(watermark_us, ranks.to_vec(), waiting));
    let hub = |index| {
        StateHub::new(
            Some(Arc::clone(&restored)),
            index,
            peers,
            SECOND_EPOCH,
            Arc::new(Compactions::default()),
        )
    };
    (0..peers).map(hub).collect()
}

/// What a committer makes of deltas: the older ones are folded, and then some of the newer ones.
fn folded(blocks: &[StateBlock], watermark_us: i64) -> Vec<StateBlock> {
    let compactions = Compactions::default();
    for operator in ["Windows", "Distinct", "Sessions", "Pivot", "Ordered"] {
        compactions.register(operator, Fold::Replace);
    }
    for operator in ["Waiting", "Sessions, waiting"] {
        compactions.register(operator, Fold::Append);
    }
    let (old, new) = blocks.split_at(blocks.len() / 3);
    let (new, newest) = new.split_at(new.len() / 2);
    let old = compactions.fold(old.to_vec(), watermark_us, true);
    let new = compactions.fold(new.to_vec(), watermark_us, old.is_empty());
    [old, new, newest.to_vec()].concat()
}

/// The blocks in which a worker's operator says what has changed.
fn written(operator: &str, write: impl FnOnce(&mut StateWriter)) -> Vec<StateBlock> {
    let mut writer = StateWriter::delta(operator);
    write(&mut writer);
    writer.into_blocks()
}

/// The workers' closers.
struct Closers(Vec<WindowCloser<All>>, WindowSpec);

impl Closers {
    fn new(spec: WindowSpec, peers: usize, update_mode: bool) -> Self {
        Closers((0..peers).map(|_| WindowCloser::new(spec, update_mode).saved()).collect(), spec)
    }

    /// The same, with next to no memory.
    fn cramped(spec: WindowSpec, peers: usize, update_mode: bool) -> Self {
        let Closers(closers, spec) = Closers::new(spec, peers, update_mode);
        let budget = || Budget::limited(2_000, &std::env::temp_dir());
        Closers(closers.into_iter().map(|closer| closer.within(budget())).collect(), spec)
    }

    fn merge(&mut self, events: &[Event]) {
        let peers = self.0.len();
        for block in route(blocks(&self.1, events), peers) {
            self.0[block.target as usize].merge(&block);
        }
    }

    fn close(&mut self, watermark_us: Option<i64>) -> Table {
        let mut table = Table::new();
        for closer in &mut self.0 {
            while closer.close(watermark_us, &mut |block| insert_new(&mut table, rows(block, &self.1))) {}
            assert!(closer.failure().is_none());
        }
        table
    }

    fn changed(&mut self) -> Table {
        let mut table = Table::new();
        for closer in &mut self.0 {
            closer.changed(Firing::Epoch, &mut |block| insert_new(&mut table, rows(block, &self.1)));
        }
        table
    }

    /// What has changed since the last time.
    fn save(&mut self) -> Vec<StateBlock> {
        let of_closer = |closer: &mut WindowCloser<All>| {
            written("Windows", |out| {
                closer.save(&mut |hash, place, until_us, part| match part {
                    Some(part) => out.put(hash, place, until_us, part),
                    None => out.remove(hash, place),
                })
            })
        };
        self.0.iter_mut().flat_map(of_closer).collect()
    }

    fn restore(&mut self, hubs: &[StateHub]) {
        for (closer, hub) in self.0.iter_mut().zip(hubs) {
            hub.restore_latest("Windows", |hash, place, part| {
                closer.restore(hash, place, part, |rank| hub.rank(rank), hub.has_moved())
            });
            assert_eq!(hub.failure(), None);
            closer.restored(hub.restored_watermark_us().expect("it is restored"));
        }
    }
}

/// What blocks say that is of any account at `watermark_us`, whoever wrote them: each (class, pane, key).
fn entries(blocks: &[StateBlock], watermark_us: i64) -> BTreeMap<Vec<u8>, Row> {
    let mut entries = BTreeMap::<Vec<u8>, All>::new();
    let each = |_: u64, place: &[u8], part: All| {
        // Without the number of the part: which there are is a matter of memory.
        entries.entry([&place[..16], &place[20..]].concat()).or_default().merge(&part);
    };
    hubs(watermark_us, &[], blocks, 1)[0].restore_latest("Windows", each);
    entries.into_iter().map(|(place, all)| (place, all.output())).collect()
}

/// `events` with the ranks that their partitions have after the cut.
fn renumbered(events: &[Event]) -> Vec<Event> {
    let rank = |event: &Event| RANKS[event.partition as usize].into();
    events.iter().map(|event| Event { partition: rank(event), ..event.clone() }).collect()
}

proptest! {
    /// Partitions are added at the cut, so that the others have new ranks.
    #[test]
    fn restored_closers_go_on_as_if_nothing_had_happened(
        events in log(),
        (size, slide) in windows(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=4, 1_usize..=4),
        moves in prop::collection::vec((0_usize..8, 0_i64..=100), 1..30),
        update_mode in any::<bool>(),
    ) {
        let spec = WindowSpec::sliding(size, slide).expect("valid");
        let mut whole = Closers::new(spec, 1, update_mode);
        let mut parts = Closers::cramped(spec, before, update_mode);
        let cut = cut.index(moves.len());
        let (mut arrived, mut watermark) = (0, -1_000);
        let (mut saved, mut saved_whole) = (Vec::new(), Vec::new());
        for (step, (many, percent)) in moves.iter().copied().chain([(events.len(), 50)]).enumerate() {
            let coming = &events[arrived..events.len().min(arrived + many)];
            arrived += coming.len();
            whole.merge(coming);
            match step > cut {
                true => parts.merge(&renumbered(coming)),
                false => parts.merge(coming),
            }
            let furthest = limit(&events[arrived..], size, slide).max(watermark);
            watermark += (furthest - watermark) * percent / 100;
            prop_assert_eq!(parts.close(Some(watermark)), whole.close(Some(watermark)), "step {}", step);
            if step != cut {
                // What was on disk is given whole.
                let (given, wanted) = (parts.changed(), whole.changed());
                let so_far = naive_table(&events[..arrived], size, slide);
                prop_assert!(wanted.iter().all(|(at, row)| given.get(at) == Some(row)), "rows of step {}", step);
                for (at, row) in &given {
                    prop_assert!(at.0 + size > watermark && so_far.get(at) == Some(row), "{:?} of step {}", at, step);
                }
            }
            if step > cut || (step < cut && many % 3 > 0) {
                continue;
            }
            saved.extend(parts.save());
            saved_whole.extend(whole.save());
            if step < cut {
                continue;
            }

            let there = entries(&saved, watermark);
            prop_assert_eq!(&there, &entries(&saved_whole, watermark), "the number of workers does not show");
            parts = Closers::cramped(spec, after, update_mode);
            parts.restore(&hubs(watermark, &RANKS, &saved, after));
            // Ranks have moved, so that all is saved again.
            let again = parts.save();
            prop_assert_eq!(&entries(&again, watermark), &there, "what is taken back is what was saved");
            prop_assert_eq!(parts.save(), [], "and only once");
            saved.extend(again);
            prop_assert_eq!(&entries(&saved, watermark), &there, "what is saved again takes its place");
            parts = Closers::cramped(spec, after, update_mode);
            parts.restore(&hubs(watermark, &[], &saved, after));
            // Which rows were given since they changed is not known any more, so all that are open are given again.
            whole.changed();
            let mut open = naive_table(&events[..arrived], size, slide);
            open.retain(|(start, _), _| update_mode && start + size > watermark);
            prop_assert_eq!(parts.changed(), open, "provisional rows after the cut");
        }
        prop_assert_eq!(parts.close(None), whole.close(None));
        prop_assert_eq!(parts.0.iter().map(WindowCloser::entries).sum::<usize>(), 0, "all is freed");
    }

    #[test]
    fn restored_counters_go_on_as_if_nothing_had_happened(
        events in log(),
        (size, slide) in windows(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=4, 1_usize..=4),
        percent in 0_i64..=100,
    ) {
        let spec = WindowSpec::sliding(size, slide).expect("valid");
        let cut = cut.index(events.len() + 1);
        let counters = |peers: usize| (0..peers).map(|_| DistinctCounter::new(spec, SharedKeys::default()).saved()).collect::<Vec<_>>();
        let observe = |counters: &mut Vec<DistinctCounter>, events: &[Event]| {
            let peers = counters.len();
            for event in events {
                if let Some((first, last)) = distinct::run_of(event, (size, slide)) {
                    let hash = key_hash(&[event.key]);
                    counters[crate::keys::key_owner(hash, peers)].observe(hash, &[event.key], first, last);
                }
            }
        };
        let mut counts = BTreeMap::<i64, u64>::new();
        let mut close = |counters: &mut Vec<DistinctCounter>, watermark: Option<i64>| {
            for counter in counters {
                counter.close(watermark, &mut |window, n| *counts.entry(spec.start(window)).or_default() += n);
            }
        };
        let mut first = counters(before);
        let mut saved = Vec::new();
        let save = |counters: &mut Vec<DistinctCounter>, saved: &mut Vec<StateBlock>| {
            for counter in counters {
                saved.extend(written("Distinct", |out| {
                    counter.save(&mut |hash, place, until_us, bits| out.put(hash, place, until_us, &bits));
                }));
            }
        };
        for part in events[..cut].chunks(7) {
            observe(&mut first, part);
            save(&mut first, &mut saved);
        }
        let watermark = -1_000 + (limit(&events[cut..], size, slide) + 1_000) * percent / 100;
        close(&mut first, Some(watermark));
        save(&mut first, &mut saved);

        let mut second = counters(after);
        for (counter, hub) in second.iter_mut().zip(hubs(watermark, &[], &saved, after)) {
            hub.restore_latest("Distinct", |hash, place, bits| counter.restore(hash, place, bits, watermark));
            prop_assert_eq!(hub.failure(), None);
        }
        observe(&mut second, &events[cut..]);
        close(&mut second, None);
        prop_assert_eq!(counts, distinct::naive(&events, (size, slide)));
        prop_assert_eq!(second.iter().map(DistinctCounter::keys).sum::<usize>(), 0, "all is freed");
    }

    /// Partitions are added at the cut, so that the others have new ranks.
    #[test]
    fn restored_sessions_go_on_as_if_nothing_had_happened(
        (events, delay) in sessions::log(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=4, 1_usize..=4),
        percent in 0_i64..=100,
        spills in any::<bool>(),
    ) {
        let cut = cut.index(events.len() + 1);
        let budget = || if spills { Budget::limited(1, &std::env::temp_dir()) } else { Budget::unlimited() };
        let machine = |_| SessionMachine::new(GAP, SharedKeys::default()).saved().within(budget());
        let machines = |peers: usize| (0..peers).map(machine).collect::<Vec<_>>();
        let observe = |machines: &mut Vec<SessionMachine>, events: &[sessions::Event], rank: &dyn Fn(u32) -> u32| {
            let peers = machines.len();
            for event in events.iter().filter(|event| event.what.time_us >= event.watermark) {
                let hash = key_hash(&[event.user]);
                let what = SessionEvent { rank: rank(event.what.rank), ..event.what };
                machines[crate::keys::key_owner(hash, peers)].observe(hash, &[event.user], what);
            }
        };
        let (mut rows, mut ignored) = (Vec::new(), 0);
        let mut first = machines(before);
        let mut saved = Vec::new();
        let save = |machine: &mut SessionMachine, saved: &mut Vec<StateBlock>| {
            saved.extend(written("Sessions", |out| {
                machine.save(&mut |hash, key, what| match what {
                    Some(what) => out.put(hash, key, i64::MAX, what),
                    None => out.remove(hash, key),
                });
            }));
            saved.extend(written("Waiting", |out| {
                machine.save_waiting(&mut |hash, key, until_us, event| out.append(hash, key, until_us, 0, event));
            }));
        };
        // Saved now and then, and event time moves as far as it may.
        let mut now = EARLY;
        for at in (0..cut).step_by(5) {
            observe(&mut first, &events[at..cut.min(at + 5)], &|rank| rank);
            let may = sessions::limit(&events[cut.min(at + 5)..]).unwrap_or(EARLY).max(now);
            now += (may - now) * percent / 200;
            for machine in &mut first {
                machine.advance(now, &mut |_, key, session, known| rows.push((key[0], session, known)));
                save(machine, &mut saved);
            }
        }
        let furthest = sessions::limit(&events[cut..]).unwrap_or(final_watermark(&events, delay)).max(EARLY);
        // Between the earliest event and what may be, so that sessions are open there.
        let earliest = first_us(&events).min(furthest).max(now);
        let watermark = earliest + (furthest.max(now) - earliest) * percent / 100;
        for machine in &mut first {
            machine.advance(watermark, &mut |_, key, session, known| rows.push((key[0], session, known)));
            ignored += machine.take_ignored();
            save(machine, &mut saved);
        }

        let mut second = machines(after);
        for (machine, hub) in second.iter_mut().zip(hubs(watermark, &RANKS, &saved, after)) {
            let era = hub.restore_appended("Waiting", |hash, key, event| {
                machine.restore_waiting(hash, key, event, |rank| hub.rank(rank), hub.has_moved());
            });
            prop_assert_eq!(era, 1, "ranks have moved");
            hub.restore_latest("Sessions", |hash, key, saved| {
                machine.restore(hash, key, saved, |rank| hub.rank(rank));
            });
            prop_assert_eq!(hub.failure(), None);
        }
        observe(&mut second, &events[cut..], &|rank| RANKS[rank as usize]);
        for machine in &mut second {
            let end = final_watermark(&events, delay);
            let now = watermark.max(end);
            machine.advance(now, &mut |_, key, session, known| rows.push((key[0], session, known)));
            machine.finish(end, &mut |_, key, session, known| {
                // Timers are back too: what was over in a step that has passed has left before the end.
                assert!(known | ((1 << 22) - 1) >= now, "known {known} long before {now}");
                rows.push((key[0], session, known));
            });
            ignored += machine.take_ignored();
            prop_assert_eq!((machine.keys(), machine.waiting()), (0, 0), "all is freed");
        }
        rows.sort();
        prop_assert_eq!((rows, ignored), sessions::naive(&events, final_watermark(&events, delay)));
    }
}

/// The earliest event time.
fn first_us(events: &[sessions::Event]) -> i64 {
    events.iter().map(|event| event.what.time_us).min().unwrap_or(0)
}

/// Many keys are open, and a hundred of them change.
#[test]
fn a_checkpoint_costs_what_has_changed() {
    let spec = WindowSpec::tumbling(1_000).expect("valid");
    let block = |keys: std::ops::Range<u32>| {
        let mut block = PaneBlock {
            target: 0,
            at: Eligible { class: 0, pane: 0 },
            keys: crate::keys::KeyColumn::default(),
            partials: Vec::new(),
        };
        for n in keys {
            let mut count = Count::default();
            count.add(());
            block.keys.push(key_hash(&n.to_le_bytes()), &n.to_le_bytes());
            block.partials.push(count);
        }
        block
    };
    let bytes = |closer: &mut WindowCloser<Count>| {
        let blocks = written("Windows", |out| {
            closer.save(&mut |hash, place, until_us, part| out.put(hash, place, until_us, &part));
        });
        bincode::serialized_size(&blocks).expect("plain data")
    };
    let mut closer = WindowCloser::<Count>::new(spec, false).saved();
    closer.merge(&block(0..100_000));
    let all = bytes(&mut closer);
    closer.merge(&block(500..600));
    let some = bytes(&mut closer);
    assert!(some * 900 < all, "{some} bytes for 100 keys, {all} for 100,000");
    // Nothing is written because windows close.
    closer.close(None, &mut |_| ());
    assert_eq!(closer.entries(), 0);
    let nothing = bytes(&mut closer);
    assert!(nothing < 10, "{nothing} bytes");
}

/// Two records at one instant: which comes first is a matter of their partitions, whatever these are called.
#[test]
fn the_first_record_stays_the_first_when_its_partition_has_a_new_rank() {
    let spec = WindowSpec::tumbling(10).expect("valid");
    let event =
        |partition, value| Event { partition, offset: 0, time: 5, watermark: i64::MIN, key: 7, value };
    let mut before = Closers::new(spec, 1, false);
    before.merge(&[event(2, 0)]);
    let mut after = Closers::new(spec, 1, false);
    after.restore(&hubs(0, &RANKS, &before.save(), 1));
    after.merge(&renumbered(&[event(1, 1)]));
    assert_eq!(after.close(None)[&(0, 7)].4.as_deref(), Some("w1"));
}

/// Says to the compiler that a closure makes operators in any scope.
fn operators<I, O, B>(build: B) -> B
where
    B: for<'s> Fn(StreamVec<'s, Tick, I>, &Ledger, &StateHub) -> StreamVec<'s, Tick, O>,
{
    build
}

/// Feeds each worker's script to the operators that `build` makes, until they have passed the first epoch; then the
/// process is gone. Gives what came out in that epoch, its event time at the end and what was saved.
fn first_epoch<I, O, B>(scripts: &[Vec<Step<I>>], build: B) -> (Vec<Given<O>>, Counts, i64, Vec<StateBlock>)
where
    I: ExchangeData + Clone + Sync,
    O: Clone + Send + 'static,
    B: for<'s> Fn(StreamVec<'s, Tick, I>, &Ledger, &StateHub) -> StreamVec<'s, Tick, O>
        + Send
        + Sync
        + 'static,
{
    let given = Arc::new(Mutex::new(Vec::new()));
    let (into, scripts) = (Arc::clone(&given), scripts.to_vec());
    let config = if scripts.len() == 1 { Config::thread() } else { Config::process(scripts.len()) };
    let work = move |worker: &mut Worker| {
        let (ledger, index, into) = (Ledger::new(1), worker.index(), Arc::clone(&into));
        let compactions = Arc::new(Compactions::default());
        let hub = StateHub::new(None, index, worker.peers(), Tick::FIRST_EPOCH, compactions);
        let probe = worker.dataflow::<Tick, _, _>(|scope| {
            let mut script = scripts[index].clone().into_iter();
            let input = source(scope, "Script", move |mut capability, info| {
                let activator = scope.activator_for(info.address);
                move |output| {
                    match script.next() {
                        Some(Step::Send(item)) => output.session(&capability).give(item),
                        Some(Step::To(tick)) => capability.downgrade(&tick),
                        // It holds the second epoch, in which nobody reads.
                        None => return,
                    }
                    activator.activate();
                }
            });
            let (probe, stream) = build(input, &ledger, &hub).probe();
            stream.sink(Pipeline, "Collect", move |(input, _frontier)| {
                input.for_each(|time, items| {
                    let at = *time.time();
                    let given = items.drain(..).map(|item| Given { worker: index, at, item });
                    into.lock().expect("no panic").extend(given);
                });
            });
            probe
        });
        let deadline = Instant::now() + PATIENCE;
        let end = Tick::new(Tick::FIRST_EPOCH, i64::MAX);
        while probe.less_equal(&end) && Instant::now() < deadline {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        // What has been probed may not have been collected.
        worker.step();
        assert!(!probe.less_equal(&end), "the first epoch does not end");
        let watermark = probe.with_frontier(watermark_us).expect("the source holds on");
        worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
        (ledger.counts(), watermark, hub.take(Tick::FIRST_EPOCH))
    };
    let (mut counts, mut blocks, mut watermarks) = (Counts::default(), Vec::new(), Vec::new());
    for result in timely::execute(config, work).expect("threads start").join() {
        let (of_worker, watermark, saved) = result.expect("no worker panics");
        counts.merge(&of_worker);
        watermarks.push(watermark);
        blocks.extend(saved);
    }
    watermarks.dedup();
    assert_eq!(watermarks.len(), 1, "all workers see the same event time at an epoch's end");
    let given = std::mem::take(&mut *given.lock().expect("no panic"));
    assert!(
        given.iter().all(|given: &Given<O>| given.at.epoch == Tick::FIRST_EPOCH),
        "the second epoch is empty"
    );
    (given, counts, watermarks[0], blocks)
}

/// Runs `build` on what was saved, with as many workers as there are scripts, and leaves out what comes in the
/// epoch of the restoring. Scripts are in epochs of their own: they begin in the second.
fn rest<I, O, B>(
    scripts: Vec<Vec<Step<I>>>,
    (watermark, saved): (i64, &[StateBlock]),
    build: B,
) -> (Vec<Given<O>>, Counts)
where
    I: ExchangeData + Clone + Sync,
    O: Clone + Send + 'static,
    B: for<'s> Fn(StreamVec<'s, Tick, I>, &Ledger, &StateHub) -> StreamVec<'s, Tick, O>
        + Send
        + Sync
        + 'static,
{
    let later = |step| match step {
        Step::To(at) => Step::To(Tick::new(at.epoch + 1, at.time_us.max(watermark))),
        send => send,
    };
    let scripts: Vec<Vec<_>> =
        scripts.into_iter().map(|steps| steps.into_iter().map(later).collect()).collect();
    let saved = saved.to_vec();
    let (mut given, counts) = run(&scripts, move |input, ledger| {
        let (index, peers) = (input.scope().index(), input.scope().peers());
        build(input, ledger, &hubs(watermark, &[], &saved, peers)[index])
    });
    given.retain(|given| given.at.epoch >= SECOND_EPOCH);
    (given, counts)
}

/// The script of a worker that sends all of `items` in the first epoch, and ends it at event time `end_us`.
fn all_at_once<I>(items: impl IntoIterator<Item = I>, end_us: i64) -> Vec<Step<I>> {
    let begin = Step::To(Tick::new(Tick::FIRST_EPOCH, EARLY));
    let end = Step::To(Tick::new(SECOND_EPOCH, end_us));
    [begin].into_iter().chain(items.into_iter().map(Step::Send)).chain([end]).collect()
}

/// The events of the partitions that worker `index` reads.
fn of_worker(events: &[Event], index: usize, peers: usize) -> Vec<Event> {
    events.iter().filter(|event| event.partition as usize % peers == index).cloned().collect()
}

/// All of `first` at once, then the second epoch, which `second` is for.
fn of_first_epoch(
    first: &[Event],
    second: &[Event],
    peers: usize,
    windows: (i64, i64),
) -> Vec<Vec<Step<KeyedBlock<distinct::Run>>>> {
    let end_us = limit(second, windows.0, windows.1);
    let once: Pace = vec![(first.len(), 0, false)];
    let mut scripts = distinct::scripts(first, peers, windows, &once);
    scripts.iter_mut().for_each(|steps| steps.push(Step::To(Tick::new(SECOND_EPOCH, end_us))));
    scripts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn windows_of_two_runs_are_those_of_one(
        events in log(),
        (size, slide) in windows(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=3, 1_usize..=3),
        pace in pace(),
    ) {
        let spec = WindowSpec::sliding(size, slide).expect("valid");
        let (first, second) = events.split_at(cut.index(events.len() + 1));
        let build = operators::<PaneBlock<All>, _, _>(move |blocks, _, hub| {
            blocks.close_windows("Windows", spec, Mode::Final, hub)
        });
        let pack = |events: &[Event], peers| route(blocks(&spec, events), peers);
        let end_us = limit(second, size, slide);
        let scripts: Vec<_> = (0..before)
            .map(|index| all_at_once(pack(&of_worker(first, index, before), before), end_us))
            .collect();
        let (mut given, _, watermark, saved) = first_epoch(&scripts, build);
        prop_assert_eq!(watermark, end_us);

        let of_rest = |index| {
            let may = |pending: &[Event]| (!pending.is_empty()).then(|| limit(pending, size, slide));
            script(&of_worker(second, index, after), &pace, |events| pack(events, after), may)
        };
        let (more, _) = rest((0..after).map(of_rest).collect(), (watermark, &saved), build);
        given.extend(more);
        let mut table = Table::new();
        given.into_iter().for_each(|given| insert_new(&mut table, rows(given.item, &spec)));
        prop_assert_eq!(table, naive_table(&events, size, slide));
    }

    #[test]
    fn rows_of_open_windows_are_what_they_hold_when_an_epoch_ends(
        events in log(),
        (size, slide) in windows(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=3, 1_usize..=3),
        pace in pace(),
    ) {
        let spec = WindowSpec::sliding(size, slide).expect("valid");
        let (first, second) = events.split_at(cut.index(events.len() + 1));
        let build = operators::<PaneBlock<All>, _, _>(move |blocks, _, hub| {
            let trigger = Trigger::new(Duration::ZERO, Arc::new(ManualClock::default()), 0);
            // At the end of the epoch, and whenever there is something within it.
            let trigger = trigger.within_epochs_of(Duration::from_secs(1));
            blocks.close_windows("Windows", spec, Mode::Update(trigger), hub)
        });
        let pack = |events: &[Event], peers| route(blocks(&spec, events), peers);
        let end_us = limit(second, size, slide);
        let scripts: Vec<_> = (0..before)
            .map(|index| all_at_once(pack(&of_worker(first, index, before), before), end_us))
            .collect();
        let (given, _, watermark, saved) = first_epoch(&scripts, build);
        let (mut table, mut shown) = (Table::new(), Table::new());
        for given in given {
            if given.item.firing == Firing::Early {
                shown.extend(rows(given.item, &spec));
                continue;
            }
            prop_assert_eq!(given.item.firing.is_final(), given.item.end_us <= watermark);
            insert_new(&mut table, rows(given.item, &spec));
        }
        prop_assert_eq!(&table, &naive_table(first, size, slide));
        prop_assert!(shown.keys().all(|key| table.contains_key(key)), "what was shown is given at the end");

        let of_rest = |index| {
            let may = |pending: &[Event]| (!pending.is_empty()).then(|| limit(pending, size, slide));
            script(&of_worker(second, index, after), &pace, |events| pack(events, after), may)
        };
        // A row replaces the one of its key, as in a table.
        for given in rest((0..after).map(of_rest).collect(), (watermark, &saved), build).0 {
            table.extend(rows(given.item, &spec));
        }
        prop_assert_eq!(table, naive_table(&events, size, slide));
    }

    #[test]
    fn distinct_keys_of_two_runs_are_those_of_one(
        events in log(),
        (size, slide) in windows(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=3, 1_usize..=3),
        pace in pace(),
    ) {
        let spec = WindowSpec::sliding(size, slide).expect("valid");
        let (first, second) = events.split_at(cut.index(events.len() + 1));
        let build = operators::<KeyedBlock<distinct::Run>, _, _>(move |blocks, _, hub| {
            blocks.to_owners().distinct_keys("Distinct", spec, Mode::Final, hub, |run| *run)
        });
        let scripts = of_first_epoch(first, second, before, (size, slide));
        let (mut given, _, watermark, saved) = first_epoch(&scripts, build);
        let scripts = distinct::scripts(second, after, (size, slide), &pace);
        given.extend(rest(scripts, (watermark, &saved), build).0);
        let mut counts = BTreeMap::new();
        for given in given {
            let DistinctCount { window, keys, firing } = given.item;
            prop_assert!(firing.is_final());
            prop_assert_eq!(counts.insert(spec.start(window), keys), None, "a window is given twice");
        }
        prop_assert_eq!(counts, distinct::naive(&events, (size, slide)));
    }

    #[test]
    fn counts_of_open_windows_are_what_they_hold_when_an_epoch_ends(
        events in log(),
        (size, slide) in windows(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=3, 1_usize..=3),
        pace in pace(),
    ) {
        let spec = WindowSpec::sliding(size, slide).expect("valid");
        let (first, second) = events.split_at(cut.index(events.len() + 1));
        let build = operators::<KeyedBlock<distinct::Run>, _, _>(move |blocks, _, hub| {
            let trigger = Trigger::new(Duration::ZERO, Arc::new(ManualClock::default()), 0);
            // At the end of the epoch, and whenever there is something within it.
            let trigger = trigger.within_epochs_of(Duration::from_secs(1));
            blocks.to_owners().distinct_keys("Distinct", spec, Mode::Update(trigger), hub, |run| *run)
        });
        let scripts = of_first_epoch(first, second, before, (size, slide));
        let (given, _, watermark, saved) = first_epoch(&scripts, build);
        let mut counts = BTreeMap::new();
        let mut shown = BTreeMap::new();
        for given in given {
            let DistinctCount { window, keys, firing } = given.item;
            if firing == Firing::Early {
                shown.insert(spec.start(window), keys);
                continue;
            }
            prop_assert_eq!(firing.is_final(), spec.end(window) <= watermark);
            prop_assert_eq!(counts.insert(spec.start(window), keys), None, "a window is given twice in an epoch");
        }
        prop_assert_eq!(&counts, &distinct::naive(first, (size, slide)));
        for (start, keys) in shown {
            prop_assert!(counts.get(&start).is_some_and(|all| keys <= *all), "what was shown is given at the end");
        }

        let scripts = distinct::scripts(second, after, (size, slide), &pace);
        let mut closed = BTreeSet::new();
        for given in rest(scripts, (watermark, &saved), build).0 {
            let DistinctCount { window, keys, firing } = given.item;
            prop_assert!(!closed.contains(&window), "something follows a final count");
            if firing.is_final() {
                closed.insert(window);
            }
            counts.insert(spec.start(window), keys);
        }
        prop_assert_eq!(counts, distinct::naive(&events, (size, slide)));
    }

    #[test]
    fn sessions_of_two_runs_are_those_of_one(
        (events, delay) in sessions::log(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=3, 1_usize..=3),
        pace in pace(),
    ) {
        let (first, second) = events.split_at(cut.index(events.len() + 1));
        let build = operators::<KeyedBlock<SessionEvent>, _, _>(|blocks, ledger, hub| {
            blocks.to_owners().sessions("Sessions", GAP, true, Some((ledger.clone(), 0)), hub, |event| Some(*event))
        });
        let end_us = sessions::limit(second).unwrap_or(EARLY).max(EARLY);
        let once: Pace = vec![(first.len(), 0, false)];
        let mut scripts = sessions::scripts(first, delay, before, &once);
        for steps in &mut scripts {
            // Partitions have not ended: no block says what their last watermark is.
            steps.iter_mut().for_each(|step| {
                if let Step::Send(block) = step {
                    block.final_watermark_us = None;
                }
            });
            steps.push(Step::To(Tick::new(SECOND_EPOCH, end_us)));
        }
        let (mut given, counts, watermark, saved) = first_epoch(&scripts, build);
        let mut scripts = sessions::scripts(second, delay, after, &pace);
        // Sources know the watermarks of the first run.
        let mut router = KeyedRouter::new(after);
        let mut end = Vec::new();
        router.drain(Edge::End(final_watermark(&events, delay)), &mut |block| end.push(Step::Send(block)));
        scripts[0].extend(end);
        let (more, of_rest) = rest(scripts, (watermark, &saved), build);
        given.extend(more);
        let mut rows = Vec::new();
        // Open ones are given at the ends of epochs, and in the end there are the same as without.
        for given in given.iter().filter(|given| given.item.firing.is_final()) {
            for ((_, key), session) in given.item.keys.iter().zip(&given.item.sessions) {
                rows.push((key[0], *session));
            }
        }
        rows.sort();
        let (expected, ignored) = sessions::naive(&events, final_watermark(&events, delay));
        let expected: Vec<_> = expected.into_iter().map(|(user, session, _)| (user, session)).collect();
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(counts.outputs[0].filtered + of_rest.outputs[0].filtered, ignored);
    }

    #[test]
    fn a_relation_of_two_runs_changes_like_that_of_one(
        first in prop::collection::vec((0_u8..6, -50_i32..50), 0..30),
        second in prop::collection::vec((0_u8..6, -50_i32..50), 0..30),
        (before, after) in (1_usize..=3, 1_usize..=3),
    ) {
        let build = operators::<(u8, i32), _, _>(|entries, _, hub| {
            entries.latest_by_key("Latest", hub).net_changes()
        });
        let deal = |entries: &[(u8, i32)], peers: usize| -> Vec<_> {
            let worker = |index| all_at_once(entries.iter().copied().skip(index).step_by(peers), 0);
            (0..peers).map(worker).collect()
        };
        let (given, _, watermark, saved) = first_epoch(&deal(&first, before), build);
        let (more, _) = rest(deal(&second, after), (watermark, &saved), build);
        let mut relation = BTreeMap::<(u8, i32), isize>::new();
        for given in given.into_iter().chain(more) {
            let (entry, diff) = given.item;
            *relation.entry(entry).or_default() += diff;
        }
        relation.retain(|_, count| *count != 0);
        let mut expected = BTreeMap::new();
        for (key, value) in first.into_iter().chain(second) {
            let kept = expected.entry(key).or_insert(value);
            *kept = value.max(*kept);
        }
        prop_assert_eq!(relation, expected.into_iter().map(|entry| (entry, 1)).collect::<BTreeMap<_, _>>());
    }

    #[test]
    fn totals_of_two_runs_change_like_those_of_one(
        first in prop::collection::vec((0_u8..6, 0_u64..50), 0..30),
        second in prop::collection::vec((0_u8..6, 0_u64..50), 0..30),
        (before, after) in (1_usize..=3, 1_usize..=3),
    ) {
        let build = operators::<(u8, u64), _, _>(|counts, _, hub| counts.total_by_key("Totals", hub).net_changes());
        let deal = |counts: &[(u8, u64)], peers: usize| -> Vec<_> {
            let worker = |index| all_at_once(counts.iter().copied().skip(index).step_by(peers), 0);
            (0..peers).map(worker).collect()
        };
        let (given, _, watermark, saved) = first_epoch(&deal(&first, before), build);
        let (more, _) = rest(deal(&second, after), (watermark, &saved), build);
        let mut relation = BTreeMap::<(u8, isize), isize>::new();
        for given in given.into_iter().chain(more) {
            let (entry, diff) = given.item;
            *relation.entry(entry).or_default() += diff;
        }
        relation.retain(|_, count| *count != 0);
        let mut totals = BTreeMap::<u8, isize>::new();
        for (key, n) in first.into_iter().chain(second) {
            *totals.entry(key).or_default() += n as isize;
        }
        totals.retain(|_, total| *total != 0);
        prop_assert_eq!(relation, totals.into_iter().map(|total| (total, 1)).collect::<BTreeMap<_, _>>());
    }

    #[test]
    fn pivots_of_two_runs_are_those_of_one(
        entries in pivot::entries(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=3, 1_usize..=3),
        (percent, paces) in (0_i64..=100, prop::collection::vec(pace(), 3)),
    ) {
        let build = operators::<Vec<pivot::Entry>, _, _>(|blocks, _, hub| pivot::pivoted(blocks, hub));
        let cut = entries.split_at(cut.index(entries.len() + 1));
        let (given, rows) = two_runs(cut, (before, after), percent, &paces, build, build);
        let mut found = BTreeMap::new();
        for row in given.into_iter().chain(rows) {
            prop_assert!(found.insert((row.time_us, row.group), row.lanes).is_none(), "a group leaves once");
        }
        prop_assert_eq!(found, pivot::naive_pivot(&[entries]));
    }

    #[test]
    fn ordered_state_of_two_runs_is_that_of_one(
        entries in pivot::entries(),
        (cut, before, after) in (any::<prop::sample::Index>(), 1_usize..=3, 1_usize..=3),
        (percent, paces) in (0_i64..=100, prop::collection::vec(pace(), 3)),
    ) {
        let build = operators::<Vec<pivot::Entry>, _, _>(|blocks, _, hub| pivot::numbering(blocks, hub));
        let cut = entries.split_at(cut.index(entries.len() + 1));
        let (mut found, more) = two_runs(cut, (before, after), percent, &paces, build, build);
        found.extend(more);
        found.sort_by_key(|(key, count, ..)| (*key, *count));
        prop_assert_eq!(found, pivot::numbered(&[entries]));
    }
}

/// What comes out of `first_build` for the entries before the cut, in an epoch that ends as far in event time as it
/// may, or `percent` of it; and then, on other workers, of `build` for those behind.
fn two_runs<O, A, B>(
    (first, second): (&[pivot::Entry], &[pivot::Entry]),
    (before, after): (usize, usize),
    percent: i64,
    paces: &[Pace],
    first_build: A,
    build: B,
) -> (Vec<O>, Vec<O>)
where
    O: Clone + Send + 'static,
    A: for<'s> Fn(StreamVec<'s, Tick, Vec<pivot::Entry>>, &Ledger, &StateHub) -> StreamVec<'s, Tick, O>
        + Send
        + Sync
        + 'static,
    B: for<'s> Fn(StreamVec<'s, Tick, Vec<pivot::Entry>>, &Ledger, &StateHub) -> StreamVec<'s, Tick, O>
        + Send
        + Sync
        + 'static,
{
    let may = second.iter().map(|entry| entry.0).min().unwrap_or(50);
    let end_us = -50 + (may + 50) * percent / 100;
    let of = |entries: &[pivot::Entry], index: usize, peers: usize| -> Vec<pivot::Entry> {
        entries.iter().copied().skip(index).step_by(peers).collect()
    };
    let scripts: Vec<_> = (0..before).map(|index| all_at_once([of(first, index, before)], end_us)).collect();
    let (given, _, watermark, saved) = first_epoch(&scripts, first_build);
    assert_eq!(watermark, end_us);
    let dealt: Vec<_> = (0..after).map(|index| of(second, index, after)).collect();
    let (more, _) = rest(pivot::scripts(&dealt, paces), (watermark, &saved), build);
    let items = |given: Vec<Given<O>>| given.into_iter().map(|given| given.item).collect();
    (items(given), items(more))
}
