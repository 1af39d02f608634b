//! Which detections become alerts, so that the topic of alerts is not flooded, and when one is over.
//!
//! ```text
//!            detection ──► alert                     clear ──► resolve
//!  [quiet] ───────────────────────► [alerting] ────────────────────────► [quiet]
//!     │ within the cooldown: held back   │ detection, the cooldown over: alert again
//! ```
//!
//! All of it is in event time, by (rule, subject), over the judged rows in (window_start, cycle) order.

use serde::{Deserialize, Serialize};

/// What has been told of a (rule, subject).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cooldown {
    alerting: bool,
    last_alert_us: Option<i64>,
}

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Nothing,
    Alert,
    Resolve,
}

impl Cooldown {
    /// A row that starts at `start_us` was judged.
    pub(super) fn judged(&mut self, start_us: i64, detected: bool, cooldown_us: i64) -> Tell {
        if !detected {
            return if std::mem::take(&mut self.alerting) { Tell::Resolve } else { Tell::Nothing };
        }
        if self.last_alert_us.is_some_and(|last_us| start_us.saturating_sub(last_us) < cooldown_us) {
            return Tell::Nothing;
        }
        self.alerting = true;
        self.last_alert_us = Some(start_us);
        Tell::Alert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_apart_by_the_cooldown_and_resolved_once() {
        let mut cooldown = Cooldown::default();
        let mut told = |start_us, detected| cooldown.judged(start_us, detected, 10);
        assert_eq!(told(0, false), Tell::Nothing);
        assert_eq!(told(1, true), Tell::Alert);
        assert_eq!(told(1, true), Tell::Nothing);
        assert_eq!(told(10, true), Tell::Nothing);
        assert_eq!(told(11, true), Tell::Alert);
        assert_eq!(told(12, false), Tell::Resolve);
        assert_eq!(told(13, false), Tell::Nothing);
        // Held back: nobody was told, so nothing is to be resolved.
        assert_eq!(told(14, true), Tell::Nothing);
        assert_eq!(told(15, false), Tell::Nothing);
        assert_eq!(told(21, true), Tell::Alert);
    }
}
