//! What the answers must be, computed with big rationals and sharing nothing with the code under test.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};
use proptest::prelude::*;

use crate::aggregate::Finite;

/// `value`, which must be finite.
pub(super) fn finite(value: f64) -> Finite {
    Finite::new(value).expect("tests sum finite numbers")
}

/// The number that `value` stands for.
pub(super) fn rational(value: f64) -> BigRational {
    BigRational::from_float(value).expect("a finite number is a rational")
}

/// Σx.
pub(super) fn sum(values: &[f64]) -> BigRational {
    values.iter().map(|&value| rational(value)).sum()
}

/// Σx/n.
pub(super) fn mean(values: &[f64]) -> BigRational {
    sum(values) / BigInt::from(values.len())
}

/// (Σx² − (Σx)²/n)/(n − 1) by its other form, Σ(x − mean)²/(n − 1).
pub(super) fn variance(values: &[f64]) -> BigRational {
    let mean = mean(values);
    let squares: BigRational = values.iter().map(|&x| (rational(x) - &mean).pow(2)).sum();
    squares / BigInt::from(values.len() - 1)
}

/// Asserts that `rounded` is the `f64` nearest to `exact`, ties to even, and no negative zero.
pub(super) fn assert_nearest(rounded: f64, exact: &BigRational) {
    assert!(!rounded.is_nan(), "not a number for {exact}");
    assert_ne!(rounded.to_bits(), (-0.0f64).to_bits(), "negative zero for {exact}");
    let error = distance(rounded, exact);
    for neighbour in [rounded.next_down(), rounded.next_up()] {
        if neighbour.is_infinite() && neighbour.abs() == rounded.abs() {
            continue;
        }
        let other = distance(neighbour, exact);
        let even = rounded.to_bits() & 1 == 0;
        assert!(error < other || (error == other && even), "{rounded:e} for {exact}, not {neighbour:e}");
    }
}

/// How far `value` is from `exact`; an infinity counts as the next power of two, as in IEEE 754's rounding.
fn distance(value: f64, exact: &BigRational) -> BigRational {
    let value = if value.is_infinite() {
        let beyond = BigRational::from(BigInt::one() << 1024);
        if value > 0.0 { beyond } else { -beyond }
    } else {
        rational(value)
    };
    // Beyond an infinity the distance to it is nothing.
    let past = exact.abs() >= BigRational::from(BigInt::one() << 1024);
    if past && value.abs() == BigRational::from(BigInt::one() << 1024) {
        return BigRational::zero();
    }
    (value - exact).abs()
}

/// Any finite `f64`, each bit pattern as likely as another: spread evenly over the exponents.
pub(super) fn any_bits() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite())
}

/// A decimal as a sensor sends it.
pub(super) fn decimal() -> impl Strategy<Value = f64> {
    (-1_000_000i64..1_000_000, 0i32..7).prop_map(|(digits, places)| digits as f64 / 10f64.powi(places))
}

/// Numbers from every corner: decimals, extremes, zeros, ties, and the negatives of each other.
pub(super) fn awkward() -> impl Strategy<Value = f64> {
    let corners = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e308,
        -1e308,
        1e-308,
        -1e-308,
        f64::MAX,
        f64::MIN,
        f64::from_bits(1),
        -f64::from_bits(1),
        f64::MIN_POSITIVE,
        f64::EPSILON,
        9007199254740992.0,
        -9007199254740993.0,
        2f64.powi(-84),
        2f64.powi(-85),
        2f64.powi(105),
        2f64.powi(106),
        2f64.powi(107),
        2f64.powi(43),
    ];
    prop_oneof![
        4 => decimal(),
        3 => any_bits(),
        3 => prop::sample::select(corners.to_vec()),
        1 => (-200i32..200).prop_map(|exponent| 2f64.powi(exponent)),
    ]
}
