//! Triggers: when results of open windows are wanted before their windows close.

use std::sync::Arc;
use std::time::Duration;

use super::Clock;
use crate::tick::micros;

/// Wants results at the end of an epoch when so much time has passed since it last did.
///
/// Where there are no epochs, in a replay, it wants none.
#[derive(Clone)]
pub struct Trigger {
    every_us: i64,
    clock: Arc<dyn Clock>,
    first: u64,
    last_us: Option<i64>,
}

impl Trigger {
    /// A trigger at every end of an epoch, but not more often than `every` by `clock`, and not before the epoch `first`: what
    /// was decided by an earlier run is given by nobody.
    pub fn new(every: Duration, clock: Arc<dyn Clock>, first: u64) -> Self {
        Trigger { every_us: micros(every), clock, first, last_us: None }
    }

    /// Whether results are wanted of `epoch`, which ends now.
    pub(crate) fn fires(&mut self, epoch: u64) -> bool {
        if epoch < self.first {
            return false;
        }
        let now_us = self.clock.elapsed_us();
        let fires = self.last_us.is_none_or(|last_us| now_us.saturating_sub(last_us) >= self.every_us);
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
}
