//! The event time that released partitions follow, as worker 0 finds it for all.
//!
//! A released partition lets go of nothing: its worker keeps a capability, which it must be able to send with when the next record comes.
//! So the frontier cannot show how far the *other* partitions are, since it waits for that very capability. Workers
//! therefore tell worker 0 where the partitions stand that do hold windows open, and worker 0 tells all the minimum.
//!
//! What is told is old by a moment. That does no harm: a worker moves its capability to the agreed time only where nothing of its own
//! stands before it, and the floor of a partition that wakes is where its own worker's capability stands.

use super::epochs::Standing;

/// What workers have told.
#[derive(Debug)]
pub(super) struct Agreement {
    /// Of each worker, and the instant of its last record by this worker's clock.
    told: Vec<Option<(Standing, i64)>>,
    agreed_us: i64,
    /// When it was last said.
    said_us: i64,
}

/// How often time is said to pass while all partitions are idle.
const TICK_US: i64 = 100_000;

impl Agreement {
    pub(super) fn new(peers: usize) -> Self {
        Agreement { told: vec![None; peers], agreed_us: i64::MIN, said_us: i64::MIN }
    }

    /// A worker stands there, and has read its last record `quiet_us` ago.
    pub(super) fn note(&mut self, worker: usize, standing: Standing, quiet_us: i64, now_us: i64) {
        self.told[worker] = Some((standing, now_us.saturating_sub(quiet_us)));
    }

    /// The agreed time, if it is to be said now: somebody follows it, and it has moved.
    pub(super) fn news(&mut self, now_us: i64) -> Option<i64> {
        let (agreed_us, is_idle) = self.agree(now_us)?;
        let pause_us = if is_idle { TICK_US } else { 0 };
        if agreed_us <= self.agreed_us || now_us.saturating_sub(self.said_us) < pause_us {
            return None;
        }
        (self.agreed_us, self.said_us) = (agreed_us, now_us);
        Some(agreed_us)
    }

    /// The agreed time, and whether all partitions are idle. `None` before all workers have told, and where nobody follows.
    fn agree(&self, now_us: i64) -> Option<(i64, bool)> {
        if self.told.iter().any(Option::is_none) {
            return None;
        }
        let told = || self.told.iter().flatten();
        if !told().any(|(standing, _)| standing.released) {
            return None;
        }
        if let Some(holding_us) = told().filter_map(|(standing, _)| standing.holding_us).min() {
            return Some((holding_us, false));
        }
        // All are idle: event time goes on as the clock does since the last record.
        let largest_us = told().map(|(standing, _)| standing.largest_us).max()?;
        let read_us = told().map(|(_, read_us)| *read_us).max()?;
        let quiet_us = now_us.saturating_sub(read_us).max(0);
        (largest_us > i64::MIN).then(|| (largest_us.saturating_add(quiet_us), true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(holding_us: Option<i64>, released: bool, largest_us: i64) -> Standing {
        Standing { holding_us, released, largest_us, read_us: 0 }
    }

    #[test]
    fn released_partitions_follow_the_earliest_that_are_not() {
        let mut agreement = Agreement::new(3);
        agreement.note(0, standing(Some(50), false, 90), 0, 0);
        agreement.note(1, standing(None, true, 10), 0, 0);
        assert_eq!(agreement.news(0), None, "a worker has not told yet");
        agreement.note(2, standing(Some(70), true, 70), 0, 0);
        assert_eq!(agreement.news(0), Some(50));
        assert_eq!(agreement.news(0), None, "it is said once");
        agreement.note(0, standing(Some(40), false, 90), 0, 0);
        assert_eq!(agreement.news(0), None, "it never goes back");
        agreement.note(0, standing(Some(80), false, 90), 0, 0);
        assert_eq!(agreement.news(0), Some(70));
    }

    #[test]
    fn nothing_is_said_where_nobody_follows() {
        let mut agreement = Agreement::new(1);
        agreement.note(0, standing(Some(50), false, 90), 0, 0);
        assert_eq!(agreement.news(0), None);
    }

    #[test]
    fn event_time_goes_on_with_the_clock_when_all_are_idle() {
        let mut agreement = Agreement::new(2);
        agreement.note(0, standing(None, true, 900), 300_000, 1_000_000);
        agreement.note(1, standing(None, true, 500), 200_000, 1_000_000);
        assert_eq!(agreement.news(1_000_000), Some(200_900), "200 ms since the last record of all");
        assert_eq!(agreement.news(1_050_000), None, "not at every step");
        assert_eq!(agreement.news(1_100_000), Some(300_900));
    }

    #[test]
    fn without_a_record_there_is_no_event_time_to_go_on() {
        let mut agreement = Agreement::new(1);
        agreement.note(0, standing(None, true, i64::MIN), 0, 0);
        assert_eq!(agreement.news(5_000_000), None);
    }
}
