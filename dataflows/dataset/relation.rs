//! The training set as a relation that changes: seconds by cycle, summed up, joined with labels.
//!
//! ```text
//! seconds (cycle, second) ─► reduce by cycle ─┬─► left join ─► rows
//! labels  (cycle, label)  ────────────────────┘
//! ```
//!
//! A corrected label takes one row out and puts one in, without a look at any second ([`LeftJoin`]), and a late second computes
//! its own cycle again and no other. Values are kept as the bits of
//! their `f64`s, since a relation must be ordered; statistics are exact sums, rounded once, and so a function of the set.

use std::sync::{Arc, Mutex, PoisonError};

use differential_dataflow::input::InputSession;
use serde::{Deserialize, Serialize};
use tidegate::aggregate::{Finite, Moments};
use tidegate::operators::left_join::LeftJoin;

use super::Label;

/// The bits that stand for no value: a NaN that no arithmetic makes.
const ABSENT: u64 = u64::MAX;

/// The statistics of a feature over a cycle.
pub const STATISTICS: [&str; 4] = ["mean", "min", "max", "std"];

/// A second of a cycle: a row of the lake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Second {
    /// Where it starts, µs.
    pub start_us: i64,
    /// Its features.
    features: Vec<u64>,
}

impl Second {
    /// A second that starts at `start_us`; a value that is not finite counts as none.
    pub fn new(start_us: i64, features: impl IntoIterator<Item = Option<f64>>) -> Self {
        let bits = |value: Option<f64>| match value.filter(|value| value.is_finite()) {
            Some(value) => (value + 0.0).to_bits(),
            None => ABSENT,
        };
        Second { start_us, features: features.into_iter().map(bits).collect() }
    }

    /// Its features.
    pub fn features(&self) -> impl Iterator<Item = Option<f64>> {
        self.features.iter().map(|&bits| (bits != ABSENT).then(|| f64::from_bits(bits)))
    }
}

/// A row of the training set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrainingRow {
    /// The cycle.
    pub cycle: i64,
    /// Where its first second starts, µs.
    pub start_us: i64,
    /// How many seconds of it there are.
    pub seconds: u32,
    /// Its condition; `None` where nobody says.
    pub label: Option<Label>,
    statistics: Vec<u64>,
}

impl TrainingRow {
    /// The statistics: those of the first feature in the order of [`STATISTICS`], those of the second, and so on.
    pub fn statistics(&self) -> impl Iterator<Item = Option<f64>> {
        self.statistics.iter().map(|&bits| (bits != ABSENT).then(|| f64::from_bits(bits)))
    }
}

/// What a step changes: what is put in (1) and taken out (−1).
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Seconds by cycle.
    pub seconds: Vec<(i64, Second, isize)>,
    /// Labels by cycle.
    pub labels: Vec<(i64, Label, isize)>,
}

/// Rows that a step puts in (1) and takes out (−1).
pub type Changes = Vec<(TrainingRow, isize)>;

type Summed = (i64, u32, Vec<u64>);

fn sum_up(seconds: &[(&Second, isize)]) -> Summed {
    let start_us = seconds.iter().map(|(second, _)| second.start_us).min().unwrap_or(0);
    let width = seconds.iter().map(|(second, _)| second.features.len()).max().unwrap_or(0);
    let mut statistics = Vec::with_capacity(width * STATISTICS.len());
    for feature in 0..width {
        let mut moments = Moments::default();
        let mut extremes: Option<(Finite, Finite)> = None;
        let values = seconds.iter().filter_map(|(second, _)| second.features.get(feature));
        // The bits that stand for none are not finite, so they fall out here.
        for value in values.filter_map(|&bits| Finite::new(f64::from_bits(bits))) {
            moments.add(value);
            let (min, max) = extremes.unwrap_or((value, value));
            extremes = Some((min.min(value), max.max(value)));
        }
        let bits = |value: Option<f64>| value.map_or(ABSENT, f64::to_bits);
        statistics.extend([
            bits(moments.mean()),
            bits(extremes.map(|(min, _)| min.get())),
            bits(extremes.map(|(_, max)| max.get())),
            bits(moments.deviation()),
        ]);
    }
    (start_us, seconds.len() as u32, statistics)
}

/// Keeps the relation on `workers` threads: asks `next` for steps, each time with what the one before has changed,
/// until it gives none.
///
/// # Errors
/// When the threads cannot be started.
pub fn maintain<F>(workers: usize, next: F) -> Result<(), String>
where
    F: FnMut(Changes) -> Option<Step> + Send + 'static,
{
    let changed: Arc<Mutex<Changes>> = Arc::default();
    let next = Arc::new(Mutex::new(Some(next)));
    let config = match workers {
        0 | 1 => timely::Config::thread(),
        workers => timely::Config::process(workers),
    };
    let guards = timely::execute(config, move |worker| {
        let (mut seconds, mut labels) = (InputSession::new(), InputSession::new());
        let into = Arc::clone(&changed);
        let probe = worker.dataflow::<u64, _, _>(|scope| {
            let by_cycle = seconds.to_collection(scope);
            let summed = by_cycle.reduce(|_cycle, seconds, output| output.push((sum_up(seconds), 1)));
            let rows =
                summed.left_join(labels.to_collection(scope)).inspect(move |((cycle, row), _, diff)| {
                    let ((start_us, seconds, statistics), label): (Summed, Option<Label>) = row.clone();
                    let row = TrainingRow { cycle: *cycle, start_us, seconds, label, statistics };
                    into.lock().unwrap_or_else(PoisonError::into_inner).push((row, *diff));
                });
            rows.probe().0
        });
        let next = (worker.index() == 0).then(|| next.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(mut next) = next.flatten() {
            let mut time = 0;
            loop {
                let all = std::mem::take(&mut *changed.lock().unwrap_or_else(PoisonError::into_inner));
                let Some(step) = next(all) else { break };
                step.seconds
                    .into_iter()
                    .for_each(|(cycle, second, diff)| seconds.update((cycle, second), diff));
                step.labels.into_iter().for_each(|(cycle, label, diff)| labels.update((cycle, label), diff));
                time += 1;
                seconds.advance_to(time);
                labels.advance_to(time);
                seconds.flush();
                labels.flush();
                while probe.less_than(&time) {
                    worker.step_or_park(None);
                }
            }
        }
        // Dropping the inputs ends the dataflow, on the other workers too.
        drop((seconds, labels));
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    })?;
    guards.join().into_iter().collect::<Result<Vec<_>, _>>().map(drop)
}
