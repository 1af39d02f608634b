//! The state of everything, once a second, with rates; and what it was in the last minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::Value;
use tidegate::telemetry::Snapshot;
use tokio::sync::watch;

use super::{Shared, api};

/// How many points are kept for charts: ten minutes.
const KEPT: usize = 600;

/// A pipeline at one second, for charts.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Point {
    /// Seconds since the epoch.
    at: f64,
    /// Records that came in a second.
    input: f64,
    /// Records processed a second.
    processed: f64,
    /// Offsets still to be read.
    lag: u64,
    /// How far event time is behind the clock, in seconds.
    event_time_lag: Option<f64>,
    /// How long the last epoch was open, in seconds.
    epoch_seconds: Option<f64>,
    /// How long the last checkpoint took, in seconds.
    checkpoint_seconds: Option<f64>,
    late: f64,
    rejected: f64,
}

/// What a rate is made of.
#[derive(Clone, Debug, Default)]
struct Totals {
    taken_us: i64,
    read: u64,
    ends: Option<i64>,
    late: u64,
    rejected: u64,
    topics: BTreeMap<String, u64>,
    accepted: u64,
    outputs: BTreeMap<String, u64>,
}

/// Records a second, by what they are records of.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Rates {
    /// Records that came.
    pub(super) input: f64,
    /// Records read.
    pub(super) processed: f64,
    /// Records accepted.
    pub(super) accepted: f64,
    /// Records late for an output.
    pub(super) late: f64,
    /// Records set aside.
    pub(super) rejected: f64,
    /// Records read, by topic.
    pub(super) topics: BTreeMap<String, f64>,
    /// Rows, by output.
    pub(super) outputs: BTreeMap<String, f64>,
}

/// What is told to everybody who listens.
pub(super) struct Feed {
    latest: watch::Sender<Arc<str>>,
    history: Mutex<BTreeMap<String, VecDeque<Point>>>,
    before: Mutex<BTreeMap<String, Totals>>,
}

impl Feed {
    pub(super) fn new() -> Feed {
        Feed { latest: watch::Sender::new("{}".into()), history: Mutex::default(), before: Mutex::default() }
    }

    /// Hears every new state.
    pub(super) fn listen(&self) -> watch::Receiver<Arc<str>> {
        self.latest.subscribe()
    }

    /// The points of all pipelines, the oldest first.
    pub(super) fn history(&self) -> Value {
        let history = self.history.lock().map(|history| history.clone()).unwrap_or_default();
        serde_json::to_value(history).unwrap_or_default()
    }

    /// Takes a second's state, and tells it.
    pub(super) fn tick(&self, shared: &Shared) {
        let state = api::state(shared, |snapshot| self.rates(snapshot));
        // Nobody may be listening.
        self.latest.send_replace(state.to_string().into());
    }

    /// The rates since the second before, which are kept for the charts.
    fn rates(&self, snapshot: &Snapshot) -> Rates {
        let now = totals(snapshot);
        let Ok(mut before) = self.before.lock() else { return Rates::default() };
        let old = before.insert(snapshot.pipeline.clone(), now.clone());
        drop(before);
        let rates = old.map_or_else(Rates::default, |old| rates(&old, &now));
        let point = Point {
            at: snapshot.taken_us as f64 / 1e6,
            input: rates.input,
            processed: rates.processed,
            lag: snapshot.partitions.iter().filter_map(|partition| partition.lag).sum(),
            event_time_lag: snapshot.frontier_us.map(|us| (snapshot.taken_us - us) as f64 / 1e6),
            epoch_seconds: snapshot.epochs.seconds.last,
            checkpoint_seconds: snapshot.epochs.checkpoint_seconds.last,
            late: rates.late,
            rejected: rates.rejected,
        };
        if let Ok(mut history) = self.history.lock() {
            let points = history.entry(snapshot.pipeline.clone()).or_default();
            points.push_back(point);
            if points.len() > KEPT {
                points.pop_front();
            }
        }
        rates
    }
}

fn totals(snapshot: &Snapshot) -> Totals {
    let all = &snapshot.partitions;
    let mut topics = BTreeMap::new();
    for partition in all {
        *topics.entry(partition.topic.clone()).or_insert(0) += partition.read;
    }
    Totals {
        taken_us: snapshot.taken_us,
        read: snapshot.records,
        ends: all.iter().map(|partition| partition.end).sum(),
        late: all.iter().map(|partition| partition.late).sum(),
        rejected: all.iter().flat_map(|partition| partition.rejected.values()).sum(),
        accepted: all.iter().map(|partition| partition.accepted).sum(),
        topics,
        outputs: snapshot.outputs.iter().map(|output| (output.output.clone(), output.rows)).collect(),
    }
}

fn rates(old: &Totals, new: &Totals) -> Rates {
    let seconds = (new.taken_us - old.taken_us) as f64 / 1e6;
    let per_second = |old: u64, new: u64| {
        if seconds > 0.0 { new.saturating_sub(old) as f64 / seconds } else { 0.0 }
    };
    let by_name = |old: &BTreeMap<String, u64>, new: &BTreeMap<String, u64>| {
        let rate =
            |(name, n): (&String, &u64)| (name.clone(), per_second(old.get(name).copied().unwrap_or(*n), *n));
        new.iter().map(rate).collect()
    };
    let processed = per_second(old.read, new.read);
    let arrived = |(old, new): (i64, i64)| per_second(old.max(0).unsigned_abs(), new.max(0).unsigned_abs());
    Rates {
        // A log that ends by itself comes as fast as it is read.
        input: old.ends.zip(new.ends).filter(|_| !new.topics.is_empty()).map_or(processed, arrived),
        processed,
        accepted: per_second(old.accepted, new.accepted),
        late: per_second(old.late, new.late),
        rejected: per_second(old.rejected, new.rejected),
        topics: by_name(&old.topics, &new.topics),
        outputs: by_name(&old.outputs, &new.outputs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_difference_over_the_time_between() {
        let topics = |n| BTreeMap::from([("t".to_owned(), n)]);
        let old =
            Totals { taken_us: 1_000_000, read: 10, ends: Some(20), topics: topics(10), ..Totals::default() };
        let new = Totals { taken_us: 3_000_000, read: 30, ends: Some(24), topics: topics(30), ..old.clone() };
        let got = rates(&old, &new);
        assert_eq!((got.processed, got.input, got.topics["t"]), (10.0, 2.0, 10.0));
        let unknown = rates(&Totals { ends: None, ..old.clone() }, &Totals { ends: None, ..new });
        assert_eq!(unknown.input, 10.0, "a fixture comes as fast as it is read");
        assert_eq!(rates(&old, &old).processed, 0.0);
    }
}
