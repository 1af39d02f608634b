//! What does a checkpoint cost while a million keys are open, and how long does it take to come back from it?
//!
//! Data: a million keys in an open window and as many open sessions; then 100 epochs, each of which changes 1,000 of each.
//! Printed are the bytes that an epoch writes, manifest and folding of deltas included, beside the bytes of what changed; and the
//! time to read the checkpoint, verify it and build the state again on one worker. Recovery is to stay below 5 s.
//!
//! ```text
//! cargo bench --bench recovery
//! cargo bench --bench recovery -- --keys 100000
//! ```

#![allow(clippy::print_stdout)] // Printing is what it is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tidegate::aggregate::{Aggregate, Count};
use tidegate::checkpoint::{CheckpointError, Committer, Decision, DirStore, Inline, Pen, Store, recover};
use tidegate::delivery::EarlyRows;
use tidegate::ingest::Counts;
use tidegate::keys::{KeyColumn, key_hash};
use tidegate::operators::keyed::SharedKeys;
use tidegate::operators::session::{Mark, SessionEvent, SessionMachine};
use tidegate::runtime::SystemClock;
use tidegate::state::{Compactions, Fold, Restored, StateBlock, StateHub, StateWriter};
use tidegate::window::{Eligible, PaneBlock, WindowCloser, WindowSpec};

const EPOCHS: u64 = 100;
const CHANGES: u32 = 1_000;
const GAP_US: i64 = 1_800_000_000;

/// A directory, and how many bytes were written to it.
struct Counting(DirStore, AtomicU64);

impl Store for Counting {
    fn place(&self) -> String {
        self.0.place()
    }
    fn names(&self) -> Result<Vec<String>, CheckpointError> {
        self.0.names()
    }
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.0.read(name)
    }
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.1.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.0.write(name, bytes)
    }
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, CheckpointError> {
        self.0.create(name, bytes)
    }
    fn remove(&self, name: &str) -> Result<(), CheckpointError> {
        self.0.remove(name)
    }
}

/// Windows and sessions of many keys, on one worker.
struct State {
    windows: WindowCloser<Count>,
    sessions: SessionMachine,
}

impl State {
    fn new() -> Self {
        let spec = WindowSpec::tumbling(3_600_000_000).expect("an hour is a window");
        State {
            windows: WindowCloser::new(spec, false).saved(),
            sessions: SessionMachine::new(GAP_US, SharedKeys::default()).saved(),
        }
    }

    /// Every key of `numbers` has an event at `time_us`.
    fn events(&mut self, numbers: impl Iterator<Item = u32>, time_us: i64) {
        let at = Eligible { class: 0, pane: 0 };
        let mut block = PaneBlock { target: 0, at, keys: KeyColumn::default(), partials: Vec::new() };
        for n in numbers {
            let key = format!("user-{n:09}");
            let hash = key_hash(key.as_bytes());
            let mut count = Count::default();
            count.add(());
            block.keys.push(hash, key.as_bytes());
            block.partials.push(count);
            let event = SessionEvent { time_us, rank: 0, offset: n.into(), mark: Mark::Join, flagged: true };
            self.sessions.observe(hash, key.as_bytes(), event);
        }
        self.windows.merge(&block);
        self.sessions.advance(time_us + 1, &mut |_, _, _, _| ());
    }

    fn save(&mut self) -> Vec<StateBlock> {
        let mut windows = StateWriter::delta("Windows");
        self.windows.save(&mut |hash, place, until_us, part| match part {
            Some(part) => windows.put(hash, place, until_us, part),
            None => windows.remove(hash, place),
        });
        let mut sessions = StateWriter::delta("Sessions");
        self.sessions.save(&mut |hash, key, saved| match saved {
            Some(saved) => sessions.put(hash, key, i64::MAX, saved),
            None => sessions.remove(hash, key),
        });
        let mut waiting = StateWriter::delta("Waiting");
        self.sessions
            .save_waiting(&mut |hash, key, until_us, event| waiting.append(hash, key, until_us, 0, event));
        [windows.into_blocks(), sessions.into_blocks(), waiting.into_blocks()].concat()
    }
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--keys").skip(1);
    let quick = std::env::args().any(|argument| argument == "--test");
    let usual = if quick { 100_000u32 } else { 1_000_000 };
    let keys = arguments.next().and_then(|keys| keys.parse().ok()).unwrap_or(usual);
    let dir = std::env::temp_dir().join(format!("tidegate-recovery-{}", std::process::id()));
    let store = Arc::new(Counting(DirStore::open(&dir).expect("a temporary directory"), AtomicU64::new(0)));
    let compactions = Arc::new(Compactions::default());
    compactions.register("Windows", Fold::Replace);
    compactions.register("Sessions", Fold::Replace);
    compactions.register("Waiting", Fold::Append);
    let mut committer = Inline::new(Pen {
        store: Arc::clone(&store) as Arc<dyn Store>,
        mirror: None,
        sinks: Vec::new(),
        pipeline: "bench".to_owned(),
        schema: String::new(),
        generation: 1,
        decided: None,
        deltas: Vec::new(),
        unread: Vec::new(),
        input: Default::default(),
        idle_lines: None,
        early: EarlyRows::default(),
        compactions,
        board: Arc::default(),
        keep: 3,
        clock: Arc::new(SystemClock),
        retry: Box::new(|_| false),
    });
    let mut decide = |epoch, blocks: Vec<StateBlock>| {
        let before = store.1.load(Ordering::Relaxed);
        let (partitions, tallies, counts) = (Vec::new(), Vec::new(), Counts::default());
        let watermark_us = epoch as i64;
        committer.submit(Decision {
            epoch,
            watermark_us,
            wall_us: None,
            partitions,
            counts,
            open: Vec::new(),
            tallies,
            blocks,
            finished: false,
            idle: Vec::new(),
        });
        committer.poll().expect("it is in line").expect("the disk takes it");
        store.1.load(Ordering::Relaxed) - before
    };

    let mut state = State::new();
    state.events(0..keys, 0);
    let began = Instant::now();
    let blocks = state.save();
    let saved = began.elapsed();
    let whole = decide(1, blocks);
    println!("{keys} keys in a window, {keys} open sessions: {whole} bytes, saved in {saved:.1?}");

    let (mut written, mut changed, began) = (0, 0, Instant::now());
    for epoch in 2..EPOCHS + 2 {
        let first = (epoch as u32).wrapping_mul(7_919) % keys;
        state.events((0..CHANGES).map(|n| (first + n * 31) % keys), epoch as i64);
        let blocks = state.save();
        changed += bincode::serialized_size(&blocks).expect("plain data");
        written += decide(epoch, blocks);
    }
    println!(
        "{EPOCHS} epochs with {CHANGES} changes to each: {} bytes of changes and {} bytes written an epoch, {:.1?} each",
        changed / EPOCHS,
        written / EPOCHS,
        began.elapsed() / EPOCHS as u32,
    );

    let began = Instant::now();
    let found = recover(&*store, None, "bench", "", None).expect("it is whole").expect("it is there");
    let read = began.elapsed();
    let base = found.base.expect("its state is whole");
    let restored = Arc::new(Restored::new(base.watermark_us, Vec::new(), found.blocks));
    let hub = StateHub::new(Some(restored), 0, 1, EPOCHS + 2, Arc::default());
    let mut again = State::new();
    hub.restore_latest("Windows", |hash, place, part| {
        again.windows.restore(hash, place, part, |rank| rank, false);
    });
    again.windows.restored(base.watermark_us);
    hub.restore_appended("Waiting", |hash, key, event| {
        again.sessions.restore_waiting(hash, key, event, |rank| rank, false);
    });
    hub.restore_latest("Sessions", |hash, key, saved| again.sessions.restore(hash, key, saved, |rank| rank));
    assert_eq!(hub.failure(), None);
    assert_eq!((again.windows.keys(), again.sessions.keys()), (keys as usize, keys as usize));
    println!("recovered in {:.1?}, of which reading and verifying {read:.1?}", began.elapsed());
    std::fs::remove_dir_all(&dir).ok();
}
