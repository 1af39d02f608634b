//! The state machine of sessions on one worker.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::pending::{Pending, Waiting};
use super::{EndReason, Mark, STEP_BITS, Session, SessionEvent, last_of_step};
use crate::keys::{KeyColumn, KeyTable};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Open {
    start_us: i64,
    last_us: i64,
    seq: u32,
    events: u64,
    flagged: u64,
}

#[derive(Clone, Copy)]
struct User {
    open: Option<Open>,
    /// When the latest session started, and how many have started at that instant.
    started_us: i64,
    started: u32,
    /// The step of the deadline that is kept for the open session.
    timer: i64,
    /// Whether it is noted that it has changed.
    unsaved: bool,
    /// Whether a checkpoint holds something of it.
    saved: bool,
}

const NOBODY: User =
    User { open: None, started_us: i64::MIN, started: 0, timer: i64::MIN, unsaved: false, saved: false };

/// What has changed since it was saved.
#[derive(Default)]
struct Unsaved {
    /// The numbers of keys; where one was given to another key meanwhile, it may be there twice.
    ids: Vec<u32>,
    /// The keys that a checkpoint holds and of which there is nothing any more.
    gone: KeyColumn,
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

/// What is saved of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedSession {
    open: Option<Open>,
    started_us: i64,
    started: u32,
    waiting: Vec<SessionEvent>,
}

/// The sessions of the keys that a worker owns.
pub struct SessionMachine {
    gap_us: i64,
    keys: KeyTable,
    users: Vec<User>,
    /// What holds each key: its events that wait for the frontier, and its open session. Beside the users, so that an event
    /// that comes touches four bytes.
    held: Vec<u32>,
    /// Of a block: its events with their keys' numbers.
    found: Vec<(u32, SessionEvent)>,
    pending: Pending,
    timers: BTreeMap<i64, Vec<u32>>,
    ignored: u64,
    /// `None` where nothing is saved.
    unsaved: Option<Unsaved>,
    /// The numbers of keys whose open sessions have changed since they were given; `None` where they are not.
    changed: Option<BTreeSet<u32>>,
}

impl SessionMachine {
    /// No key seen yet; `gap_us` of silence ends a session.
    pub fn new(gap_us: i64) -> Self {
        SessionMachine {
            gap_us,
            keys: KeyTable::default(),
            users: Vec::new(),
            held: Vec::new(),
            found: Vec::new(),
            pending: Pending::default(),
            timers: BTreeMap::new(),
            ignored: 0,
            unsaved: None,
            changed: None,
        }
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
        self.observe_all([((hash, key), event)]);
    }

    /// Takes many events. First all numbers are found, so that what waits for memory waits together.
    pub fn observe_all<'k>(&mut self, events: impl IntoIterator<Item = ((u64, &'k [u8]), SessionEvent)>) {
        let mut found = std::mem::take(&mut self.found);
        let keys = &mut self.keys;
        found.extend(events.into_iter().map(|((hash, key), event)| (keys.intern(|| hash, key), event)));
        self.make_room();
        for (id, event) in found.drain(..) {
            self.hold(id);
            if self.unsaved.is_some() {
                Unsaved::changes(&mut self.unsaved, id, &mut self.users[id as usize]);
            }
            self.pending.push(id, event);
        }
        self.found = found;
    }

    /// Every key that has a number has a place.
    fn make_room(&mut self) {
        let bound = self.keys.bound();
        if bound > self.users.len() {
            self.users.resize(bound + bound / 4, NOBODY);
            self.held.resize(bound + bound / 4, 0);
        }
    }

    #[inline(always)]
    fn hold(&mut self, id: u32) {
        let held = &mut self.held[id as usize];
        if *held == 0 {
            self.keys.retain(id);
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
    }

    /// The input has ended: consumes all events; a session still open is over by silence if
    /// `final_watermark_us` has reached its last event plus the gap, else it stays open for good. `emit` gets the
    /// same as from [`SessionMachine::advance`], for a session that stays open as if it had timed out.
    pub fn finish(&mut self, final_watermark_us: i64, emit: &mut impl FnMut(u64, &[u8], Session, i64)) {
        self.consume(None, emit);
        self.timers.clear();
        for (id, user) in self.users.iter_mut().enumerate() {
            if let Some(open) = user.open.take() {
                let deadline_us = open.last_us.saturating_add(self.gap_us);
                let silent = final_watermark_us >= deadline_us;
                let reason = if silent { EndReason::Timeout } else { EndReason::Open };
                let session = open.close(open.last_us, reason);
                let id = id as u32;
                emit(self.keys.hash(id), self.keys.key(id), session, deadline_us);
                self.held[id as usize] = 0;
                self.keys.release(id);
            }
        }
    }

    fn consume(&mut self, until_us: Option<i64>, emit: &mut impl FnMut(u64, &[u8], Session, i64)) {
        let SessionMachine { gap_us, keys, users, held, pending, timers, ignored, unsaved, changed, .. } =
            self;
        pending.pass(until_us, |event| {
            let user = &mut users[event.key as usize];
            let mut close = |open: Open, end_us, reason, closed_us| {
                emit(keys.hash(event.key), keys.key(event.key), open.close(end_us, reason), closed_us);
            };
            let was_open = user.open.is_some();
            user.step(event, *gap_us, ignored, &mut close);
            let held = &mut held[event.key as usize];
            *held = *held - 1 + u32::from(user.open.is_some()) - u32::from(was_open);
            Unsaved::changes(unsaved, event.key, user);
            if let Some(open) = user.open {
                if let Some(changed) = changed {
                    changed.insert(event.key);
                }
                if user.timer == i64::MIN {
                    user.timer = open.last_us.saturating_add(*gap_us) >> STEP_BITS;
                    timers.entry(user.timer).or_default().push(event.key);
                }
            } else if *held == 0 {
                // No session of this key can start at an instant that has passed, so nothing of it need stay.
                Unsaved::release(unsaved, keys, event.key, user);
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
        let Some(open) = user.open else { return };
        let deadline_us = open.last_us.saturating_add(self.gap_us);
        if deadline_us <= watermark_us {
            user.open = None;
            let session = open.close(open.last_us, EndReason::Timeout);
            emit(self.keys.hash(id), self.keys.key(id), session, deadline_us);
            let held = &mut self.held[id as usize];
            *held -= 1;
            match *held {
                0 => Unsaved::release(&mut self.unsaved, &mut self.keys, id, user),
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
        for id in self.changed.as_mut().map(std::mem::take).unwrap_or_default() {
            // One that is over by now has been given as that.
            if let Some(open) = self.users[id as usize].open {
                let session = open.close(open.last_us, EndReason::Open);
                let deadline_us = open.last_us.saturating_add(self.gap_us);
                emit(self.keys.hash(id), self.keys.key(id), session, deadline_us);
            }
        }
    }

    /// Calls `each` with every key that has changed since this was called last: its hash, the key, and what there is of it;
    /// `None` where there is nothing any more.
    pub fn save(&mut self, each: &mut impl FnMut(u64, &[u8], Option<&SavedSession>)) {
        let Unsaved { ids, gone } = self.unsaved.as_mut().map(std::mem::take).unwrap_or_default();
        gone.iter().for_each(|(hash, key)| each(hash, key, None));
        let mut changed = HashMap::<u32, Vec<SessionEvent>>::with_capacity(ids.len());
        for id in ids {
            if std::mem::take(&mut self.users[id as usize].unsaved) {
                changed.insert(id, Vec::new());
            }
        }
        for &Waiting { time_us, offset, rank, key, mark, flagged } in self.pending.iter() {
            if let Some(waiting) = changed.get_mut(&key) {
                waiting.push(SessionEvent { time_us, rank, offset, mark, flagged });
            }
        }
        for (id, waiting) in changed {
            let user = &mut self.users[id as usize];
            user.saved = true;
            let User { open, started_us, started, .. } = *user;
            let saved = SavedSession { open, started_us, started, waiting };
            each(self.keys.hash(id), self.keys.key(id), Some(&saved));
        }
    }

    /// Takes back what was saved of a key. `rank` gives the present rank of a partition by its rank then; where these have
    /// moved, it is to be saved anew.
    pub fn restore(
        &mut self,
        hash: u64,
        key: &[u8],
        saved: SavedSession,
        rank: impl Fn(u32) -> u32,
        has_moved: bool,
    ) {
        let SavedSession { open, started_us, started, waiting } = saved;
        let id = self.keys.intern(|| hash, key);
        self.make_room();
        self.keys.retain(id);
        self.held[id as usize] = waiting.len() as u32 + u32::from(open.is_some());
        let timer = match open {
            Some(open) => open.last_us.saturating_add(self.gap_us) >> STEP_BITS,
            None => i64::MIN,
        };
        if open.is_some() {
            self.timers.entry(timer).or_default().push(id);
            self.changed.iter_mut().for_each(|changed| changed.extend([id]));
        }
        let user = &mut self.users[id as usize];
        *user = User { open, started_us, started, timer, unsaved: false, saved: true };
        if has_moved && !waiting.is_empty() {
            Unsaved::changes(&mut self.unsaved, id, user);
        }
        for event in waiting {
            self.pending.push(id, SessionEvent { rank: rank(event.rank), ..event });
        }
    }

    /// How many end markers have found no open session since the last call.
    pub fn take_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.ignored)
    }

    /// How many keys have an open session or a waiting event.
    pub fn keys(&self) -> usize {
        self.keys.len()
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
    /// One event, as the contract tells it.
    fn step(
        &mut self,
        event: &Waiting,
        gap_us: i64,
        ignored: &mut u64,
        close: &mut impl FnMut(Open, i64, EndReason, i64),
    ) {
        let now_us = event.time_us;
        if let Some(open) = self.open
            && now_us.saturating_sub(open.last_us) >= gap_us
        {
            close(open, open.last_us, EndReason::Timeout, open.last_us.saturating_add(gap_us));
            self.open = None;
        }
        match (event.mark, &mut self.open) {
            (Mark::Join, Some(open)) => {
                open.last_us = now_us;
                open.events += 1;
                open.flagged += u64::from(event.flagged);
            }
            (Mark::Start, Some(open)) => {
                close(*open, open.last_us, EndReason::Restart, now_us);
                self.begin(event);
            }
            (Mark::Join | Mark::Start, None) => self.begin(event),
            (Mark::End, Some(open)) => {
                open.events += 1;
                open.flagged += u64::from(event.flagged);
                close(*open, now_us, EndReason::Ended, now_us);
                self.open = None;
            }
            (Mark::End, None) => *ignored += 1,
        }
    }

    fn begin(&mut self, event: &Waiting) {
        let now_us = event.time_us;
        let again = self.started_us == now_us && self.started > 0;
        let seq = if again { self.started } else { 0 };
        self.started_us = now_us;
        self.started = seq + 1;
        let flagged = u64::from(event.flagged);
        self.open = Some(Open { start_us: now_us, last_us: now_us, seq, events: 1, flagged });
    }
}
