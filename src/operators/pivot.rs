//! Pivot: what belongs together in a group at an instant, side by side in numbered lanes.
//!
//! A join of N streams of rows that have the same event time: one row a (time, group) with a place for each of
//! N lanes, empty where a lane is silent. It is a full outer join and not a chain of N − 1 of them: a group
//! crosses between workers once, and a lane that is silent costs nothing.
//!
//! ```text
//! (group, lane, value) at t ─► owner of group: lanes of (t, group) ─► when the frontier has passed t: one row
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

use super::keyed_window::capability_at;
use super::ordered::{bytes_of, is_due, owner_of};
use crate::keys::key_hash;
use crate::state::{Saver, StateHub};
use crate::tick::{Tick, open_epoch, watermark_us};

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

/// The groups that the frontier has not passed, on one worker.
#[derive(Clone, Debug)]
pub struct OpenGroups<G, V> {
    lanes: usize,
    groups: BTreeMap<(i64, G), Vec<Option<V>>>,
    /// The groups that have changed since they were saved; `None` where nothing is saved.
    changed: Option<BTreeSet<(i64, G)>>,
}

impl<G: Ord + Clone, V: Clone> OpenGroups<G, V> {
    /// No group; each will have `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        OpenGroups { lanes, groups: BTreeMap::new(), changed: None }
    }

    /// The same, for groups of which [`OpenGroups::save`] is to tell what has changed.
    pub fn saved(lanes: usize) -> Self {
        OpenGroups { changed: Some(BTreeSet::new()), ..OpenGroups::new(lanes) }
    }

    /// Puts `value` into its lane; a lane beyond the last is passed over.
    pub fn put(&mut self, time_us: i64, group: G, lane: usize, value: V) {
        if let Some(changed) = &mut self.changed {
            changed.insert((time_us, group.clone()));
        }
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

    /// Calls `each` with every open group that has changed since this was called last, for a checkpoint;
    /// [`OpenGroups::restore`] takes it back.
    pub fn save(&mut self, each: &mut impl FnMut(&(i64, G), &Vec<Option<V>>)) {
        for place in self.changed.as_mut().map(std::mem::take).unwrap_or_default() {
            if let Some(lanes) = self.groups.get(&place) {
                each(&place, lanes);
            }
        }
    }

    /// Takes back a group.
    pub fn restore(&mut self, place: (i64, G), lanes: Vec<Option<V>>) {
        self.groups.insert(place, lanes);
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
    /// The lanes of each open (time, group), freed when it leaves; saved as `name`, where they have changed.
    /// # Errors
    /// No record is one: a lane that there is not is passed over. Saved state that cannot be read ends the run
    /// ([`StateHub::failure`]).
    /// # Source
    /// Cunningham et al., *PIVOT and UNPIVOT: Optimization and Execution Strategies in an RDBMS*, VLDB 2004; by
    /// event time and frontier here.
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
    fn pivot(self, name: &str, lanes: usize, state: &StateHub) -> StreamVec<'scope, Tick, Pivoted<G, V>>;
}

impl<'scope, G, V> Pivot<'scope, G, V> for StreamVec<'scope, Tick, (G, u32, V)>
where
    G: ExchangeData + Ord + Clone,
    V: ExchangeData + Clone,
{
    fn pivot(self, name: &str, lanes: usize, state: &StateHub) -> StreamVec<'scope, Tick, Pivoted<G, V>> {
        let peers = self.scope().peers();
        let by_group = Exchange::new(move |(group, _, _): &(G, u32, V)| owner_of(group, peers));
        self.unary_frontier(by_group, name, move |capability, _info| {
            let mut held = CapabilitySet::from_elem(capability);
            let mut open = match state.is_kept() {
                true => OpenGroups::saved(lanes),
                false => OpenGroups::new(lanes),
            };
            let mut saver = Saver::new(state, name);
            state.restore_latest(name, |_hash, _key, (place, lanes)| open.restore(place, lanes));
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
                saver.passed(open_epoch(frontier), |written| {
                    open.save(&mut |place, lanes| {
                        // It belongs to the worker of its group, and is of no account when its time has passed.
                        let (hash, until_us) = (key_hash(&bytes_of(&place.1)), place.0.saturating_add(1));
                        written.put(hash, &bytes_of(place), until_us, &(place, lanes));
                    });
                });
                held.downgrade(frontier.iter());
            }
        })
    }
}
