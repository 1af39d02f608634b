//! The numbered steps of a life: every change and every look at storage and at sinks asks here first.
//!
//! A life that is to die at step `n` does the effects of the steps before it and none after: from `n` on everything
//! is refused, as if the process were gone. What a step says may be refused for a while without a death, too: a full
//! disk, a server that restarts, an answer that is lost.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::generate::random::Random;

/// Why a step was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The process is dead.
    Dead,
    /// The device or the server refuses, for now.
    Refused,
}

/// Counts steps, and says where a life ends.
#[derive(Debug)]
pub(super) struct Steps(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    taken: u64,
    dies_at: Option<u64>,
    dead: bool,
    /// One step in so many is refused; 0: none.
    refused_every: u64,
    random: Random,
    last: String,
    /// FNV-1a over all steps of all lives: two runs that did the same have the same.
    trace: u64,
}

impl Steps {
    pub(super) fn new() -> Self {
        Steps(Mutex::new(Inner {
            taken: 0,
            dies_at: None,
            dead: false,
            refused_every: 0,
            random: Random::new(0),
            last: String::new(),
            trace: 0xcbf2_9ce4_8422_2325,
        }))
    }

    /// A new life, which dies at its step `dies_at`.
    pub(super) fn begin(&self, dies_at: Option<u64>, refused_every: u64, seed: u64) {
        let mut inner = self.lock();
        (inner.taken, inner.dead, inner.dies_at) = (0, false, dies_at);
        (inner.refused_every, inner.random) = (refused_every, Random::new(seed));
    }

    /// One step is about to be done.
    pub(super) fn step(&self, what: &str, name: &str) -> Result<(), Cut> {
        let mut inner = self.lock();
        if inner.dead || inner.dies_at == Some(inner.taken) {
            if !inner.dead {
                inner.last = format!("{what} {name}");
            }
            inner.dead = true;
            return Err(Cut::Dead);
        }
        inner.taken += 1;
        for byte in what.bytes().chain(name.bytes()) {
            inner.trace = (inner.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let every = inner.refused_every;
        if every > 0 && inner.random.below(every) == 0 {
            return Err(Cut::Refused);
        }
        Ok(())
    }

    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// How many steps this life has done.
    pub(super) fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// The step that the last death came before.
    pub(super) fn last(&self) -> String {
        self.lock().last.clone()
    }

    pub(super) fn trace(&self) -> u64 {
        self.lock().trace
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
