//! Natural numbers as little-endian `u64` limbs, and their one way out: rounding to the nearest `f64`.
//!
//! Only what exact means and deviations need. A number comes with a `scale`: `limbs` stands for
//! Σ `limbs[i]`·2^(64·i − scale). Rounding is to nearest, ties to even, in one step: whatever was cut off
//! before (a remainder of a division) enters as one sticky bit, so that nothing is rounded twice.

/// The `f64` nearest to `limbs`·2^−`scale`; `sticky` says that the true number lies a little above,
/// by less than one unit of `limbs`.
///
/// With `sticky`, `limbs` must have at least 64 significant bits, or the rounding could need bits that are
/// gone.
pub(super) fn nearest(limbs: &[u64], scale: i32, sticky: bool) -> f64 {
    let Some(top) = limbs.iter().rposition(|&limb| limb != 0) else { return 0.0 };
    let below = top.checked_sub(1).map_or(0, |i| limbs[i]);
    let cut = limbs[..top.saturating_sub(1)].iter().any(|&limb| limb != 0);
    let mantissa = u128::from(limbs[top]) << 64 | u128::from(below);
    nearest_scaled(mantissa, 64 * (top as i32 - 1) - scale, sticky || cut)
}

/// The `f64` nearest to `limbs`·2^−`scale` divided by the product of `divisors`, none of which is zero.
pub(super) fn nearest_quotient(limbs: &[u64], scale: i32, divisors: &[u64]) -> f64 {
    // One limb of fraction a divisor keeps the quotient of one at 1 or more; one further limb gives
    // it the 64 significant bits that `nearest` wants beside a sticky bit.
    let fraction = divisors.len() + 1;
    let mut quotient = vec![0; fraction];
    quotient.extend_from_slice(trimmed(limbs));
    let mut sticky = false;
    for &divisor in divisors {
        sticky |= divide_by(&mut quotient, divisor) != 0;
    }
    nearest(&quotient, scale + 64 * fraction as i32, sticky)
}

/// `limbs` without the zero limbs at its top.
pub(super) fn trimmed(limbs: &[u64]) -> &[u64] {
    let len = limbs.iter().rposition(|&limb| limb != 0).map_or(0, |top| top + 1);
    &limbs[..len]
}

/// The product of two numbers.
pub(super) fn product(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut out = vec![0; a.len() + b.len()];
    for (i, &x) in a.iter().enumerate() {
        let mut carry = 0;
        for (j, &y) in b.iter().enumerate() {
            // At most (2^64 − 1)² + 2·(2^64 − 1), which is 2^128 − 1.
            let wide = u128::from(x) * u128::from(y) + u128::from(out[i + j]) + carry;
            out[i + j] = wide as u64;
            carry = wide >> 64;
        }
        out[i + b.len()] = carry as u64;
    }
    out
}

/// `a` − `b` in place; `false`, with `a` spoilt, when `b` is the larger.
pub(super) fn subtract(a: &mut [u64], b: &[u64]) -> bool {
    let b = trimmed(b);
    if a.len() < b.len() {
        return false;
    }
    let mut borrow = false;
    for (i, limb) in a.iter_mut().enumerate() {
        let (difference, first) = limb.overflowing_sub(b.get(i).copied().unwrap_or(0));
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        *limb = difference;
        borrow = first || second;
    }
    !borrow
}

/// Divides in place and returns the remainder.
fn divide_by(limbs: &mut [u64], divisor: u64) -> u64 {
    let mut remainder = 0;
    for limb in limbs.iter_mut().rev() {
        let dividend = u128::from(remainder) << 64 | u128::from(*limb);
        *limb = (dividend / u128::from(divisor)) as u64;
        remainder = (dividend % u128::from(divisor)) as u64;
    }
    remainder
}

/// The `f64` nearest to (`mantissa` + s)·2^`exponent`, where s is 0, or with `sticky` somewhere between 0 and
/// 1.
fn nearest_scaled(mantissa: u128, exponent: i32, sticky: bool) -> f64 {
    /// The exponent of the last bit of the smallest numbers.
    const LEAST: i32 = -1074;
    if mantissa == 0 {
        return 0.0;
    }
    let leading = exponent + 127 - mantissa.leading_zeros() as i32;
    if leading > 1023 {
        return f64::INFINITY;
    }
    let last = (leading - 52).max(LEAST);
    let dropped = last - exponent;
    let kept = match dropped {
        ..=0 => (mantissa << -dropped) as u64,
        // Less than half of the smallest number.
        129.. => return 0.0,
        _ => {
            let half = 1 << (dropped - 1);
            let rest = if dropped == 128 { mantissa } else { mantissa & ((1 << dropped) - 1) };
            let kept = if dropped == 128 { 0 } else { (mantissa >> dropped) as u64 };
            kept + u64::from(rest > half || (rest == half && (sticky || kept & 1 == 1)))
        }
    };
    // `kept` is at most 2^53. Added, rather than or-ed in, its 53rd bit raises the exponent field by one,
    // which is right for normal numbers, subnormal ones and those just rounded up to the next power, infinity
    // included.
    f64::from_bits((((last - LEAST) as u64) << 52) + kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_round_to_nearest_even() {
        let big = 1u64 << 53;
        assert_eq!(nearest(&[big + 1], 0, false), big as f64);
        assert_eq!(nearest(&[big + 3], 0, false), (big + 4) as f64);
        assert_eq!(nearest(&[0, 3], 64, false), 3.0);
        assert_eq!(nearest(&[1, 0, 1 << 53], 128, false), big as f64);
        // One part in 2^200 breaks a tie.
        assert_eq!(nearest(&[1, 0, 0, big + 1], 192, false), (big + 2) as f64);
    }

    #[test]
    fn edges_of_the_range_round_correctly() {
        assert_eq!(nearest(&[1], 1074, false), f64::from_bits(1));
        assert_eq!(nearest(&[1], 1075, false), 0.0, "a tie with zero goes to zero");
        assert_eq!(nearest(&[3], 1076, false), f64::from_bits(1));
        assert_eq!(nearest(&[u64::MAX], 1074 + 65, false), 0.0, "just under half a unit");
        assert_eq!(nearest(&[u64::MAX], 1074 + 64, false), f64::from_bits(1));
        assert_eq!(nearest(&[(1 << 53) - 1], 1075, false), f64::MIN_POSITIVE);
        let most: Vec<u64> = std::iter::repeat_n(0, 15).chain([u64::MAX << 11]).collect();
        assert_eq!(nearest(&most, 0, false), f64::MAX);
        let half_more: Vec<u64> = std::iter::repeat_n(0, 15).chain([u64::MAX << 10]).collect();
        assert_eq!(nearest(&half_more, 0, false), f64::INFINITY);
        let less: Vec<u64> = std::iter::repeat_n(u64::MAX, 15).chain([(u64::MAX << 10) - 1]).collect();
        assert_eq!(nearest(&less, 0, false), f64::MAX);
    }

    #[test]
    fn quotients_are_rounded_once() {
        assert_eq!(nearest_quotient(&[1], 0, &[3]), 1.0 / 3.0);
        assert_eq!(nearest_quotient(&[1], 0, &[u64::MAX, u64::MAX]), 2f64.powi(-128));
        assert_eq!(nearest_quotient(&[], 0, &[7]), 0.0);
        assert_eq!(nearest_quotient(&[10], 0, &[2, 5]), 1.0);
    }

    #[test]
    fn subtraction_says_when_it_cannot() {
        let mut a = [0, 1];
        assert!(subtract(&mut a, &[1]));
        assert_eq!(a, [u64::MAX, 0]);
        assert!(!subtract(&mut [1], &[2]));
        assert!(!subtract(&mut [1], &[0, 1]));
        assert!(subtract(&mut [1], &[1, 0]));
    }
}
