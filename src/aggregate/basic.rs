//! Counts and the numeric aggregates: groups as well as monoids, so that their running form is themselves.

use serde::{Deserialize, Serialize};

use super::exact::ExactSum;
use super::finite::Finite;
use super::moments::Moments;
use super::{Aggregate, Retract};

/// How many inputs there are.
///
/// Modulo 2^64, which keeps it a group; no log is that long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(u64);

impl Aggregate for Count {
    type Input<'a> = ();
    type Output = u64;

    #[inline]
    fn is_identity(&self) -> bool {
        self.0 == 0
    }

    #[inline]
    fn add(&mut self, (): ()) {
        self.0 = self.0.wrapping_add(1);
    }

    #[inline]
    fn merge(&mut self, other: &Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    #[inline]
    fn output(&self) -> u64 {
        self.0
    }
}

impl Retract for Count {
    type Running = Self;

    fn enter(running: &mut Self, partial: &Self) {
        running.merge(partial);
    }

    fn leave(running: &mut Self, partial: &Self) {
        running.0 = running.0.wrapping_sub(partial.0);
    }

    fn is_empty(running: &Self) -> bool {
        running.is_identity()
    }

    fn read(running: &Self) -> u64 {
        running.output()
    }
}

/// An exact sum and the count of its values, without which a sum of 1 and −1 would look like no input at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Total {
    count: u64,
    sum: ExactSum,
}

impl Total {
    #[inline]
    fn add(&mut self, value: Finite) {
        self.count = self.count.wrapping_add(1);
        self.sum.add(value);
    }

    fn merge(&mut self, other: &Self) {
        self.count = self.count.wrapping_add(other.count);
        self.sum.merge(&other.sum);
    }

    fn unmerge(&mut self, other: &Self) {
        self.count = self.count.wrapping_sub(other.count);
        self.sum.unmerge(&other.sum);
    }

    fn count(&self) -> u64 {
        self.count
    }
}

/// The sum: the `f64` nearest to the exact one; `None` without input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sum(Total);

/// The mean: the `f64` nearest to the exact one; `None` without input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Avg(Total);

/// The sample standard deviation, as [`Moments::deviation`]; `None` without input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StdDev(Moments);

/// Count, sum, mean and deviation of the same values, from one [`Moments`]; `None` without input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Describe(Moments);

/// What [`Describe`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Description {
    /// How many values.
    pub count: u64,
    /// The `f64` nearest to their sum.
    pub sum: f64,
    /// The `f64` nearest to their mean.
    pub mean: f64,
    /// Their sample standard deviation; 0.0 for one value.
    pub deviation: f64,
}

fn describe(moments: &Moments) -> Option<Description> {
    let (mean, deviation) = (moments.mean()?, moments.deviation()?);
    Some(Description { count: moments.count(), sum: moments.sum().to_f64(), mean, deviation })
}

/// Makes aggregates of types around something that counts, adds, merges and unmerges.
macro_rules! numeric {
    ($($aggregate:ident -> $output:ty: $read:expr;)*) => {$(
        impl Aggregate for $aggregate {
            type Input<'a> = Finite;
            type Output = Option<$output>;

            #[inline]
            fn is_identity(&self) -> bool {
                self.0.count() == 0
            }

            #[inline]
            fn add(&mut self, value: Finite) {
                self.0.add(value);
            }

            #[inline]
            fn merge(&mut self, other: &Self) {
                self.0.merge(&other.0);
            }

            fn output(&self) -> Option<$output> {
                if self.is_identity() { None } else { $read(&self.0) }
            }
        }

        impl Retract for $aggregate {
            type Running = Self;

            fn enter(running: &mut Self, partial: &Self) {
                running.0.merge(&partial.0);
            }

            fn leave(running: &mut Self, partial: &Self) {
                running.0.unmerge(&partial.0);
            }

            fn is_empty(running: &Self) -> bool {
                running.is_identity()
            }

            fn read(running: &Self) -> Option<$output> {
                running.output()
            }
        }
    )*};
}

numeric! {
    Sum -> f64: |total: &Total| Some(total.sum.to_f64());
    Avg -> f64: |total: &Total| total.sum.mean(total.count);
    StdDev -> f64: Moments::deviation;
    Describe -> Description: describe;
}
