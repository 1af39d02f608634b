//! One value out of a group, always the same one: that of the record that comes first.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::extremes::Extreme;
use super::{Aggregate, Multiset, Retract};

/// Where a record stands: what [`AnyValue`] chooses by, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Its event time, microseconds since the epoch.
    pub event_time_us: i64,
    /// A number for its partition that orders as partitions do: by topic bytewise, then by number.
    pub partition: u64,
    /// Its offset.
    pub offset: i64,
}

/// What [`AnyValue`] can choose from: `str`, `[u8]`, and whatever is ordered, cloned and serialised.
pub trait Choice: Ord + ToOwned<Owned: Extreme + fmt::Debug> + 'static {}

impl<V: ?Sized + Ord + ToOwned<Owned: Extreme + fmt::Debug> + 'static> Choice for V {}

/// The value with the smallest [`Origin`]; `None` without input.
///
/// Inputs are borrowed, and copied only when they win, so that a text costs nothing for most records. Of two
/// values of one origin, which no record has, the smaller wins.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct AnyValue<V: ?Sized + Choice> {
    first: Option<(Origin, V::Owned)>,
}

impl<V: ?Sized + Choice> Default for AnyValue<V> {
    fn default() -> Self {
        AnyValue { first: None }
    }
}

impl<V: ?Sized + Choice> Clone for AnyValue<V> {
    fn clone(&self) -> Self {
        AnyValue { first: self.first.clone() }
    }
}

impl<V: ?Sized + Choice> PartialEq for AnyValue<V> {
    fn eq(&self, other: &Self) -> bool {
        self.first == other.first
    }
}

impl<V: ?Sized + Choice> Eq for AnyValue<V> {}

impl<V: ?Sized + Choice> fmt::Debug for AnyValue<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyValue").field(&self.first).finish()
    }
}

impl<V: ?Sized + Choice> AnyValue<V> {
    /// Whether a value gives way to another.
    fn loses_to(&self, origin: Origin, value: &V) -> bool {
        self.first.as_ref().is_none_or(|(held_origin, held)| {
            // The values are compared only between equal origins.
            (origin, value) < (*held_origin, held.borrow())
        })
    }
}

impl<V: ?Sized + Choice> Aggregate for AnyValue<V> {
    type Input<'a> = (Origin, &'a V);
    type Output = Option<V::Owned>;

    #[inline]
    fn is_identity(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    fn add(&mut self, (origin, value): (Origin, &V)) {
        if self.loses_to(origin, value) {
            self.first = Some((origin, value.to_owned()));
        }
    }

    fn merge(&mut self, other: &Self) {
        if let Some((origin, value)) = &other.first {
            self.add((*origin, value.borrow()));
        }
    }

    fn output(&self) -> Option<V::Owned> {
        self.first.as_ref().map(|(_, value)| value.clone())
    }

    fn renumber_partitions(&mut self, now: &dyn Fn(u64) -> u64) {
        if let Some((origin, _)) = &mut self.first {
            origin.partition = now(origin.partition);
        }
    }
}

impl<V: ?Sized + Choice> Retract for AnyValue<V> {
    type Running = Multiset<(Origin, V::Owned)>;

    fn enter(running: &mut Self::Running, partial: &Self) {
        partial.first.iter().for_each(|first| running.enter(first));
    }

    fn leave(running: &mut Self::Running, partial: &Self) {
        partial.first.iter().for_each(|first| running.leave(first));
    }

    fn is_empty(running: &Self::Running) -> bool {
        running.is_empty()
    }

    fn read(running: &Self::Running) -> Option<V::Owned> {
        running.first().map(|(_, value)| value.clone())
    }
}
