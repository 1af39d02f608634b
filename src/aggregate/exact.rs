//! The exact sum of finite `f64`s: a function of the multiset of values, whatever their order and grouping.
//!
//! `f64` addition is not associative, so a sum that is taken apart by partition, worker or epoch would depend
//! on how. This one is kept in fixed point, where nothing is lost, and rounded once, when it is read.
//!
//! The inline lane holds 192 bits with their unit at 2^−84: every `f64` from about 2.4·10⁻¹⁰ up, all its 53
//! bits, and sums up to 2^107, about 1.6·10³². What does not fit (10⁻³⁰⁰, 10³⁰⁰) goes to a boxed part with
//! room for all `f64`s; see [`Fixed`]. An accumulator is 32 bytes, and 280 more where a value has needed the
//! box.

use serde::{Deserialize, Serialize};

use super::finite::Finite;
use super::fixed::Fixed;
use super::limbs::{nearest, nearest_quotient};

/// 3 limbs with the unit 2^−84 in 35 with the unit 2^−1108: down to the smallest `f64`'s 2^−1074, up to
/// 2^1024 and 107 bits more for the count.
pub(super) type SumOfValues = Fixed<3, 35, 53, 84, 16>;

/// The exact sum of any multiset of at most 2^64 finite `f64`s.
///
/// # Guarantees
/// * Two sums are `==`, and serialise to the same bytes, exactly when their exact values are the same; so
///   sums of equal multisets are, whatever the order of adding, the grouping by merging, and what was added
///   and retracted meanwhile.
/// * Reading rounds once, to nearest, ties to even, and never gives `-0.0`.
///
/// # Cost
/// An ordinary addition is a handful of integer instructions, 2.2 ns (`benches/aggregate.rs`); 32 bytes.
/// Serialised: about 10 bytes for ordinary data, and a length.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExactSum {
    pub(super) total: SumOfValues,
}

impl ExactSum {
    /// Adds `value`.
    #[inline]
    pub fn add(&mut self, value: Finite) {
        let (negative, mantissa, exponent) = value.parts();
        self.total.add(negative, u128::from(mantissa), exponent);
    }

    /// Takes `value` out again.
    #[inline]
    pub fn retract(&mut self, value: Finite) {
        let (negative, mantissa, exponent) = value.parts();
        self.total.add(!negative, u128::from(mantissa), exponent);
        self.total.settle();
    }

    /// Adds all that `other` has added.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        self.total.combine(&other.total, false);
    }

    /// Takes all that `other` has added out again.
    #[inline]
    pub fn unmerge(&mut self, other: &Self) {
        self.total.combine(&other.total, true);
    }

    /// Whether the exact sum is zero, which does not mean that nothing was added.
    pub fn is_zero(&self) -> bool {
        self.total.is_zero()
    }

    /// The `f64` nearest to the exact sum; infinite only where that is nearest.
    pub fn to_f64(&self) -> f64 {
        self.total.with_magnitude(|negative, limbs, scale| signed(negative, nearest(limbs, scale, false)))
    }

    /// The `f64` nearest to the exact sum divided by `count`; `None` for a count of 0.
    ///
    /// The quotient is rounded, not the sum, so the mean of numbers whose sum is beyond `f64` is right as
    /// well.
    pub fn mean(&self, count: u64) -> Option<f64> {
        (count != 0).then(|| {
            self.total.with_magnitude(|negative, limbs, scale| {
                signed(negative, nearest_quotient(limbs, scale, &[count]))
            })
        })
    }
}

impl std::fmt::Debug for ExactSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExactSum({:e})", self.to_f64())
    }
}

impl Extend<Finite> for ExactSum {
    fn extend<I: IntoIterator<Item = Finite>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.add(value));
    }
}

impl FromIterator<Finite> for ExactSum {
    fn from_iter<I: IntoIterator<Item = Finite>>(values: I) -> Self {
        let mut sum = ExactSum::default();
        sum.extend(values);
        sum
    }
}

/// `magnitude` with its sign; a zero has none.
fn signed(negative: bool, magnitude: f64) -> f64 {
    if negative && magnitude != 0.0 { -magnitude } else { magnitude }
}
