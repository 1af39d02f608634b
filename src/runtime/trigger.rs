//! Triggers: when results of open windows are wanted before their windows close.

use std::sync::Arc;
use std::time::Duration;

use super::Clock;
use crate::tick::micros;

/// Wants results at the end of an epoch when so much time has passed since it last did; and within epochs, where these are longer.
///
/// Where there are no epochs, in a replay, it wants none.
#[derive(Clone)]
pub struct Trigger {
    every_us: i64,
    clock: Arc<dyn Clock>,
    first: u64,
    last_us: Option<i64>,
    early: Option<Early>,
}

/// Within epochs.
#[derive(Clone)]
struct Early {
    period_us: i64,
    last_us: Option<i64>,
    /// Whether it has fired since it last did at the end of an epoch.
    fired: bool,
}

impl Trigger {
    /// A trigger at every end of an epoch, but not more often than `every` by `clock`, and not before the epoch `first`: what
    /// was decided by an earlier run is given by nobody.
    pub fn new(every: Duration, clock: Arc<dyn Clock>, first: u64) -> Self {
        Trigger { every_us: micros(every), clock, first, last_us: None, early: None }
    }

    /// Wants them also while an epoch goes on, where one lasts longer than `every`: as often as [`Trigger::early_period`] says.
    pub fn within_epochs_of(mut self, interval: Duration) -> Self {
        let every = Duration::from_micros(self.every_us.unsigned_abs());
        let early = |period| Early { period_us: micros(period), last_us: None, fired: false };
        self.early = Trigger::early_period(every, interval).map(early);
        self
    }

    /// How often results are wanted within an epoch of `interval`; `None` where its end is soon enough. Sources hand over what they
    /// have, and windows give what has changed, each so often and neither in step with the other: together that is `every`.
    pub fn early_period(every: Duration, interval: Duration) -> Option<Duration> {
        (every < interval).then(|| every / 2)
    }

    /// Whether results are wanted within epochs.
    pub(crate) fn is_early(&self) -> bool {
        self.early.is_some()
    }

    /// How long it is until results of `epoch` are wanted, which goes on; zero where that is now, and then they are given.
    pub(crate) fn fires_early_in(&mut self, epoch: u64) -> Option<Duration> {
        let Early { period_us, last_us, fired } = self.early.as_mut().filter(|_| epoch >= self.first)?;
        let now_us = self.clock.elapsed_us();
        let left_us = last_us.map_or(0, |last_us| last_us.saturating_add(*period_us).saturating_sub(now_us));
        if left_us > 0 {
            return Some(Duration::from_micros(left_us.unsigned_abs()));
        }
        (*last_us, *fired) = (Some(now_us), true);
        Some(Duration::ZERO)
    }

    /// Whether results are wanted of `epoch`, which ends now: also where it has fired within it, since its end gives all of that again.
    pub(crate) fn fires(&mut self, epoch: u64) -> bool {
        if epoch < self.first {
            return false;
        }
        let now_us = self.clock.elapsed_us();
        let is_due = self.last_us.is_none_or(|last_us| now_us.saturating_sub(last_us) >= self.every_us);
        let fires = self.early.as_mut().is_some_and(|early| std::mem::take(&mut early.fired)) || is_due;
        if fires {
            self.last_us = Some(now_us);
        }
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ManualClock;

    #[test]
    fn fires_first_and_then_not_more_often_than_it_should() {
        let clock = Arc::new(ManualClock::default());
        let mut trigger = Trigger::new(Duration::from_micros(10), Arc::clone(&clock) as Arc<dyn Clock>, 3);
        assert!(!trigger.fires(2));
        let mut fires_at = |now_us| {
            clock.set(now_us);
            trigger.fires(3)
        };
        let fired: Vec<i64> =
            [5, 6, 14, 15, 24, 40, 49, 50].into_iter().filter(|now| fires_at(*now)).collect();
        assert_eq!(fired, [5, 15, 40, 50]);
    }

    #[test]
    fn within_longer_epochs_it_fires_twice_as_often() {
        let (clock, us) = (Arc::new(ManualClock::default()), Duration::from_micros);
        let trigger = Trigger::new(us(10), Arc::clone(&clock) as Arc<dyn Clock>, 3);
        assert_eq!(
            trigger.clone().within_epochs_of(us(10)).fires_early_in(3),
            None,
            "its end is soon enough"
        );
        let mut trigger = trigger.within_epochs_of(us(11));
        assert_eq!(trigger.fires_early_in(2), None, "what was decided is given by nobody");
        let waits = [5, 6, 9, 10, 17, 20, 22].map(|now_us| {
            clock.set(now_us);
            trigger.fires_early_in(3).map(|wait| wait.as_micros())
        });
        assert_eq!(waits, [0, 4, 1, 0, 0, 2, 0].map(Some));
        assert!(trigger.fires(3), "the ends of epochs have a pace of their own");
        clock.set(29);
        assert!(!trigger.fires(3), "which is not over yet");
        assert_eq!(trigger.fires_early_in(4), Some(Duration::ZERO));
        assert!(trigger.fires(4), "what was given within the epoch is given again at its end");
    }
}
