//! Tries again what is not available, with waits that grow and are never the same for two sinks.
//!
//! Waits double from [`Backoff::first`] to [`Backoff::longest`] and each is drawn from its upper half, by a
//! generator that is seeded from outside: no clock and no chance enters here. A change of state is logged once,
//! not each try: a database that is away for an hour leaves two lines.

use std::time::Duration;

use tracing::{info, warn};

use super::SinkError;

/// How often a wait looks whether the run is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How often, and how long after each other, something is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// After so many tries the last error is given up with; `None`: tried until told to stop.
    pub attempts: Option<u32>,
    /// Draws the waits.
    pub seed: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(30));
        Backoff { first, longest, attempts: None, seed: 0 }
    }
}

impl Backoff {
    /// The wait after the given try, counted from 1: between half and all of `first · 2^(tries - 1)`.
    pub fn wait(&self, tries: u32) -> Duration {
        let doubled = self.first.saturating_mul(1_u32 << tries.saturating_sub(1).min(30));
        let most = doubled.min(self.longest);
        // splitmix64: any two of its inputs give outputs that look unrelated.
        let mut bits = self.seed.wrapping_add(u64::from(tries).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        most.mul_f64(0.5 + 0.5 * (bits >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// Does `work` until it succeeds, fails for good, runs out of tries, or `stop` says so.
///
/// # Errors
/// The last error of `work`: one that is not retriable at once, one that is when the tries are over or the run
/// stops.
pub fn retry<T>(
    backoff: &Backoff,
    stop: &dyn Fn() -> bool,
    mut work: impl FnMut() -> Result<T, SinkError>,
) -> Result<T, SinkError> {
    retry_with(backoff, stop, &std::thread::sleep, &mut work)
}

/// Waits before try number `tries + 1`; whether to go on, which `stop` says no to at any time.
pub(crate) fn pause(backoff: &Backoff, tries: u32, stop: &dyn Fn() -> bool) -> bool {
    nap(backoff.wait(tries), stop, &std::thread::sleep)
}

fn nap(mut left: Duration, stop: &dyn Fn() -> bool, sleep: &dyn Fn(Duration)) -> bool {
    while !left.is_zero() && !stop() {
        let nap = left.min(LOOK);
        sleep(nap);
        left -= nap;
    }
    !stop()
}

fn retry_with<T>(
    backoff: &Backoff,
    stop: &dyn Fn() -> bool,
    sleep: &dyn Fn(Duration),
    work: &mut dyn FnMut() -> Result<T, SinkError>,
) -> Result<T, SinkError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match work() {
            Ok(done) => {
                if tries > 1 {
                    info!(tries, "the sink is available again");
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        if !error.is_retriable() || backoff.attempts.is_some_and(|most| tries >= most) || stop() {
            return Err(error);
        }
        if tries == 1 {
            warn!(%error, "trying again until it is available");
        }
        if !nap(backoff.wait(tries), stop, sleep) {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::prelude::*;

    use super::*;

    fn away() -> SinkError {
        SinkError::Unavailable { sink: "s".into(), cause: "away".into() }
    }

    /// Fails `failures` times, then succeeds: the result, the tries, and the waited time.
    fn trial(
        backoff: Backoff,
        failures: u32,
        stop: &dyn Fn() -> bool,
    ) -> (Result<(), SinkError>, u32, Duration) {
        let (tries, waited) = (Cell::new(0), RefCell::new(Duration::ZERO));
        let mut work = || {
            tries.set(tries.get() + 1);
            if tries.get() <= failures { Err(away()) } else { Ok(()) }
        };
        let outcome = retry_with(&backoff, stop, &|nap| *waited.borrow_mut() += nap, &mut work);
        (outcome, tries.get(), waited.into_inner())
    }

    #[test]
    fn comes_through_when_the_sink_comes_back() {
        let (outcome, tries, waited) = trial(Backoff::default(), 5, &|| false);
        assert!(outcome.is_ok());
        assert_eq!(tries, 6);
        // 100 + 200 + 400 + 800 + 1600 ms at most, half of it at least.
        assert!((Duration::from_millis(1550)..=Duration::from_millis(3100)).contains(&waited), "{waited:?}");
    }

    #[test]
    fn gives_up_after_its_tries_and_when_told_to_stop() {
        let bounded = Backoff { attempts: Some(3), ..Backoff::default() };
        assert!(matches!(trial(bounded, 9, &|| false), (Err(SinkError::Unavailable { .. }), 3, _)));
        assert!(matches!(trial(Backoff::default(), 9, &|| true), (Err(_), 1, Duration::ZERO)));
    }

    #[test]
    fn failure_for_good_is_not_tried_again() {
        let mut tries = 0;
        let outcome: Result<(), _> = retry(&Backoff::default(), &|| false, || {
            tries += 1;
            Err(SinkError::Fenced { sink: "s".into(), ours: 1, newer: 2 })
        });
        assert!(matches!(outcome, Err(SinkError::Fenced { .. })));
        assert_eq!(tries, 1);
    }

    proptest! {
        #[test]
        fn waits_stay_in_their_bounds(seed: u64, tries in 1_u32..200) {
            let backoff = Backoff { seed, ..Backoff::default() };
            let most = Duration::from_millis(100).saturating_mul(1 << (tries - 1).min(20)).min(backoff.longest);
            let wait = backoff.wait(tries);
            prop_assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
        }
    }
}
