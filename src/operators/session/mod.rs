//! Sessions per key: by markers (start, end) and by a gap of silence.
//!
//! A key's events are consumed in (event time, partition, offset) order once the frontier has passed them,
//! never in arrival order, so sessions are a function of the log.

mod cold;
mod machine;
mod pending;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

pub use machine::{SavedSession, SessionMachine};

use super::keyed::Owned;
use super::keyed_window::capability_at;
use crate::ingest::Ledger;
use crate::keys::KeyColumn;
use crate::state::{Saver, StateHub};
use crate::tick::{Tick, open_epoch, watermark_us};
use crate::window::Firing;

/// What an event means to its key's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mark {
    /// It belongs to the open session, or opens one.
    Join,
    /// It ends the open session, if there is one, and opens one.
    Start,
    /// It ends the open session; without one it means nothing.
    End,
}

/// An event as sessions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// Event time, µs.
    pub time_us: i64,
    /// The partition's rank.
    pub rank: u32,
    /// The offset in the partition.
    pub offset: i64,
    /// What it means.
    pub mark: Mark,
    /// Whether it is of the kind that [`Session::flagged`] counts.
    pub flagged: bool,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// By an end marker.
    Ended,
    /// By the next start marker.
    Restart,
    /// By a gap of silence.
    Timeout,
    /// It is not: the input has ended first.
    Open,
}

impl EndReason {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Ended => "ended",
            EndReason::Restart => "restart",
            EndReason::Timeout => "timeout",
            EndReason::Open => "open",
        }
    }
}

/// A session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Session {
    /// The time of its first event, µs.
    pub start_us: i64,
    /// 0, 1, … among the key's sessions that start at the same instant, in the order they opened.
    pub seq: u32,
    /// The time of its end marker, or of its last event, µs.
    pub end_us: i64,
    /// Why it is over.
    pub reason: EndReason,
    /// Its events, markers included.
    pub events: u64,
    /// Its flagged events.
    pub flagged: u64,
}

/// Sessions with their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionBlock {
    /// Whether they are over, or open and may be given again, longer.
    pub firing: Firing,
    /// The keys.
    pub keys: KeyColumn,
    /// The sessions, one a key.
    pub sessions: Vec<Session>,
}

impl SessionBlock {
    fn new(firing: Firing) -> Self {
        SessionBlock { firing, keys: KeyColumn::default(), sessions: Vec::new() }
    }

    fn push(&mut self, hash: u64, key: &[u8], session: Session) {
        self.keys.push(hash, key);
        self.sessions.push(session);
    }
}

/// Sessions are timed in steps of 2^22 µs, about four seconds: deadlines are looked at when their step has
/// passed, and sessions that are over in the same step leave together.
const STEP_BITS: u32 = 22;

/// The last instant of the step that `instant_us` lies in.
fn last_of_step(instant_us: i64) -> i64 {
    instant_us | ((1 << STEP_BITS) - 1)
}

/// Extension trait for sessions.
pub trait Sessions<'scope, P> {
    /// Cuts each key's events into sessions, with `gap_us` of silence as the limit.
    ///
    /// `event` says what an event means, `None` where it is not for sessions (late ones are not). Where the sessions are an output
    /// that records meet, `judged` is the ledger and the output's index: events of sessions that are over are settled there, and end
    /// markers that find no open session are refiled as filtered.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | [`Owned`] | at most the event times in it | key |
    /// | out | [`SessionBlock`] | the last instant of the 2^22 µs in which the session is known to be over | key |
    /// # Guarantees
    /// A session leaves once, when the frontier shows that it is over. The session and its timestamp are
    /// functions of the log alone; one that the end of input leaves open has that of its timeout. Where `gives_open`, open
    /// sessions that have changed are given before, as far as they go, at the end of every epoch: by no clock, so that an epoch
    /// that is computed again gives the same.
    /// # State
    /// Events that the frontier has not passed, and one open session a key; freed when it closes. Sessions are saved as
    /// `name`, by key, where they have changed; events that wait once, as "`name`, waiting", when they have come. Beyond the memory limit the events that are furthest from the frontier are on disk.
    /// # Errors
    /// No record is one: late events are left out by the caller. State that cannot be read back, from a checkpoint or from the disk
    /// that it was spilt to, ends the run ([`StateHub::failure`]).
    /// # Source
    /// Akidau et al., *The Dataflow Model*, VLDB 2015, section 1.2 (sessions); markers are ours.
    fn sessions<E>(
        self,
        name: &str,
        gap_us: i64,
        gives_open: bool,
        judged: Option<(Ledger, usize)>,
        state: &StateHub,
        event: E,
    ) -> StreamVec<'scope, Tick, SessionBlock>
    where
        E: Fn(&P) -> Option<SessionEvent> + 'static;
}

impl<'scope, P: 'static> Sessions<'scope, P> for Owned<'scope, P> {
    fn sessions<E>(
        self,
        name: &str,
        gap_us: i64,
        gives_open: bool,
        judged: Option<(Ledger, usize)>,
        state: &StateHub,
        event: E,
    ) -> StreamVec<'scope, Tick, SessionBlock>
    where
        E: Fn(&P) -> Option<SessionEvent> + 'static,
    {
        let Owned { blocks, keys } = self;
        blocks.unary_frontier(Pipeline, name, move |capability, _info| {
            let mut held = CapabilitySet::from_elem(capability);
            let mut machine = SessionMachine::new(gap_us, keys).within(state.budget());
            let (hub, name) = (state.clone(), name.to_owned());
            if gives_open {
                machine = machine.with_open();
            }
            if state.is_kept() {
                machine = machine.saved();
            }
            let (waiting, has_moved) = (format!("{name}, waiting"), state.has_moved());
            let era = state.restore_appended(&waiting, |hash, key, event| {
                machine.restore_waiting(hash, key, event, |rank| state.rank(rank), has_moved);
            });
            state.restore_latest(&name, |hash, key, saved| {
                machine.restore(hash, key, saved, |rank| state.rank(rank));
            });
            if let Some((ledger, output)) = &judged {
                ledger.open(*output, machine.open_events());
            }
            let (mut saver, mut waiting_saver) =
                (Saver::new(state, &name), Saver::appending(state, &waiting));
            let mut final_watermark_us = i64::MIN;
            move |(input, frontier), out| {
                input.for_each(|_time, blocks| {
                    for block in blocks.iter() {
                        machine.observe_all(block, &event);
                        let last_us = block.block().final_watermark_us;
                        final_watermark_us = final_watermark_us.max(last_us.unwrap_or(i64::MIN));
                    }
                });
                let frontier = frontier.frontier();
                let mut closed = BTreeMap::<i64, SessionBlock>::new();
                let mut settled = 0;
                let mut emit = |hash: u64, key: &[u8], session: Session, over_us: i64| {
                    settled += session.events;
                    // A step that the frontier had passed before has no session left to give, so the
                    // capabilities held reach back to every step that is given now.
                    let block = closed.entry(last_of_step(over_us));
                    block.or_insert_with(|| SessionBlock::new(Firing::Final)).push(hash, key, session);
                };
                match watermark_us(frontier) {
                    Some(us) => machine.advance(us, &mut emit),
                    None => machine.finish(final_watermark_us, &mut emit),
                }
                let ignored = machine.take_ignored();
                if let Some((ledger, output)) = &judged {
                    ledger.settle(*output, settled + ignored);
                    ledger.refile_as_filtered(*output, ignored);
                }
                for (at, block) in closed {
                    out.session(&capability_at(&held, at)).give(block);
                }
                saver.passed(open_epoch(frontier), |written| {
                    let mut blocks = BTreeMap::<i64, SessionBlock>::new();
                    machine.changed(&mut |hash, key, session, over_us| {
                        let block = blocks.entry(last_of_step(over_us));
                        block.or_insert_with(|| SessionBlock::new(Firing::Epoch)).push(hash, key, session);
                    });
                    for (at, block) in blocks {
                        out.session(&capability_at(&held, at)).give(block);
                    }
                    machine.save(&mut |hash, key, saved| match saved {
                        Some(saved) => written.put(hash, key, i64::MAX, saved),
                        None => written.remove(hash, key),
                    });
                });
                waiting_saver.passed(open_epoch(frontier), |written| {
                    machine.save_waiting(&mut |hash, key, until_us, event| {
                        written.append(hash, key, until_us, era, event);
                    });
                });
                // What is decided without them must not be.
                if let Some(error) = machine.failure() {
                    hub.fail(&name, error);
                }
                held.downgrade(frontier.iter());
            }
        })
    }
}
