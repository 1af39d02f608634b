//! What each epoch changes of a relation: the near end of every operator that keeps one entry a key for good.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;
use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

use super::ordered::bytes_of;
use crate::keys::key_hash;
use crate::state::{Fold, StateHub, StateWriter};
use crate::tick::{Tick, open_epoch};

/// How a relation changes.
pub(super) struct Relation<V> {
    /// Under which its changes are saved.
    pub(super) name: String,
    /// How saved changes are folded. An entry begins with the value, so that it can be without the key's type.
    pub(super) fold: Fold,
    /// Takes a second value of a key in an epoch into the first.
    pub(super) combine: fn(&mut V, V),
}

/// Combines the values of each key within an epoch, where they are, and when the epoch is over saves them and sends
/// `change` of each, at the epoch's last instant.
///
/// What was restored goes in as the changes of the first epoch, in which nothing is read.
///
/// # Shape
/// | port | record | timestamp | partitioned by |
/// | --- | --- | --- | --- |
/// | in | `(K, V)` | any | any |
/// | out | `D` | the epoch, at its last instant | as the input: nothing is exchanged |
/// # Guarantees
/// On each worker one change an epoch of each key that came in it, when the frontier has passed the epoch; in no
/// certain order. Where `combine` is commutative and associative, its value is a function of the epoch's multiset.
/// # State
/// One value a key and open epoch, freed when the change leaves; saved under the relation's name by what each epoch
/// changed.
/// # Errors
/// No record is one. Saved state that cannot be read ends the run ([`StateHub::failure`]).
/// # Source
/// None.
pub(super) fn changes_of_epochs<'scope, K, V, D>(
    input: StreamVec<'scope, Tick, (K, V)>,
    operator: &str,
    state: &StateHub,
    relation: Relation<V>,
    change: impl Fn(Tick, K, V) -> D + 'static,
) -> StreamVec<'scope, Tick, D>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    D: Clone + 'static,
{
    let Relation { name, fold, combine } = relation;
    state.register(&name, fold);
    let state = state.clone();
    input.unary_frontier(Pipeline, operator, |capability, _info| {
        let mut held = CapabilitySet::from_elem(capability);
        let mut epochs = BTreeMap::<u64, HashMap<K, V>>::new();
        state.restore(&name, |_hash, _key, (value, key): (V, K)| {
            add(epochs.entry(Tick::FIRST_EPOCH).or_default(), key, value, combine);
        });
        move |(input, frontier), output| {
            input.for_each(|time, values| {
                let of_epoch = epochs.entry(time.time().epoch).or_default();
                values.drain(..).for_each(|(key, value)| add(of_epoch, key, value, combine));
            });
            let frontier = frontier.frontier();
            let open = open_epoch(frontier);
            while let Some(first) = epochs.first_entry().filter(|e| open.is_none_or(|open| *e.key() < open)) {
                let at = Tick::new(*first.key(), i64::MAX);
                let capability = held.delayed(&at);
                if state.wants(at.epoch) {
                    let mut written = StateWriter::delta(&name);
                    for (key, value) in first.get() {
                        let bytes = bytes_of(key);
                        written.push(key_hash(&bytes), &bytes, &(value, key));
                    }
                    state.save(at.epoch, written);
                }
                let changes = first.remove().into_iter().map(|(key, value)| change(at, key, value));
                output.session(&capability).give_iterator(changes);
            }
            held.downgrade(frontier.iter());
        }
    })
}

fn add<K: Eq + Hash, V>(values: &mut HashMap<K, V>, key: K, value: V, combine: fn(&mut V, V)) {
    match values.get_mut(&key) {
        Some(known) => combine(known, value),
        None => drop(values.insert(key, value)),
    }
}
