//! One worker at a time, in an order drawn from a seed.
//!
//! Timely's workers of one process are made on threads of their own, which wait for each other. After that they need
//! not run side by side: here a worker runs only while it holds the baton, and hands it to the one that is drawn.
//! What happens is then a function of the seed. Some workers are drawn more often than others, so that some are far
//! behind; the clock moves with each turn, and now and then it is set forward or back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tidegate::runtime::ManualClock;

use crate::generate::random::Random;

const HOUR_US: i64 = 3_600_000_000;

/// Whose turn it is.
pub(super) struct Baton {
    state: Mutex<State>,
    changed: Vec<Condvar>,
}

struct State {
    holder: usize,
    /// How often each is drawn; 0 when it has left.
    weights: Vec<u64>,
    random: Random,
    clock: Arc<ManualClock>,
    now_us: i64,
    clock_steps: bool,
    turns: u64,
    most_turns: u64,
    has_panicked: bool,
}

impl Baton {
    /// A baton for `workers` workers and at most `most_turns` turns.
    pub(super) fn new(
        workers: usize,
        seed: u64,
        clock: &Arc<ManualClock>,
        clock_steps: bool,
        most_turns: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        let weights = (0..workers).map(|_| [1, 4, 4, 16][random.below(4) as usize]).collect();
        let holder = random.below(workers as u64) as usize;
        let now_us = 1_800_000_000_000_000;
        clock.set(now_us);
        let state = State {
            holder,
            weights,
            random,
            clock: Arc::clone(clock),
            now_us,
            clock_steps,
            turns: 0,
            most_turns,
            has_panicked: false,
        };
        Baton { state: Mutex::new(state), changed: (0..workers).map(|_| Condvar::new()).collect() }
    }

    /// Waits until it is `me`'s turn.
    pub(super) fn wait(&self, me: usize) {
        let mut state = self.lock();
        while state.holder != me {
            state = self.changed[me].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends `me`'s turn, and waits for the next.
    pub(super) fn pass(&self, me: usize) {
        if self.next(None) != Some(me) {
            self.wait(me);
        }
    }

    /// How many turns there were.
    pub(super) fn turns(&self) -> u64 {
        self.lock().turns
    }

    /// Whether to give up: a worker has panicked, or there were more turns than any run needs.
    pub(super) fn is_hopeless(&self) -> bool {
        let state = self.lock();
        state.has_panicked || state.turns > state.most_turns
    }

    /// Draws who is next, among those that have not left.
    fn next(&self, leaving: Option<usize>) -> Option<usize> {
        let mut state = self.lock();
        if let Some(me) = leaving {
            state.weights[me] = 0;
            state.has_panicked |= std::thread::panicking();
        }
        state.turns += 1;
        let passed_us = state.random.below(400) as i64;
        state.now_us += passed_us;
        if state.clock_steps && state.random.below(500) == 0 {
            let jump_us = state.random.below(2 * HOUR_US as u64) as i64 - HOUR_US;
            state.now_us += jump_us;
        }
        state.clock.set(state.now_us);
        let total: u64 = state.weights.iter().sum();
        if total == 0 {
            return None;
        }
        let mut drawn = state.random.below(total);
        let next = state.weights.iter().position(|weight| {
            let here = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            here
        });
        state.holder = next.unwrap_or(0);
        self.changed[state.holder].notify_one();
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands the baton on when its worker is done, in whatever way.
pub(super) struct Place<'a> {
    pub(super) baton: &'a Baton,
    pub(super) me: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.baton.next(Some(self.me));
    }
}
