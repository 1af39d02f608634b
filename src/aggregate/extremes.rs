//! The smallest and the largest.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Aggregate, Retract};

/// What can be smallest or largest of a group: ordered, and owned.
pub trait Extreme: Ord + Clone + Serialize + DeserializeOwned + 'static {}

impl<T: Ord + Clone + Serialize + DeserializeOwned + 'static> Extreme for T {}

/// The smallest input; `None` without input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Min<T>(Option<T>);

/// The largest input; `None` without input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Max<T>(Option<T>);

/// Values with how often each is in, in order: the running form of an aggregate that keeps one of its inputs.
///
/// What leaves a minimum cannot be subtracted, so all the panes' values stay; their number is at most that of
/// the panes in the window.
#[derive(Clone, Debug)]
pub struct Multiset<T> {
    counts: BTreeMap<T, u64>,
}

impl<T> Default for Multiset<T> {
    fn default() -> Self {
        Multiset { counts: BTreeMap::new() }
    }
}

impl<T: Ord + Clone> Multiset<T> {
    /// Takes `value` in once more.
    pub fn enter(&mut self, value: &T) {
        match self.counts.get_mut(value) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(value.clone(), 1);
            }
        }
    }

    /// Takes `value` out once; nothing happens if it is not in.
    pub fn leave(&mut self, value: &T) {
        if let Some(count) = self.counts.get_mut(value) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(value);
            }
        }
    }

    /// Whether nothing is in.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The smallest value in.
    pub fn first(&self) -> Option<&T> {
        self.counts.first_key_value().map(|(value, _)| value)
    }

    /// The largest value in.
    pub fn last(&self) -> Option<&T> {
        self.counts.last_key_value().map(|(value, _)| value)
    }
}

/// Both aggregates differ only in which value gives way, and which end is read.
macro_rules! extreme {
    ($($aggregate:ident: $wins:tt, $end:ident;)*) => {$(
        impl<T> Default for $aggregate<T> {
            fn default() -> Self {
                $aggregate(None)
            }
        }

        impl<T: Extreme> Aggregate for $aggregate<T> {
            type Input<'a> = T;
            type Output = Option<T>;

            #[inline]
            fn is_identity(&self) -> bool {
                self.0.is_none()
            }

            #[inline]
            fn add(&mut self, value: T) {
                if self.0.as_ref().is_none_or(|held| value $wins *held) {
                    self.0 = Some(value);
                }
            }

            #[inline]
            fn merge(&mut self, other: &Self) {
                if let Some(value) = &other.0
                    && self.0.as_ref().is_none_or(|held| value $wins held)
                {
                    self.0 = Some(value.clone());
                }
            }

            fn output(&self) -> Option<T> {
                self.0.clone()
            }
        }

        impl<T: Extreme> Retract for $aggregate<T> {
            type Running = Multiset<T>;

            fn enter(running: &mut Multiset<T>, partial: &Self) {
                partial.0.iter().for_each(|value| running.enter(value));
            }

            fn leave(running: &mut Multiset<T>, partial: &Self) {
                partial.0.iter().for_each(|value| running.leave(value));
            }

            fn is_empty(running: &Multiset<T>) -> bool {
                running.is_empty()
            }

            fn read(running: &Multiset<T>) -> Option<T> {
                running.$end().cloned()
            }
        }
    )*};
}

extreme! {
    Min: <, first;
    Max: >, last;
}
