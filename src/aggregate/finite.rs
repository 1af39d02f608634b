//! A finite `f64`: what can be summed, ordered and compared without exceptions.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A finite `f64` in which `-0.0` is read as `0.0`.
///
/// Not-a-number and the infinities have no place in an exact sum and none in an order, so they are turned
/// away here, once, where a value enters, and not by every aggregate. JSON cannot spell them; Protobuf can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
#[repr(transparent)]
pub struct Finite(f64);

/// A number that is not finite; it is to be set aside with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the number is not finite")]
pub struct NotFinite;

impl Finite {
    /// `value`, unless it is infinite or not a number; `-0.0` becomes `0.0`.
    #[inline(always)]
    pub fn new(value: f64) -> Option<Self> {
        // IEEE 754: −0 + 0 is +0 when rounding to nearest; every other value is left as it is.
        value.is_finite().then_some(Finite(value + 0.0))
    }

    /// The number.
    #[inline(always)]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Sign, mantissa below 2^53 and exponent: the number is ±mantissa·2^exponent, exactly.
    #[inline(always)]
    pub(super) fn parts(self) -> (bool, u64, i32) {
        let bits = self.0.to_bits();
        let field = (bits >> 52) as i32 & 0x7ff;
        let normal = field != 0;
        let mantissa = bits & ((1 << 52) - 1) | u64::from(normal) << 52;
        (bits >> 63 == 1, mantissa, field + i32::from(!normal) - 1075)
    }
}

impl TryFrom<f64> for Finite {
    type Error = NotFinite;

    fn try_from(value: f64) -> Result<Self, NotFinite> {
        Finite::new(value).ok_or(NotFinite)
    }
}

impl From<Finite> for f64 {
    fn from(value: Finite) -> f64 {
        value.0
    }
}

impl From<i32> for Finite {
    fn from(value: i32) -> Finite {
        Finite(f64::from(value))
    }
}

impl From<u32> for Finite {
    fn from(value: u32) -> Finite {
        Finite(f64::from(value))
    }
}

// Sound because not-a-number, the one value unequal to itself, is excluded.
impl Eq for Finite {}

impl Ord for Finite {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // Without −0.0 and not-a-number, the total order is the numbers' own.
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Finite {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Finite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_numbers_enter() {
        for refused in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Finite::new(refused), None);
        }
        assert!(serde_json::from_str::<Finite>("null").is_err());
        let nan = bincode::serialize(&f64::NAN).unwrap();
        assert!(bincode::deserialize::<Finite>(&nan).is_err());
    }

    #[test]
    fn negative_zero_is_read_as_zero() {
        assert_eq!(Finite::new(-0.0).unwrap().get().to_bits(), 0);
    }

    #[test]
    fn parts_make_the_number() {
        for value in [1.0, -23.57, f64::MAX, f64::MIN_POSITIVE / 2.0, -f64::MIN_POSITIVE] {
            let (negative, mantissa, exponent) = Finite::new(value).unwrap().parts();
            // In two steps, since 2^exponent alone can be beyond what powi reaches.
            let magnitude = mantissa as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
            assert_eq!(if negative { -magnitude } else { magnitude }, value);
        }
    }
}
