//! A histogram with fixed bounds.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// Seconds that a step of work takes.
pub(super) const WORK_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Seconds from an event to its result.
pub(super) const LATENCY_SECONDS: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0];

/// A histogram's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistogramView {
    /// The upper bounds of the buckets, inclusive; one more bucket has none.
    pub bounds: Vec<f64>,
    /// How many observations fell into each bucket, not cumulated; one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all observations.
    pub sum: f64,
    /// The last observation.
    pub last: Option<f64>,
}

impl HistogramView {
    /// How many observations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// An upper bound of the share `q` of the observations: the bound of the bucket in which it lies, infinite in the
    /// last; `None` where there are none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = (q * self.count() as f64).ceil().max(1.0);
        let mut seen = 0.0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += *count as f64;
            if seen >= wanted {
                return Some(self.bounds.get(at).copied().unwrap_or(f64::INFINITY));
            }
        }
        None
    }
}

/// A histogram that is written by one thread and read by others.
#[derive(Debug)]
pub struct Histogram(Mutex<HistogramView>);

impl Histogram {
    /// Without observations.
    pub fn new(bounds: &[f64]) -> Self {
        let counts = vec![0; bounds.len() + 1];
        Histogram(Mutex::new(HistogramView { bounds: bounds.to_vec(), counts, sum: 0.0, last: None }))
    }

    /// Adds `times` observations of `value`.
    pub fn observe(&self, value: f64, times: u64) {
        let Ok(mut view) = self.0.lock() else { return };
        let bucket = view.bounds.partition_point(|bound| *bound < value);
        view.counts[bucket] += times;
        view.sum += value * times as f64;
        view.last = Some(value);
    }

    /// The state.
    pub fn view(&self) -> HistogramView {
        self.0.lock().map(|view| view.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_whose_bound_is_not_below_it() {
        let histogram = Histogram::new(&[1.0, 2.0]);
        assert_eq!(histogram.view().quantile(0.5), None);
        for (value, times) in [(1.0, 2), (1.5, 1), (2.5, 1)] {
            histogram.observe(value, times);
        }
        let view = histogram.view();
        assert_eq!(view.counts, [2, 1, 1]);
        assert_eq!((view.count(), view.sum, view.last), (4, 6.0, Some(2.5)));
        assert_eq!((view.quantile(0.5), view.quantile(0.75)), (Some(1.0), Some(2.0)));
        assert_eq!(view.quantile(1.0), Some(f64::INFINITY));
    }
}
