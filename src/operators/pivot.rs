//! Pivot: what belongs together in a group at an instant, side by side in numbered lanes.
//!
//! A join of N streams of rows that have the same event time: one row a (time, group) with a place for each of
//! N lanes, empty where a lane is silent. It is a full outer join and not a chain of N − 1 of them: a group
//! crosses between workers once, and a lane that is silent costs nothing.
//!
//! ```text
//! (group, lane, value) at t ─► owner of group: lanes of (t, group) ─► when the frontier has passed t: one row
//! ```

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

use super::keyed_window::capability_at;
use super::ordered::{ByKey, is_due, owner_of};
use crate::tick::{Tick, watermark_us};

/// A group at an instant, all its lanes side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pivoted<G, V> {
    /// The event time that its values came with, µs.
    pub time_us: i64,
    /// The group.
    pub group: G,
    /// A place a lane; `None` where the lane is silent.
    pub lanes: Vec<Option<V>>,
}

/// The open rows of a group, with their event times.
pub type OpenRows<V> = Vec<(i64, Vec<Option<V>>)>;

/// The groups that the frontier has not passed, on one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "G: Serialize + DeserializeOwned + Ord, V: Serialize + DeserializeOwned")]
pub struct OpenGroups<G, V> {
    lanes: usize,
    groups: BTreeMap<(i64, G), Vec<Option<V>>>,
}

impl<G: Ord + Clone, V: Clone> OpenGroups<G, V> {
    /// No group; each will have `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        OpenGroups { lanes, groups: BTreeMap::new() }
    }

    /// Puts `value` into its lane; a lane beyond the last is passed over.
    pub fn put(&mut self, time_us: i64, group: G, lane: usize, value: V) {
        let lanes = self.groups.entry((time_us, group)).or_insert_with(|| vec![None; self.lanes]);
        if let Some(place) = lanes.get_mut(lane) {
            *place = Some(value);
        }
    }

    /// Gives the groups before `watermark_us`, all when there is no more input, in the order of (time, group).
    pub fn pass(&mut self, watermark_us: Option<i64>, emit: &mut impl FnMut(Pivoted<G, V>)) {
        while let Some(first) = self.groups.first_entry() {
            if !is_due(first.key().0, watermark_us) {
                break;
            }
            let ((time_us, group), lanes) = first.remove_entry();
            emit(Pivoted { time_us, group, lanes });
        }
    }

    /// How many groups are open.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The open groups of each key, for a checkpoint; [`OpenGroups::restore`] takes them back.
    pub fn save(&self) -> ByKey<G, OpenRows<V>> {
        let mut saved: ByKey<G, Vec<_>> = BTreeMap::new();
        for ((time_us, group), lanes) in &self.groups {
            saved.entry(group.clone()).or_default().push((*time_us, lanes.clone()));
        }
        saved
    }

    /// Takes back what [`OpenGroups::save`] gave, of the groups that this worker owns now.
    pub fn restore(&mut self, saved: ByKey<G, OpenRows<V>>) {
        for (group, open) in saved {
            self.groups.extend(open.into_iter().map(|(time_us, lanes)| ((time_us, group.clone()), lanes)));
        }
    }
}

/// Extension trait for pivoting.
pub trait Pivot<'scope, G, V> {
    /// Brings the values of each (event time, group) together, in `lanes` lanes.
    ///
    /// A (time, group) has at most one value a lane.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | `(G, lane, V)` | its event time | any |
    /// | out | [`Pivoted`] | the same event time | group |
    /// # Guarantees
    /// A (time, group) leaves once, when the frontier has passed its time, and only if a lane of it has spoken.
    /// Rows are a function of the multiset of inputs, whatever the batches and workers.
    /// # State
    /// The lanes of each open (time, group), freed when it leaves; saved as `name`, by group.
    /// # Errors
    /// None: a lane that there is not is passed over.
    /// # Examples
    /// ```
    /// use tidegate::operators::pivot::OpenGroups;
    ///
    /// let mut open = OpenGroups::new(2);
    /// open.put(10, 'a', 1, 0.5);
    /// open.put(10, 'a', 0, 0.25);
    /// open.put(20, 'a', 0, 0.75);
    /// let mut rows = Vec::new();
    /// open.pass(Some(20), &mut |row| rows.push((row.time_us, row.group, row.lanes)));
    /// assert_eq!(rows, [(10, 'a', vec![Some(0.25), Some(0.5)])]);
    /// ```
    fn pivot(self, name: &str, lanes: usize) -> StreamVec<'scope, Tick, Pivoted<G, V>>;
}

impl<'scope, G, V> Pivot<'scope, G, V> for StreamVec<'scope, Tick, (G, u32, V)>
where
    G: ExchangeData + Ord + Clone,
    V: ExchangeData + Clone,
{
    fn pivot(self, name: &str, lanes: usize) -> StreamVec<'scope, Tick, Pivoted<G, V>> {
        let peers = self.scope().peers();
        let by_group = Exchange::new(move |(group, _, _): &(G, u32, V)| owner_of(group, peers));
        self.unary_frontier(by_group, name, move |capability, _info| {
            let mut held = CapabilitySet::from_elem(capability);
            let mut open = OpenGroups::new(lanes);
            move |(input, frontier), output| {
                input.for_each(|time, values| {
                    for (group, lane, value) in values.drain(..) {
                        open.put(time.time().time_us, group, lane as usize, value);
                    }
                });
                let frontier = frontier.frontier();
                open.pass(watermark_us(frontier), &mut |row| {
                    let at = capability_at(&held, row.time_us);
                    output.session(&at).give(row);
                });
                held.downgrade(frontier.iter());
            }
        })
    }
}
