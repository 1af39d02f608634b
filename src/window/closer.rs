//! Merges the parts of a window's panes and closes windows in order: the state machine behind the exchange.
//!
//! For sliding windows a running aggregate is kept by key. A part enters it with the first window it can
//! reach (its class) and leaves it after the last window that its pane is in, so that a window costs what
//! changed and not size/slide times its panes. Its rows are what is left to pay for: windows that follow
//! each other mostly have the same keys, so they share one column of them, and a row costs its value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::changes::{Changed, Changes};
use super::cold::ColdPanes;
use super::firing::Firing;
use super::panes::{PaneStore, Slots};
use super::spec::{Eligible, WindowSpec};
use crate::aggregate::Retract;
use crate::keys::{KeyColumn, key_hash};
use crate::spill::{Budget, SpillError};

/// Partial aggregates of one (class, pane), on their way to the worker that owns their keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaneBlock<A> {
    /// The worker that owns the keys.
    pub target: u32,
    /// Whose parts these are.
    pub at: Eligible,
    /// The keys.
    pub keys: KeyColumn,
    /// The partial aggregates, one a key.
    pub partials: Vec<A>,
}

/// Results of one window, for some of its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedWindow<V> {
    /// Where the window starts, µs.
    pub start_us: i64,
    /// Where it ends (exclusive), µs.
    pub end_us: i64,
    /// Which of the window's results these are.
    pub firing: Firing,
    /// The keys; sliding windows that follow each other share them while they are the same.
    pub keys: Arc<KeyColumn>,
    /// The results, one a key.
    pub values: Vec<V>,
}

/// The keys of a window's rows, in the order of their numbers.
struct RowKeys {
    ids: Vec<u32>,
    keys: Arc<KeyColumn>,
}

/// The open windows of the keys that this worker owns.
pub struct WindowCloser<A: Retract> {
    store: PaneStore<A>,
    running: Vec<A::Running>,
    live: usize,
    /// The keys of the window closed last; `None` when a key has come or gone since.
    row_keys: Option<RowKeys>,
    /// Parts that have entered, by the last window they belong to.
    leaving: BTreeMap<i64, Vec<(Eligible, Slots<A>)>>,
    next: i64,
    /// `None` in final mode.
    changes: Option<Changes>,
    /// The keys' numbers whose parts have changed since they were saved; `None` where nothing is saved.
    unsaved: Option<BTreeMap<Eligible, Vec<u32>>>,
    /// Places in a checkpoint that are not used any more, with the hashes of their keys.
    left: Vec<(u64, Vec<u8>)>,
    /// What is on disk; `None` where nothing may be.
    cold: Option<ColdPanes>,
    budget: Budget,
    accounted_bytes: usize,
    /// Why something on disk cannot be read.
    failure: Option<SpillError>,
}

/// A part's place in a checkpoint: class, pane, how often the pane had gone to disk before, key.
fn place_of(place: &mut Vec<u8>, at: Eligible, part: u32, key: &[u8]) {
    place.clear();
    place.extend_from_slice(&at.class.to_le_bytes());
    place.extend_from_slice(&at.pane.to_le_bytes());
    place.extend_from_slice(&part.to_le_bytes());
    place.extend_from_slice(key);
}

/// What [`place_of`] was made of.
fn read_place(place: &[u8]) -> Option<(Eligible, u32, &[u8])> {
    let (at, place) = read_at(place)?;
    let (part, key) = place.split_first_chunk()?;
    Some((at, u32::from_le_bytes(*part), key))
}

fn read_at(place: &[u8]) -> Option<(Eligible, &[u8])> {
    let (class, place) = place.split_first_chunk()?;
    let (pane, place) = place.split_first_chunk()?;
    Some((Eligible { class: i64::from_le_bytes(*class), pane: i64::from_le_bytes(*pane) }, place))
}

/// The pane of a tumbling window.
fn pane_of(window: i64) -> Eligible {
    Eligible { class: window, pane: window }
}

/// Where the key began in a place of format 1.
const FORMER_KEY: usize = 16;

impl<A: Retract> WindowCloser<A> {
    /// No open window. In update mode changes are remembered for [`WindowCloser::changed`].
    pub fn new(spec: WindowSpec, update_mode: bool) -> Self {
        WindowCloser {
            store: PaneStore::new(spec),
            running: Vec::new(),
            live: 0,
            row_keys: None,
            leaving: BTreeMap::new(),
            next: i64::MIN,
            changes: update_mode.then(Changes::default),
            unsaved: None,
            left: Vec::new(),
            cold: None,
            budget: Budget::unlimited(),
            accounted_bytes: 0,
            failure: None,
        }
    }

    /// Where `budget` has a limit, panes go to disk when it is reached: those that close last go first. In update mode they come back
    /// one by one when an epoch ends, if they have changed; where windows overlap then none goes, since each pane is part of many.
    pub fn within(mut self, budget: Budget) -> Self {
        let may_spill = self.changes.is_none() || self.store.spec().is_tumbling();
        self.cold = budget.directory().filter(|_| may_spill).map(ColdPanes::new);
        self.budget = budget;
        self
    }

    /// In update mode, changes are remembered for [`Firing::Early`] as well.
    pub fn with_early(mut self) -> Self {
        self.changes.iter_mut().for_each(Changes::with_early);
        self
    }

    /// Changes are remembered for [`WindowCloser::save`] as well.
    pub fn saved(mut self) -> Self {
        self.unsaved = Some(BTreeMap::new());
        self
    }

    /// Adds the parts of `block`.
    pub fn merge(&mut self, block: &PaneBlock<A>) {
        let slot = self.store.slot(block.at);
        let mut unsaved = self.unsaved.as_mut().map(|unsaved| unsaved.entry(block.at).or_default());
        for ((hash, key), partial) in block.keys.iter().zip(&block.partials) {
            let id = self.store.update(slot, || hash, key, |mine| mine.merge(partial));
            if let Some(unsaved) = &mut unsaved {
                unsaved.push(id);
            }
            if let Some(changes) = &mut self.changes {
                changes.note(block.at.class..=self.store.spec().last_window(block.at.pane), id);
            }
        }
        self.relieve();
    }

    fn account(&mut self) {
        let now = self.heap_bytes();
        self.budget.account(&mut self.accounted_bytes, now);
    }

    /// Brings the account up to date, and spills what must not stay.
    fn relieve(&mut self) {
        if self.budget.directory().is_none() {
            return;
        }
        self.account();
        if !self.budget.is_over() || self.cold.is_none() {
            return;
        }
        let least = self.budget.least_bytes();
        let worth = |(at, table): (Eligible, &Slots<A>)| (table.heap_bytes() >= least).then_some(at);
        let mut candidates: Vec<Eligible> = self.store.iter().filter_map(worth).collect();
        if candidates.is_empty() {
            return;
        }
        while !self.budget.is_relieved()
            && let Some(at) = candidates.pop()
        {
            if let Err(error) = self.chill(at) {
                tracing::warn!(%error, "state beyond the memory limit stays in memory");
                break;
            }
            self.account();
        }
        self.store.keys.shrink();
        self.account();
    }

    /// Moves a pane that has not entered a window to disk.
    fn chill(&mut self, at: Eligible) -> Result<(), SpillError> {
        let (Some(cold), Some(table)) = (&mut self.cold, self.store.table(at)) else { return Ok(()) };
        let mut unsaved =
            self.unsaved.as_ref().and_then(|unsaved| unsaved.get(&at)).cloned().unwrap_or_default();
        unsaved.sort_unstable();
        cold.put(at, table, &self.store.keys, |id| unsaved.binary_search(&id).is_ok())?;
        self.forget(at);
        // Tumbling: a pane is a window.
        self.changes.iter_mut().for_each(|changes| changes.make_whole(at.class));
        if let Some(table) = self.store.take(at) {
            table.for_each(|id, _| self.store.keys.release(id));
        }
        Ok(())
    }

    /// The lowest (class, pane) in memory or on disk.
    fn first(&self) -> Option<Eligible> {
        let cold = self.cold.as_ref().and_then(ColdPanes::first);
        self.store.first().into_iter().chain(cold).min()
    }

    /// Whether some of a pane is on disk.
    fn is_cold(&self, at: Eligible) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.parts(at) > 0)
    }

    /// The next share of a pane that is on disk, as a closed window; `None` when there is none left, or it cannot be read.
    fn next_share(&mut self, at: Eligible) -> Option<ClosedWindow<A::Output>> {
        match self.cold.as_mut()?.next_share::<A>(at) {
            Err(error) => {
                self.failure.get_or_insert(error);
                self.cold = None;
                None
            }
            Ok(share) => {
                let share = share?;
                let (mut keys, mut values) = (KeyColumn::default(), Vec::with_capacity(share.len()));
                for (key, (hash, partial)) in share {
                    keys.push(hash, &key);
                    values.push(partial.output());
                }
                Some(self.closed(at.class, Firing::Final, Arc::new(keys), values))
            }
        }
    }

    /// Brings back all of a pane that is on disk. It is one part again, and saved anew as that.
    fn warm(&mut self, at: Eligible) {
        let parts = self.cold.as_ref().map_or(0, |cold| cold.parts(at));
        for id in self.unsaved.iter().filter_map(|unsaved| unsaved.get(&at)).flatten() {
            let mut place = Vec::new();
            place_of(&mut place, at, parts, self.store.keys.key(*id));
            self.left.push((self.store.keys.hash(*id), place));
        }
        while let Some(cold) = &mut self.cold {
            match cold.next_share::<A>(at) {
                Ok(None) => break,
                Ok(Some(share)) => {
                    let slot = self.store.slot(at);
                    for (key, (hash, partial)) in share {
                        let id = self.store.update(slot, || hash, &key, |mine| mine.merge(&partial));
                        let Some(unsaved) = &mut self.unsaved else { continue };
                        unsaved.entry(at).or_default().push(id);
                        for part in 1..=parts {
                            let mut place = Vec::new();
                            place_of(&mut place, at, part, &key);
                            self.left.push((hash, place));
                        }
                    }
                }
                Err(error) => {
                    self.failure.get_or_insert(error);
                    self.cold = None;
                }
            }
        }
    }

    /// Why windows are not whole: what was on disk cannot be read. The run must end.
    pub fn failure(&self) -> Option<&SpillError> {
        self.failure.as_ref()
    }

    /// Closes every window that ends at or before `watermark_us`, or all when there is no more input.
    ///
    /// A window that is on disk comes back share by share, one a call: says whether there is more to close, and is then to be
    /// called again with the same, before anything else.
    pub fn close(
        &mut self,
        watermark_us: Option<i64>,
        emit: &mut impl FnMut(ClosedWindow<A::Output>),
    ) -> bool {
        let more = match self.store.spec().is_tumbling() {
            true => self.close_tumbling(watermark_us, emit),
            false => {
                self.close_sliding(watermark_us, emit);
                false
            }
        };
        if self.budget.directory().is_some() {
            self.account();
        }
        if let Some(changes) = &mut self.changes {
            let spec = *self.store.spec();
            changes.close(|window| watermark_us.is_some_and(|us| spec.end(window) > us));
        }
        more
    }

    /// How many windows have parts and are not closed.
    pub fn open_windows(&self) -> u64 {
        let spec = self.store.spec();
        let entered = self.leaving.keys().next_back().map(|last| (self.next, *last));
        let stored = self.store.iter().map(|(at, _)| (at.class, spec.last_window(at.pane)));
        let (mut open, mut counted) = (0, i64::MIN);
        // In the order of their first windows: what has entered is before what waits.
        for (first, last) in entered.into_iter().chain(stored) {
            let first = first.max(counted);
            if first <= last {
                open += (last - first + 1).unsigned_abs();
                counted = last + 1;
            }
        }
        open
    }

    fn is_open(&self, window: i64, watermark_us: Option<i64>) -> bool {
        watermark_us.is_some_and(|us| self.store.spec().end(window) > us)
    }

    /// The parts of a pane are of no account any more.
    fn forget(&mut self, at: Eligible) {
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.remove(&at);
        }
    }

    fn close_tumbling(
        &mut self,
        watermark_us: Option<i64>,
        emit: &mut impl FnMut(ClosedWindow<A::Output>),
    ) -> bool {
        while let Some(at) = self.first() {
            if self.is_open(at.class, watermark_us) {
                break;
            }
            if self.is_cold(at) {
                // What is in memory joins the rest, so that each share is given once and whole.
                if self.chill(at).is_ok() {
                    if let Some(share) = self.next_share(at) {
                        emit(share);
                        return true;
                    }
                    continue;
                }
                self.warm(at);
            }
            let Some((at, table)) = self.store.pop_first() else { break };
            self.forget(at);
            let mut keys = KeyColumn::with_capacity(table.len(), self.store.keys.byte_len_of(table.len()));
            let mut values = Vec::with_capacity(table.len());
            table.for_each(|id, partial| {
                keys.push(self.store.keys.hash(id), self.store.keys.key(id));
                values.push(partial.output());
                self.store.keys.release(id);
            });
            emit(self.closed(at.class, Firing::Final, Arc::new(keys), values));
        }
        false
    }

    fn close_sliding(&mut self, watermark_us: Option<i64>, emit: &mut impl FnMut(ClosedWindow<A::Output>)) {
        loop {
            let window = match self.first() {
                _ if self.live > 0 => self.next,
                Some(at) => at.class,
                None => break,
            };
            if self.is_open(window, watermark_us) {
                break;
            }
            self.leave_before(window);
            self.enter_until(window);
            if self.live > 0 {
                let rows = self.row_keys();
                let (ids, keys) = (&rows.ids, Arc::clone(&rows.keys));
                let values = if ids.len() == self.running.len() {
                    self.running.iter().map(A::read).collect()
                } else {
                    ids.iter().map(|id| A::read(&self.running[*id as usize])).collect()
                };
                self.row_keys = Some(rows);
                emit(self.closed(window, Firing::Final, keys, values));
            }
            self.next = window + 1;
        }
        // Nothing of a pane may outlive its last window.
        self.leave_before(self.next);
        if self.live == 0 {
            self.row_keys = None;
        }
    }

    /// The keys of the next window's rows: those of the last one, unless one has come or gone.
    fn row_keys(&mut self) -> RowKeys {
        if let Some(rows) = self.row_keys.take() {
            return rows;
        }
        let mut ids = Vec::with_capacity(self.live);
        let mut keys = KeyColumn::with_capacity(self.live, self.store.keys.byte_len_of(self.live));
        for (id, running) in (0..).zip(&self.running) {
            if !A::is_empty(running) {
                ids.push(id);
                keys.push(self.store.keys.hash(id), self.store.keys.key(id));
            }
        }
        RowKeys { ids, keys: Arc::new(keys) }
    }

    fn leave_before(&mut self, window: i64) {
        while let Some(entry) = self.leaving.first_entry() {
            if *entry.key() >= window {
                break;
            }
            for (at, table) in entry.remove() {
                if let Some(unsaved) = &mut self.unsaved {
                    unsaved.remove(&at);
                }
                table.for_each(|id, partial| {
                    let running = &mut self.running[id as usize];
                    A::leave(running, partial);
                    if A::is_empty(running) {
                        self.live -= 1;
                        self.row_keys = None;
                    }
                    self.store.keys.release(id);
                });
            }
        }
    }

    fn enter_until(&mut self, window: i64) {
        while let Some(at) = self.first().filter(|at| at.class <= window) {
            if self.is_cold(at) {
                self.warm(at);
            }
            let Some((at, table)) = self.store.pop_first() else { break };
            if self.running.len() < self.store.keys.bound() {
                self.running.resize_with(self.store.keys.bound(), A::Running::default);
            }
            table.for_each(|id, partial| {
                let running = &mut self.running[id as usize];
                if A::is_empty(running) {
                    self.live += 1;
                    self.row_keys = None;
                }
                A::enter(running, partial);
            });
            self.leaving.entry(self.store.spec().last_window(at.pane)).or_default().push((at, table));
        }
    }

    /// The values of windows still open that have changed since the last call, for an epoch's end; or, by [`Firing::Early`], since
    /// the last call of either kind. Of a window that was on disk more may be given than has changed, and nothing early.
    pub fn changed(&mut self, firing: Firing, emit: &mut impl FnMut(ClosedWindow<A::Output>)) {
        let Some(changes) = &mut self.changes else { return };
        if firing == Firing::Early {
            let mut changed = changes.take_early();
            changed.retain(|(window, _)| !self.is_cold(pane_of(*window)));
            return self.give(firing, changed, emit);
        }
        let (mut changed, whole) = changes.take_at_end();
        if self.cold.is_none() {
            return self.give(firing, changed, emit);
        }
        let mut windows: BTreeSet<i64> = changed.iter().map(|(window, _)| *window).collect();
        windows.extend(&whole);
        for window in windows {
            let mut of_window = changed;
            changed = of_window.split_off(&(window + 1, 0));
            let at = pane_of(window);
            let was_cold = self.is_cold(at);
            if was_cold {
                self.warm(at);
            }
            if let Some(table) = self.store.table(at).filter(|_| whole.contains(&window)) {
                table.for_each(|id, _| of_window.extend([(window, id)]));
            }
            self.give(firing, of_window, emit);
            if was_cold && let Err(error) = self.chill(at) {
                tracing::warn!(%error, "state beyond the memory limit stays in memory");
            }
        }
    }

    fn give(&self, firing: Firing, changed: Changed, emit: &mut impl FnMut(ClosedWindow<A::Output>)) {
        let mut open: Option<(i64, KeyColumn, Vec<A::Output>)> = None;
        let mut tables = Vec::new();
        for (window, id) in changed {
            if open.as_ref().is_none_or(|(of, ..)| *of != window) {
                if let Some((of, keys, values)) = open.replace((window, KeyColumn::default(), Vec::new())) {
                    emit(self.closed(of, firing, Arc::new(keys), values));
                }
                let entered = self.leaving.values().flatten().map(|(at, table)| (*at, table));
                let counts =
                    |at: Eligible| at.class <= window && window <= self.store.spec().last_window(at.pane);
                let of_window = self.store.iter().chain(entered).filter(|(at, _)| counts(*at));
                tables.clear();
                tables.extend(of_window.map(|(_, table)| table));
            }
            let mut running = A::Running::default();
            for partial in tables.iter().filter_map(|table| table.get(id)) {
                A::enter(&mut running, partial);
            }
            if let Some((_, keys, values)) = &mut open
                && !A::is_empty(&running)
            {
                keys.push(self.store.keys.hash(id), self.store.keys.key(id));
                values.push(A::read(&running));
            }
        }
        if let Some((of, keys, values)) = open {
            emit(self.closed(of, firing, Arc::new(keys), values));
        }
    }

    /// Whether anything has changed that [`Firing::Early`] would give.
    pub fn has_early(&self) -> bool {
        self.changes.as_ref().is_some_and(Changes::has_early)
    }

    fn closed(
        &self,
        window: i64,
        firing: Firing,
        keys: Arc<KeyColumn>,
        values: Vec<A::Output>,
    ) -> ClosedWindow<A::Output> {
        let spec = self.store.spec();
        ClosedWindow { start_us: spec.start(window), end_us: spec.end(window), firing, keys, values }
    }

    /// Calls `each` with every part that has changed since this was called last: its key's hash, its place, until when it
    /// is of any account, and what it is; `None` for a place that is not used any more.
    pub fn save(&mut self, each: &mut impl FnMut(u64, &[u8], i64, Option<&A>)) {
        for (hash, place) in std::mem::take(&mut self.left) {
            each(hash, &place, i64::MAX, None);
        }
        let WindowCloser { store, leaving, unsaved, cold, failure, .. } = self;
        let (spec, place) = (*store.spec(), &mut Vec::new());
        if let Some(cold) = cold {
            let read = cold.save(&mut |at, part, hash, key, partial| {
                place_of(place, at, part, key);
                each(hash, place, spec.end(spec.last_window(at.pane)), Some(partial));
            });
            if let Err(error) = read {
                failure.get_or_insert(error);
            }
        }
        for (at, mut ids) in unsaved.as_mut().map(std::mem::take).unwrap_or_default() {
            let last_window = store.spec().last_window(at.pane);
            let entered = || leaving.get(&last_window)?.iter().find(|(of, _)| *of == at);
            let Some(table) = store.table(at).or_else(|| entered().map(|(_, table)| table)) else { continue };
            // The same key comes from several workers.
            ids.sort_unstable();
            ids.dedup();
            let part = cold.as_ref().map_or(0, |cold| cold.parts(at));
            for id in ids {
                if let Some(partial) = table.get(id) {
                    place_of(place, at, part, store.keys.key(id));
                    each(store.keys.hash(id), place, spec.end(last_window), Some(partial));
                }
            }
        }
    }

    /// Takes back a part, before anything else is merged; [`WindowCloser::restored`] comes after the last. `rank` gives the
    /// present rank of a partition by its rank then; where these have moved, it is to be saved anew.
    pub fn restore(
        &mut self,
        hash: u64,
        place: &[u8],
        mut partial: A,
        rank: impl Fn(u32) -> u32,
        has_moved: bool,
    ) {
        // Format 1 had no parts: there the key begins where its number stands now.
        let former = place.get(FORMER_KEY..).filter(|key| key_hash(key) == hash);
        let Some((at, part, key)) = (match former {
            Some(key) => read_at(place).map(|(at, _)| (at, 0, key)),
            None => read_place(place),
        }) else {
            return;
        };
        // A number that is no rank was not made from one, and stays.
        partial.renumber_partitions(&|partition| {
            u32::try_from(partition).map_or(partition, |then| rank(then).into())
        });
        let slot = self.store.slot(at);
        let id = self.store.update(slot, || hash, key, |mine| mine.merge(&partial));
        let is_moved = part > 0 || former.is_some();
        if let Some(unsaved) = self.unsaved.as_mut().filter(|_| has_moved || is_moved) {
            // All parts of a key are one now, and will be saved as the first.
            unsaved.entry(at).or_default().push(id);
            if is_moved {
                self.left.push((hash, place.to_vec()));
            }
        }
        if let Some(changes) = &mut self.changes {
            changes.note_restored(at.class..=self.store.spec().last_window(at.pane), id);
        }
    }

    /// Brings what was taken back to where it stood when event time was at `watermark_us`: closes again what had closed,
    /// without giving it.
    pub fn restored(&mut self, watermark_us: i64) {
        while self.close(Some(watermark_us), &mut |_| ()) {}
        self.relieve();
    }

    /// How many keys are held.
    pub fn keys(&self) -> usize {
        self.store.keys.len()
    }

    /// How many (class, pane, key) are held.
    pub fn entries(&self) -> usize {
        self.store.entries() + self.leaving.values().flatten().map(|(_, table)| table.len()).sum::<usize>()
    }

    /// Bytes held by keys and panes.
    pub fn heap_bytes(&self) -> usize {
        let leaving: usize = self.leaving.values().flatten().map(|(_, table)| table.heap_bytes()).sum();
        let rows = self.row_keys.as_ref().map_or(0, |rows| rows.ids.capacity() * 4 + rows.keys.heap_bytes());
        self.store.heap_bytes() + leaving + rows + self.running.capacity() * size_of::<A::Running>()
    }
}
