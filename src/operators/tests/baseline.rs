//! Rolling baselines against plain loops over the rows before.

use proptest::prelude::*;

use crate::aggregate::Finite;
use crate::operators::baseline::{RollingMoments, RollingPairs};

/// How far a loop in `f64` may be from what is exact, in parts of one and of the value itself.
///
/// Readings are tenths up to 100 and a baseline has at most 60 of them, so that a loop's sums are off by some
/// 10⁻¹², and what varies does so by a hundredth at least: scores and correlations are off by some 10⁻¹⁰.
const TOLERANCE: f64 = 1e-9;

fn is_close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= TOLERANCE * (1.0 + expected.abs())
}

fn finite(value: f64) -> Finite {
    Finite::new(value).expect("a reading is finite")
}

/// Readings in tenths, each some times in a row, as a sensor that is stuck for a while repeats them.
fn readings() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-1_000_i32..=1_000, 1_usize..8), 0..40).prop_map(|runs| {
        let run = |(tenths, times): (i32, usize)| std::iter::repeat_n(f64::from(tenths) / 10.0, times);
        runs.into_iter().flat_map(run).collect()
    })
}

fn varies(values: &[f64]) -> bool {
    values.iter().any(|value| *value != values[0])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Σ(x − mean)².
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// The sample deviation; 0 of one value.
fn deviation(values: &[f64]) -> f64 {
    if values.len() > 1 { (squares(values) / (values.len() - 1) as f64).sqrt() } else { 0.0 }
}

/// Pearson's correlation; `None` where a series does not vary.
fn correlation(xs: &[f64], ys: &[f64]) -> Option<f64> {
    let (mean_x, mean_y) = (mean(xs), mean(ys));
    let products: f64 = xs.iter().zip(ys).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (varies(xs) && varies(ys)).then(|| products / (squares(xs) * squares(ys)).sqrt())
}

proptest! {
    #[test]
    fn mean_deviation_and_score_are_those_of_a_loop_over_the_rows_before(
        values in readings(), size in 1_usize..=60,
    ) {
        let mut rolling = RollingMoments::default();
        for (at, value) in values.iter().enumerate() {
            let before = &values[at.saturating_sub(size)..at];
            prop_assert_eq!(rolling.len(), before.len());
            let found = rolling.mean_and_deviation();
            rolling.push(finite(*value), size);
            let Some((found_mean, found_deviation)) = found else {
                prop_assert!(before.is_empty());
                continue;
            };
            let (mean, deviation) = (mean(before), deviation(before));
            prop_assert!(is_close(found_mean, mean), "mean {} for {}", found_mean, mean);
            let spread = (found_deviation, deviation);
            prop_assert!(is_close(found_deviation, deviation), "deviations {:?}", spread);
            // A stuck sensor has no deviation at all, not a rounding error: then nothing has a score.
            prop_assert_eq!(found_deviation > 0.0, varies(before));
            if varies(before) {
                let (found, score) = ((value - found_mean) / found_deviation, (value - mean) / deviation);
                prop_assert!(is_close(found, score), "score {} for {}", found, score);
            }
        }
    }

    #[test]
    fn correlation_is_that_of_a_loop_over_the_last_pairs(
        xs in readings(), ys in readings(), size in 1_usize..=60,
    ) {
        let mut rolling = RollingPairs::default();
        for (at, (x, y)) in xs.iter().zip(&ys).enumerate() {
            rolling.push(finite(*x), finite(*y), size);
            let last = (at + 1).saturating_sub(size)..at + 1;
            prop_assert_eq!(rolling.len(), last.len());
            let (found, expected) = (rolling.correlation(), correlation(&xs[last.clone()], &ys[last]));
            prop_assert_eq!(found.is_some(), expected.is_some());
            if let Some((found, expected)) = found.zip(expected) {
                prop_assert!(is_close(found, expected), "correlation {} for {}", found, expected);
            }
        }
    }
}
