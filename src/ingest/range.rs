//! A declared range: one named rule about one number.

use std::fmt;

use thiserror::Error;

/// Inclusive bounds, either of which may be missing.
///
/// # Examples
/// ```
/// use tidegate::ingest::Range;
///
/// let humidity = Range::new(Some(0.0), Some(100.0))?;
/// assert!(humidity.holds(100.0) && !humidity.holds(100.1));
/// assert_eq!(humidity.to_string(), "0..100");
/// assert!(Range::new(Some(1.0), Some(0.0)).is_err());
/// # Ok::<(), tidegate::ingest::BadRange>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    min: f64,
    max: f64,
}

/// Bounds between which there is nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("a range needs finite bounds with min <= max, not min {min} and max {max}")]
pub struct BadRange {
    min: f64,
    max: f64,
}

impl Range {
    /// All finite numbers from `min` to `max`, both included; a bound that is missing does not bound.
    ///
    /// # Errors
    /// When a bound is not finite, or no number fits.
    pub fn new(min: Option<f64>, max: Option<f64>) -> Result<Self, BadRange> {
        let (low, high) = (min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX));
        if low.is_finite() && high.is_finite() && low <= high {
            return Ok(Range { min: low, max: high });
        }
        Err(BadRange { min: low, max: high })
    }

    /// Whether `value` is in the range.
    #[inline(always)]
    pub fn holds(&self, value: f64) -> bool {
        self.min <= value && value <= self.max
    }

    /// The lower bound, if there is one.
    pub fn min(&self) -> Option<f64> {
        (self.min > f64::MIN).then_some(self.min)
    }

    /// The upper bound, if there is one.
    pub fn max(&self) -> Option<f64> {
        (self.max < f64::MAX).then_some(self.max)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |bound: Option<f64>| bound.map(|bound| bound.to_string()).unwrap_or_default();
        write!(f, "{}..{}", show(self.min()), show(self.max()))
    }
}
