//! The state machine of sessions on one worker.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::pending::{Pending, Waiting};
use super::{EndReason, Mark, STEP_BITS, Session, SessionEvent, last_of_step};
use crate::keys::{KeyColumn, KeyTable};
use crate::operators::keyed::{OwnedBlock, SharedKeys, share_bytes};
use crate::spill::{Budget, SpillError};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Open {
    start_us: i64,
    last_us: i64,
    seq: u32,
    events: u64,
    flagged: u64,
}

/// What there is of a key, in less than a cache line: every event looks for its key's.
#[derive(Clone, Copy)]
struct User {
    /// When the latest session started.
    started_us: i64,
    /// Of the open session, if `is_open`: its last event, how many it has, how many of them are flagged.
    last_us: i64,
    events: u64,
    flagged: u64,
    /// The step of the deadline that is kept for the open session.
    timer: i64,
    /// How many sessions have started at `started_us`. An open one is the last of them.
    started: u32,
    is_open: bool,
    /// Whether it is noted that it has changed.
    unsaved: bool,
    /// Whether a checkpoint holds something of it.
    saved: bool,
}

const NOBODY: User = User {
    started_us: i64::MIN,
    last_us: i64::MIN,
    events: 0,
    flagged: 0,
    timer: i64::MIN,
    started: 0,
    is_open: false,
    unsaved: false,
    saved: false,
};

/// After so many restored events it is looked whether memory is short.
const RESTORED_TOGETHER: usize = 8 << 10;

/// What has changed since it was saved.
#[derive(Default)]
struct Unsaved {
    /// The numbers of keys; where one was given to another key meanwhile, it may be there twice.
    ids: Vec<u32>,
    /// The keys that a checkpoint holds and of which there is nothing any more.
    gone: KeyColumn,
    /// Events that have come.
    waiting: Vec<Waiting>,
}

impl Unsaved {
    #[inline]
    fn changes(this: &mut Option<Self>, id: u32, user: &mut User) {
        if let Some(unsaved) = this
            && !user.unsaved
        {
            user.unsaved = true;
            unsaved.ids.push(id);
        }
    }

    /// Forgets a key that has nothing left.
    fn release(this: &mut Option<Self>, keys: &mut KeyTable, id: u32, user: &mut User) {
        if let Some(unsaved) = this.as_mut().filter(|_| user.saved) {
            unsaved.gone.push(keys.hash(id), keys.key(id));
        }
        *user = NOBODY;
        keys.release(id);
    }
}

/// What is saved of a key, beside its events that wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedSession {
    open: Option<Open>,
    started_us: i64,
    started: u32,
    /// Empty; up to format 3 of checkpoints the events that wait.
    waiting: Vec<SessionEvent>,
}

/// The sessions of the keys that a worker owns.
pub struct SessionMachine {
    gap_us: i64,
    keys: SharedKeys,
    users: Vec<User>,
    /// What holds each key: its events that wait for the frontier, and its open session. Beside the users, so that an event
    /// that comes touches four bytes.
    held: Vec<u32>,
    /// Of a block: its events with their keys' numbers.
    found: Vec<(u32, SessionEvent)>,
    pending: Pending,
    timers: BTreeMap<i64, Vec<u32>>,
    ignored: u64,
    /// All events before this instant have been consumed.
    passed_us: i64,
    /// `None` where nothing is saved.
    unsaved: Option<Unsaved>,
    /// The numbers of keys whose open sessions have changed since they were given; `None` where they are not.
    changed: Option<BTreeSet<u32>>,
    budget: Budget,
    accounted_bytes: usize,
}

impl SessionMachine {
    /// No key seen yet; it uses those of `keys`. `gap_us` of silence ends a session.
    pub fn new(gap_us: i64, keys: SharedKeys) -> Self {
        SessionMachine {
            gap_us,
            keys,
            users: Vec::new(),
            held: Vec::new(),
            found: Vec::new(),
            pending: Pending::default(),
            timers: BTreeMap::new(),
            ignored: 0,
            passed_us: i64::MIN,
            unsaved: None,
            changed: None,
            budget: Budget::unlimited(),
            accounted_bytes: 0,
        }
    }

    /// Beyond `budget` events that wait go to disk, those that are furthest from the frontier first.
    pub fn within(mut self, budget: Budget) -> Self {
        self.pending.within(&budget);
        self.budget = budget;
        self
    }

    /// Open sessions that change are remembered for [`SessionMachine::changed`].
    pub fn with_open(mut self) -> Self {
        self.changed = Some(BTreeSet::new());
        self
    }

    /// Changes are remembered for [`SessionMachine::save`].
    pub fn saved(mut self) -> Self {
        self.unsaved = Some(Unsaved::default());
        self
    }

    /// Takes an event that is not late; it waits until the frontier has passed it.
    pub fn observe(&mut self, hash: u64, key: &[u8], event: SessionEvent) {
        {
            let keys = Rc::clone(&self.keys);
            let keys = &mut *keys.borrow_mut();
            let id = keys.intern(|| hash, key);
            self.make_room(keys.bound());
            self.wait(keys, id, event);
        }
        self.relieve();
    }

    fn account(&mut self) {
        // What is in use: places of keys that are gone are taken by the next ones.
        let of_keys = self.keys() * (size_of::<User>() + size_of::<u32>());
        let unsaved =
            self.unsaved.as_ref().map_or(0, |unsaved| unsaved.waiting.capacity() * size_of::<Waiting>());
        let now = share_bytes(&self.keys) + of_keys + self.pending.heap_bytes() + unsaved;
        self.budget.account(&mut self.accounted_bytes, now);
    }

    /// Brings the account up to date, and spills what must not stay.
    fn relieve(&mut self) {
        if self.budget.directory().is_none() {
            return;
        }
        self.account();
        if !self.budget.is_over() || self.pending.heap_bytes() < self.budget.least_bytes() {
            return;
        }
        self.pending.shrink();
        self.account();
        if let Err(error) = self.pending.chill(self.budget.excess_bytes()) {
            tracing::warn!(%error, "state beyond the memory limit stays in memory");
        }
        self.account();
    }

    /// Why sessions are not whole: what was on disk cannot be read. The run must end.
    pub fn failure(&self) -> Option<&SpillError> {
        self.pending.failure()
    }

    /// Takes what `event` gives for a block's events, as [`SessionMachine::observe`] does. First all numbers are found, so that
    /// what waits for memory waits together.
    pub fn observe_all<P>(&mut self, block: &OwnedBlock<P>, event: impl Fn(&P) -> Option<SessionEvent>) {
        let mut found = std::mem::take(&mut self.found);
        {
            let keys = Rc::clone(&self.keys);
            let keys = &mut *keys.borrow_mut();
            block.find_all(keys, event, &mut found);
            self.make_room(keys.bound());
            found.drain(..).for_each(|(id, event)| self.wait(keys, id, event));
        }
        self.found = found;
        self.relieve();
    }

    /// Every key that has a number has a place.
    fn make_room(&mut self, bound: usize) {
        if bound > self.users.len() {
            self.users.resize(bound + bound / 4, NOBODY);
            self.held.resize(bound + bound / 4, 0);
        }
    }

    #[inline(always)]
    fn wait(&mut self, keys: &mut KeyTable, id: u32, event: SessionEvent) {
        let event = Waiting::new(id, event);
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.waiting.push(event);
        }
        self.hold(keys, id);
        self.pending.push(event);
    }

    #[inline(always)]
    fn hold(&mut self, keys: &mut KeyTable, id: u32) {
        let held = &mut self.held[id as usize];
        if *held == 0 {
            keys.retain(id);
        }
        *held += 1;
    }

    /// Consumes all events before `watermark_us`, and closes the sessions that are over by then.
    ///
    /// `emit` gets the key's hash, the key, the session, and the instant at which it is known to be over: that
    /// of its end or restart marker, or its last event's plus the gap. A session that times out is given when
    /// the watermark has passed the 2^22 µs that its instant lies in, or a later event of its key.
    pub fn advance(&mut self, watermark_us: i64, emit: &mut impl FnMut(u64, &[u8], Session, i64)) {
        self.consume(Some(watermark_us), emit);
        self.passed_us = self.passed_us.max(watermark_us);
        while let Some(first) = self.timers.first_entry() {
            // A step is due when all instants in it have passed.
            if last_of_step(first.key() << STEP_BITS) >= watermark_us {
                break;
            }
            let (step, ids) = first.remove_entry();
            for id in ids {
                self.expire(id, step, watermark_us, emit);
            }
        }
        if self.budget.directory().is_some() {
            self.account();
        }
    }

    /// The input has ended: consumes all events; a session still open is over by silence if
    /// `final_watermark_us` has reached its last event plus the gap, else it stays open for good. `emit` gets the
    /// same as from [`SessionMachine::advance`], for a session that stays open as if it had timed out.
    pub fn finish(&mut self, final_watermark_us: i64, emit: &mut impl FnMut(u64, &[u8], Session, i64)) {
        self.consume(None, emit);
        self.timers.clear();
        let keys = &mut *self.keys.borrow_mut();
        for (id, user) in self.users.iter_mut().enumerate() {
            if let Some(open) = user.take() {
                let deadline_us = open.last_us.saturating_add(self.gap_us);
                let silent = final_watermark_us >= deadline_us;
                let reason = if silent { EndReason::Timeout } else { EndReason::Open };
                let session = open.close(open.last_us, reason);
                let id = id as u32;
                emit(keys.hash(id), keys.key(id), session, deadline_us);
                self.held[id as usize] = 0;
                keys.release(id);
            }
        }
    }

    fn consume(&mut self, until_us: Option<i64>, emit: &mut impl FnMut(u64, &[u8], Session, i64)) {
        let SessionMachine { gap_us, keys, users, held, pending, timers, ignored, unsaved, changed, .. } =
            self;
        let keys = &mut *keys.borrow_mut();
        pending.pass(until_us, |events| {
            // What there is of their keys is fetched together, before a branch waits for any of it.
            let of = |event: &Waiting| users[event.key as usize].started | held[event.key as usize];
            std::hint::black_box(events.iter().fold(0, |all, event| all | of(event)));
            for event in events {
                let user = &mut users[event.key as usize];
                let mut close = |open: Open, end_us, reason, closed_us| {
                    emit(keys.hash(event.key), keys.key(event.key), open.close(end_us, reason), closed_us);
                };
                let was_open = user.is_open;
                user.step(event, *gap_us, ignored, &mut close);
                let held = &mut held[event.key as usize];
                *held = *held - 1 + u32::from(user.is_open) - u32::from(was_open);
                Unsaved::changes(unsaved, event.key, user);
                if user.is_open {
                    if let Some(changed) = changed {
                        changed.insert(event.key);
                    }
                    if user.timer == i64::MIN {
                        user.timer = user.last_us.saturating_add(*gap_us) >> STEP_BITS;
                        timers.entry(user.timer).or_default().push(event.key);
                    }
                } else if *held == 0 {
                    // No session of this key can start at an instant that has passed, so nothing of it need stay.
                    Unsaved::release(unsaved, keys, event.key, user);
                }
            }
        });
    }

    fn expire(
        &mut self,
        id: u32,
        step: i64,
        watermark_us: i64,
        emit: &mut impl FnMut(u64, &[u8], Session, i64),
    ) {
        let user = &mut self.users[id as usize];
        if user.timer != step {
            return;
        }
        user.timer = i64::MIN;
        let Some(open) = user.open() else { return };
        let deadline_us = open.last_us.saturating_add(self.gap_us);
        if deadline_us <= watermark_us {
            user.is_open = false;
            let session = open.close(open.last_us, EndReason::Timeout);
            let keys = &mut *self.keys.borrow_mut();
            emit(keys.hash(id), keys.key(id), session, deadline_us);
            let held = &mut self.held[id as usize];
            *held -= 1;
            match *held {
                0 => Unsaved::release(&mut self.unsaved, keys, id, user),
                _ => Unsaved::changes(&mut self.unsaved, id, user),
            }
        } else {
            user.timer = deadline_us >> STEP_BITS;
            self.timers.entry(user.timer).or_default().push(id);
        }
    }

    /// Gives every open session that has changed since this was called last, as far as it goes: `emit` gets the same as from
    /// [`SessionMachine::advance`], as if the session were left open now.
    pub fn changed(&mut self, emit: &mut impl FnMut(u64, &[u8], Session, i64)) {
        let keys = self.keys.borrow();
        for id in self.changed.as_mut().map(std::mem::take).unwrap_or_default() {
            // One that is over by now has been given as that.
            if let Some(open) = self.users[id as usize].open() {
                let session = open.close(open.last_us, EndReason::Open);
                let deadline_us = open.last_us.saturating_add(self.gap_us);
                emit(keys.hash(id), keys.key(id), session, deadline_us);
            }
        }
    }

    /// Calls `each` with every key that has changed since this was called last: its hash, the key, and what there is of it;
    /// `None` where there is nothing any more. Not told are its events that wait: see [`SessionMachine::save_waiting`].
    pub fn save(&mut self, each: &mut impl FnMut(u64, &[u8], Option<&SavedSession>)) {
        let Some(unsaved) = &mut self.unsaved else { return };
        let (ids, gone) = (std::mem::take(&mut unsaved.ids), std::mem::take(&mut unsaved.gone));
        gone.iter().for_each(|(hash, key)| each(hash, key, None));
        let keys = self.keys.borrow();
        for id in ids {
            let user = &mut self.users[id as usize];
            if std::mem::take(&mut user.unsaved) {
                user.saved = true;
                let User { started_us, started, .. } = *user;
                each(
                    keys.hash(id),
                    keys.key(id),
                    Some(&SavedSession { open: user.open(), started_us, started, waiting: Vec::new() }),
                );
            }
        }
    }

    /// Calls `each` with every event that has come since this was called last and still waits: its key's hash, the key, and the first
    /// instant at which it does not wait any more.
    pub fn save_waiting(&mut self, each: &mut impl FnMut(u64, &[u8], i64, &SessionEvent)) {
        let Some(unsaved) = &mut self.unsaved else { return };
        let keys = self.keys.borrow();
        // Its memory is let go of: an epoch may have been a long one.
        let waiting = std::mem::take(&mut unsaved.waiting);
        // What has been consumed may have been the last of its key, whose number then is another's.
        for event in waiting.into_iter().filter(|event| event.time_us >= self.passed_us) {
            let until_us = event.time_us.saturating_add(1);
            each(keys.hash(event.key), keys.key(event.key), until_us, &event.event());
        }
    }

    /// Takes back an event that was saved while it waited, before anything that [`SessionMachine::restore`] takes back. `rank` gives
    /// the present rank of a partition by its rank then; where these have moved, it is to be saved anew.
    pub fn restore_waiting(
        &mut self,
        hash: u64,
        key: &[u8],
        saved: SessionEvent,
        rank: impl Fn(u32) -> u32,
        has_moved: bool,
    ) {
        let event = SessionEvent { rank: rank(saved.rank), ..saved };
        if has_moved {
            return self.observe(hash, key, event);
        }
        {
            let keys = Rc::clone(&self.keys);
            let keys = &mut *keys.borrow_mut();
            let id = keys.intern(|| hash, key);
            self.make_room(keys.bound());
            self.hold(keys, id);
            self.pending.push(Waiting::new(id, event));
        }
        if self.pending.len().is_multiple_of(RESTORED_TOGETHER) {
            self.relieve();
        }
    }

    /// Takes back what was saved of a key. `rank` gives the present rank of a partition by its rank then.
    pub fn restore(&mut self, hash: u64, key: &[u8], saved: SavedSession, rank: impl Fn(u32) -> u32) {
        let SavedSession { open, started_us, started, waiting } = saved;
        let is_older = !waiting.is_empty();
        for event in waiting {
            // It is to be saved anew, on its own.
            self.observe(hash, key, SessionEvent { rank: rank(event.rank), ..event });
        }
        let keys = Rc::clone(&self.keys);
        let keys = &mut *keys.borrow_mut();
        let id = keys.intern(|| hash, key);
        self.make_room(keys.bound());
        let timer = match open {
            Some(open) => open.last_us.saturating_add(self.gap_us) >> STEP_BITS,
            None => i64::MIN,
        };
        let user = &mut self.users[id as usize];
        *user = User { started_us, started, timer, saved: true, ..NOBODY };
        match open {
            Some(Open { last_us, events, flagged, .. }) => {
                *user = User { last_us, events, flagged, is_open: true, ..*user };
                self.hold(keys, id);
                self.timers.entry(timer).or_default().push(id);
                self.changed.iter_mut().for_each(|changed| changed.extend([id]));
            }
            // Nothing of it waits any more either.
            None if self.held[id as usize] == 0 => {
                keys.retain(id);
                return Unsaved::release(&mut self.unsaved, keys, id, user);
            }
            None => {}
        }
        if is_older {
            Unsaved::changes(&mut self.unsaved, id, &mut self.users[id as usize]);
        }
    }

    /// How many end markers have found no open session since the last call.
    pub fn take_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.ignored)
    }

    /// How many keys are in use, by others that share them too.
    pub fn keys(&self) -> usize {
        self.keys.borrow().len()
    }

    /// How many events are in no session that is over: those that wait, and those of open sessions.
    pub fn open_events(&self) -> u64 {
        let open: u64 = self.users.iter().filter(|user| user.is_open).map(|user| user.events).sum();
        open + self.pending.len() as u64
    }

    /// How many events wait for the frontier.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }
}

impl Open {
    fn close(self, end_us: i64, reason: EndReason) -> Session {
        let Open { start_us, seq, events, flagged, .. } = self;
        Session { start_us, seq, end_us, reason, events, flagged }
    }
}

impl User {
    /// The open session.
    #[inline]
    fn open(&self) -> Option<Open> {
        let User { started_us: start_us, last_us, events, flagged, started, .. } = *self;
        self.is_open.then(|| Open { start_us, last_us, seq: started - 1, events, flagged })
    }

    fn take(&mut self) -> Option<Open> {
        let open = self.open();
        self.is_open = false;
        open
    }

    /// One event, as the contract tells it.
    fn step(
        &mut self,
        event: &Waiting,
        gap_us: i64,
        ignored: &mut u64,
        close: &mut impl FnMut(Open, i64, EndReason, i64),
    ) {
        let now_us = event.time_us;
        if let Some(open) = self.open()
            && now_us.saturating_sub(open.last_us) >= gap_us
        {
            close(open, open.last_us, EndReason::Timeout, open.last_us.saturating_add(gap_us));
            self.is_open = false;
        }
        match (event.mark, self.open()) {
            (Mark::Join, Some(_)) => self.join(event),
            (Mark::Start, Some(open)) => {
                close(open, open.last_us, EndReason::Restart, now_us);
                self.begin(event);
            }
            (Mark::Join | Mark::Start, None) => self.begin(event),
            (Mark::End, Some(_)) => {
                self.join(event);
                self.take().into_iter().for_each(|open| close(open, now_us, EndReason::Ended, now_us));
            }
            (Mark::End, None) => *ignored += 1,
        }
    }

    fn join(&mut self, event: &Waiting) {
        self.last_us = event.time_us;
        self.events += 1;
        self.flagged += u64::from(event.flagged);
    }

    fn begin(&mut self, event: &Waiting) {
        let now_us = event.time_us;
        let again = self.started_us == now_us && self.started > 0;
        self.started = if again { self.started + 1 } else { 1 };
        (self.started_us, self.last_us) = (now_us, now_us);
        (self.events, self.flagged) = (1, u64::from(event.flagged));
        self.is_open = true;
    }
}
