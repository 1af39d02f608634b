//! Rolling baselines: the mean and sample deviation of the last values, and Pearson's correlation of the last
//! pairs, for rules that compare a value with those before it.
//!
//! Plain state for [`super::ordered`]: a baseline is only as reproducible as the order it is fed in. Sums are exact
//! ([`Moments`], [`ExactSum`]), so that a value that leaves the baseline leaves nothing behind, not even a
//! rounding error.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::aggregate::{ExactSum, Finite, Moments};

/// The last values of a series, with their exact moments.
///
/// # Shape
/// None: plain state for a [`Machine`](super::ordered::Machine), and no dataflow operator.
/// # Guarantees
/// A function of the values that are in; one that has left leaves nothing behind. What is read depends on the
/// multiset of them, not on their order.
/// # State
/// The values that are in and their moments; serialised where the machine's state is.
/// # Errors
/// None: a [`Finite`] is neither infinite nor NaN.
/// # Source
/// None of its own; sums as in [`Moments`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RollingMoments {
    values: VecDeque<Finite>,
    moments: Moments,
}

impl RollingMoments {
    /// Adds a value; the oldest ones leave until at most `size` are in.
    pub fn push(&mut self, value: Finite, size: usize) {
        self.values.push_back(value);
        self.moments.add(value);
        while self.values.len() > size {
            if let Some(oldest) = self.values.pop_front() {
                self.moments.retract(oldest);
            }
        }
    }

    /// How many values are in.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The `f64` nearest to the exact mean, and the sample deviation; `None` without a value.
    pub fn mean_and_deviation(&self) -> Option<(f64, f64)> {
        Some((self.moments.mean()?, self.moments.deviation()?))
    }
}

/// The last pairs of two series.
///
/// # Shape
/// None: plain state for a [`Machine`](super::ordered::Machine), and no dataflow operator.
/// # Guarantees
/// A function of the pairs that are in; what is read depends on the multiset of them, not on their order.
/// # State
/// The pairs that are in; reading visits each twice.
/// # Errors
/// None: where there is no coefficient, it is `None`.
/// # Source
/// Pearson, *Note on Regression and Inheritance in the Case of Two Parents*, Proc. Royal Society 1895.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RollingPairs(VecDeque<(Finite, Finite)>);

impl RollingPairs {
    /// Adds a pair; the oldest ones leave until at most `size` are in.
    pub fn push(&mut self, x: Finite, y: Finite, size: usize) {
        self.0.push_back((x, y));
        while self.0.len() > size {
            self.0.pop_front();
        }
    }

    /// How many pairs are in.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pearson's correlation coefficient; `None` where a series does not vary, or a product or sum is beyond `f64`.
    ///
    /// With dx and dy the differences from the means (each the `f64` nearest to the exact one), it is
    /// Σdx·dy / (√Σdx² · √Σdy²). Products are `f64`, their sums exact and rounded once: it does not depend on
    /// the order.
    pub fn correlation(&self) -> Option<f64> {
        let mean = |of: fn(&(Finite, Finite)) -> Finite| {
            self.0.iter().map(of).collect::<ExactSum>().mean(self.0.len() as u64)
        };
        let (mean_x, mean_y) = (mean(|pair| pair.0)?, mean(|pair| pair.1)?);
        let (mut xy, mut xx, mut yy) = (ExactSum::default(), ExactSum::default(), ExactSum::default());
        for (x, y) in &self.0 {
            let (dx, dy) = (x.get() - mean_x, y.get() - mean_y);
            xy.add(Finite::new(dx * dy)?);
            xx.add(Finite::new(dx * dx)?);
            yy.add(Finite::new(dy * dy)?);
        }
        let r = xy.to_f64() / (xx.to_f64().sqrt() * yy.to_f64().sqrt());
        // A series that does not vary divides by 0; rounding can lead a little beyond 1.
        r.is_finite().then_some(r.clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finite(value: f64) -> Finite {
        Finite::new(value).unwrap()
    }

    #[test]
    fn perfect_and_no_correlation() {
        let mut pairs = RollingPairs::default();
        assert_eq!(pairs.correlation(), None);
        for i in 0..10 {
            pairs.push(finite(f64::from(i)), finite(f64::from(-2 * i)), 10);
        }
        assert_eq!(pairs.correlation(), Some(-1.0));
        for _ in 0..10 {
            pairs.push(finite(1.0), finite(2.0), 10);
        }
        assert_eq!((pairs.len(), pairs.correlation()), (10, None));
    }

    proptest! {
        /// What has left leaves nothing behind: the state is that of the last values alone.
        #[test]
        fn baseline_is_that_of_the_last_values(
            values in prop::collection::vec(-1e12_f64..1e12, 0..40),
            size in 1_usize..12,
        ) {
            let mut rolling = RollingMoments::default();
            values.iter().for_each(|value| rolling.push(finite(*value), size));
            let mut fresh = RollingMoments::default();
            let last = &values[values.len().saturating_sub(size)..];
            last.iter().for_each(|value| fresh.push(finite(*value), usize::MAX));
            prop_assert_eq!(&rolling, &fresh);
            prop_assert_eq!(rolling.len(), last.len());
        }

        #[test]
        fn correlation_does_not_depend_on_the_order(
            mut pairs in prop::collection::vec((-1e3_f64..1e3, -1e3_f64..1e3), 2..30),
        ) {
            let of = |pairs: &[(f64, f64)]| {
                let mut rolling = RollingPairs::default();
                pairs.iter().for_each(|(x, y)| rolling.push(finite(*x), finite(*y), 60));
                rolling.correlation().map(f64::to_bits)
            };
            let straight = of(&pairs);
            pairs.reverse();
            prop_assert_eq!(straight, of(&pairs));
        }
    }
}
