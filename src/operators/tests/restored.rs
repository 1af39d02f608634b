//! State machines that are saved in the middle and taken up by another number of workers give what an undisturbed one gives.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::aggregate::{Aggregate, Count};
use crate::keys::{KeyColumn, key_hash};
use crate::operators::distinct::DistinctCounter;
use crate::operators::session::{Mark, SavedSession, Session, SessionEvent, SessionMachine};
use crate::state::StateBlock;
use crate::window::{Eligible, PaneBlock, WindowCloser, WindowSpec};

/// (event time, key), in the order of arrival; the watermark stands 40 behind the largest so far.
type Log = Vec<(i64, u8)>;

fn log() -> impl Strategy<Value = Log> {
    let step = (0_i64..12, -60_i64..=0, 0_u8..6);
    prop::collection::vec(step, 0..120).prop_map(|steps| {
        let mut now = 0;
        let event = |(forward, back, key)| {
            now += forward;
            (now + back, key)
        };
        steps.into_iter().map(event).collect()
    })
}

/// Takes a saved entry: hash, key, value.
type Each<'a, V> = &'a mut dyn FnMut(u64, &[u8], &V);

/// One machine, or the parts of one by owner.
struct Machines<M>(Vec<M>);

impl<M> Machines<M> {
    fn owner(&mut self, key: &[u8]) -> &mut M {
        let peers = self.0.len();
        &mut self.0[crate::keys::key_owner(key_hash(key), peers)]
    }

    /// As `peers` machines that take up what `save` gives of these.
    fn moved<V: serde::Serialize + serde::de::DeserializeOwned>(
        self,
        peers: usize,
        fresh: impl Fn() -> M,
        save: impl Fn(&M, Each<'_, V>),
        restore: impl Fn(&mut M, u64, &[u8], V),
    ) -> Self {
        let mut block = StateBlock::whole("Machine");
        self.0.iter().for_each(|machine| save(machine, &mut |hash, key, value| block.push(hash, key, value)));
        let take_up = |index| {
            let mut machine = fresh();
            let read = block.read(index, peers, |hash, key, value| restore(&mut machine, hash, key, value));
            read.expect("what was saved can be read");
            machine
        };
        Machines((0..peers).map(take_up).collect())
    }
}

/// The watermark before each event and after the last.
fn watermarks(log: &Log) -> Vec<i64> {
    let mut largest = i64::MIN;
    let after = log.iter().map(|(time, _)| {
        largest = largest.max(*time);
        largest - 40
    });
    std::iter::once(i64::MIN).chain(after).collect()
}

fn windows(log: &Log, spec: WindowSpec, cut: Option<(usize, usize)>) -> BTreeMap<(i64, Vec<u8>), u64> {
    let fresh = || WindowCloser::<Count>::new(spec, false);
    let mut machines = Machines(vec![fresh()]);
    let mut rows = BTreeMap::new();
    let mut close = |machines: &mut Machines<WindowCloser<Count>>, us: Option<i64>| {
        for machine in &mut machines.0 {
            machine.close(us, &mut |closed| {
                for ((_, key), value) in closed.keys.iter().zip(&closed.values) {
                    assert!(
                        rows.insert((closed.start_us, key.to_vec()), *value).is_none(),
                        "a row leaves once"
                    );
                }
            });
        }
    };
    let watermarks = watermarks(log);
    for (at, (time, key)) in log.iter().enumerate() {
        close(&mut machines, Some(watermarks[at]));
        if let Some((_, peers)) = cut.filter(|(when, _)| *when == at) {
            let save = |machine: &WindowCloser<Count>, each: Each<'_, Vec<(Eligible, Count)>>| {
                machine.save(&mut |hash, key, parts| each(hash, key, parts));
            };
            machines = machines.moved(peers, fresh, save, |machine, hash, key, parts| {
                machine.restore(hash, key, parts, |rank| rank);
            });
            machines.0.iter_mut().for_each(|machine| machine.restored(watermarks[at]));
        }
        if let Some(eligible) = spec.eligible(*time, watermarks[at]) {
            let (mut keys, mut partial) = (KeyColumn::default(), Count::default());
            keys.push(key_hash(&[*key]), &[*key]);
            partial.add(());
            machines.owner(&[*key]).merge(&PaneBlock {
                target: 0,
                at: eligible,
                keys,
                partials: vec![partial],
            });
        }
    }
    close(&mut machines, None);
    rows
}

fn distinct(log: &Log, spec: WindowSpec, cut: Option<(usize, usize)>) -> BTreeMap<i64, u64> {
    let fresh = || DistinctCounter::new(spec);
    let mut machines = Machines(vec![fresh()]);
    let mut rows = BTreeMap::new();
    let mut close = |machines: &mut Machines<DistinctCounter>, us: Option<i64>| {
        for machine in &mut machines.0 {
            machine.close(us, &mut |window, keys| *rows.entry(window).or_default() += keys);
        }
    };
    let watermarks = watermarks(log);
    for (at, (time, key)) in log.iter().enumerate() {
        close(&mut machines, Some(watermarks[at]));
        if let Some((_, peers)) = cut.filter(|(when, _)| *when == at) {
            let save = |machine: &DistinctCounter, each: Each<'_, Vec<(i64, u64)>>| {
                machine.save(watermarks[at], &mut |hash, key, words| each(hash, key, words));
            };
            machines = machines.moved(peers, fresh, save, |machine, hash, key, words| {
                machine.restore(hash, key, &words);
            });
        }
        if let Some(Eligible { class, pane }) = spec.eligible(*time, watermarks[at]) {
            machines.owner(&[*key]).observe(key_hash(&[*key]), &[*key], class, spec.last_window(pane));
        }
    }
    close(&mut machines, None);
    rows
}

fn sessions(log: &Log, cut: Option<(usize, usize)>) -> Vec<(Vec<u8>, Session)> {
    const GAP: i64 = 25;
    let fresh = || SessionMachine::new(GAP);
    let mut machines = Machines(vec![fresh()]);
    let mut rows = Vec::new();
    let watermarks = watermarks(log);
    let mut emit = |_: u64, key: &[u8], session: Session, _: i64| rows.push((key.to_vec(), session));
    for (at, (time, key)) in log.iter().enumerate() {
        machines.0.iter_mut().for_each(|machine| machine.advance(watermarks[at], &mut emit));
        if let Some((_, peers)) = cut.filter(|(when, _)| *when == at) {
            let save = |machine: &SessionMachine, each: Each<'_, SavedSession>| {
                machine.save(&mut |hash, key, saved| each(hash, key, saved));
            };
            machines = machines.moved(peers, fresh, save, |machine, hash, key, saved| {
                machine.restore(hash, key, saved, |rank| rank);
            });
        }
        if *time >= watermarks[at] {
            let mark = [Mark::Join, Mark::Start, Mark::End, Mark::Join][at % 4];
            let event =
                SessionEvent { time_us: *time, rank: 0, offset: at as i64, mark, flagged: at % 3 == 0 };
            machines.owner(&[*key]).observe(key_hash(&[*key]), &[*key], event);
        }
    }
    let last = watermarks[watermarks.len() - 1];
    machines.0.iter_mut().for_each(|machine| machine.finish(last, &mut emit));
    rows.sort();
    rows
}

proptest! {
    #[test]
    fn windows_go_on_with_any_number_of_workers(
        log in log(), at in 0_usize..120, peers in 1_usize..5, slide in 1_i64..20, overlap in 1_i64..5,
    ) {
        let spec = WindowSpec::sliding(slide * overlap, slide).expect("a window");
        prop_assert_eq!(windows(&log, spec, Some((at, peers))), windows(&log, spec, None));
    }

    #[test]
    fn distinct_counts_go_on_with_any_number_of_workers(
        log in log(), at in 0_usize..120, peers in 1_usize..5, slide in 1_i64..20, overlap in 1_i64..5,
    ) {
        let spec = WindowSpec::sliding(slide * overlap, slide).expect("a window");
        prop_assert_eq!(distinct(&log, spec, Some((at, peers))), distinct(&log, spec, None));
    }

    #[test]
    fn sessions_go_on_with_any_number_of_workers(log in log(), at in 0_usize..120, peers in 1_usize..5) {
        prop_assert_eq!(sessions(&log, Some((at, peers))), sessions(&log, None));
    }
}
