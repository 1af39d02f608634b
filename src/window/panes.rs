//! The open panes of a window operator: for each (class, pane) a table from key number to partial aggregate.
//!
//! The same store serves both ends of a window: in the source, where records are combined before they are
//! exchanged, and behind the exchange, where the parts of all workers are merged. A key's bytes are kept
//! once for all panes; a pane is an array over key numbers while keys are dense in it, else a hash table.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use super::spec::{Eligible, WindowSpec};
use crate::aggregate::Aggregate;
use crate::keys::KeyTable;

/// Up to this many key numbers a pane is always an array.
const ALWAYS_DENSE: usize = 1024;

/// The partial aggregates of one pane, by key number.
pub enum Slots<A> {
    /// An array over key numbers, and how many of them are taken.
    Dense(Vec<A>, usize),
    /// A hash table from key number.
    Sparse(HashTable<(u32, A)>),
}

#[inline]
fn spread(id: u32) -> u64 {
    u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<A: Aggregate> Slots<A> {
    /// An empty table for keys numbered below `bound`.
    pub fn new(bound: usize) -> Self {
        if bound > ALWAYS_DENSE {
            return Slots::Sparse(HashTable::new());
        }
        let mut array = Vec::new();
        array.resize_with(bound, A::default);
        Slots::Dense(array, 0)
    }

    /// How many keys are in it.
    pub fn len(&self) -> usize {
        match self {
            Slots::Dense(_, taken) => *taken,
            Slots::Sparse(table) => table.len(),
        }
    }

    /// Whether no key is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies `change` to the aggregate of key `id`; says whether the key is new here.
    #[inline(always)]
    pub fn update(&mut self, id: u32, change: impl FnOnce(&mut A)) -> bool {
        if let Slots::Dense(array, taken) = self
            && let Some(slot) = array.get_mut(id as usize)
        {
            let new = slot.is_identity();
            change(slot);
            *taken += usize::from(new);
            return new;
        }
        self.update_slow(id, change)
    }

    #[inline(never)]
    fn update_slow(&mut self, id: u32, change: impl FnOnce(&mut A)) -> bool {
        match self {
            Slots::Dense(array, taken) => {
                let bound = id as usize + 1;
                if bound > ALWAYS_DENSE && *taken * 8 < bound {
                    self.make_sparse();
                    return self.update_slow(id, change);
                }
                array.resize_with(bound + bound / 4, A::default);
                change(&mut array[id as usize]);
                *taken += 1;
                true
            }
            Slots::Sparse(table) => {
                let hasher = |(id, _): &(u32, A)| spread(*id);
                match table.entry(spread(id), |(other, _)| *other == id, hasher) {
                    hashbrown::hash_table::Entry::Occupied(mut entry) => {
                        change(&mut entry.get_mut().1);
                        false
                    }
                    hashbrown::hash_table::Entry::Vacant(entry) => {
                        let mut fresh = A::default();
                        change(&mut fresh);
                        entry.insert((id, fresh));
                        true
                    }
                }
            }
        }
    }

    /// Turns into an array when that is not larger, now that keys are numbered below `bound`.
    pub fn settle(&mut self, bound: usize) {
        if let Slots::Sparse(table) = self
            && table.len() * 4 > bound
        {
            let mut array = Vec::new();
            array.resize_with(bound + bound / 4, A::default);
            let taken = table.len();
            for (id, partial) in table.drain() {
                array[id as usize] = partial;
            }
            *self = Slots::Dense(array, taken);
        }
    }

    fn make_sparse(&mut self) {
        if let Slots::Dense(array, taken) = self {
            let mut table = HashTable::with_capacity(*taken + 1);
            for (id, partial) in array.drain(..).enumerate().filter(|(_, partial)| !partial.is_identity()) {
                let id = id as u32;
                table.insert_unique(spread(id), (id, partial), |(id, _)| spread(*id));
            }
            *self = Slots::Sparse(table);
        }
    }

    /// The aggregate of key `id`, if it has one.
    pub fn get(&self, id: u32) -> Option<&A> {
        match self {
            Slots::Dense(array, _) => array.get(id as usize).filter(|partial| !partial.is_identity()),
            Slots::Sparse(table) => {
                table.find(spread(id), |(other, _)| *other == id).map(|(_, partial)| partial)
            }
        }
    }

    /// Calls `each` for every key in the table, in no particular order.
    pub fn for_each(&self, mut each: impl FnMut(u32, &A)) {
        match self {
            Slots::Dense(array, _) => {
                for (id, partial) in array.iter().enumerate() {
                    if !partial.is_identity() {
                        each(id as u32, partial);
                    }
                }
            }
            Slots::Sparse(table) => table.iter().for_each(|(id, partial)| each(*id, partial)),
        }
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Slots::Dense(array, _) => array.capacity() * size_of::<A>(),
            Slots::Sparse(table) => table.capacity() * (size_of::<(u32, A)>() + 1),
        }
    }
}

/// A pane found lately: while a record's time and watermark stay inside, no arithmetic is needed.
#[derive(Clone, Copy)]
struct Hot {
    start_us: i64,
    watermark_below_us: i64,
    slot: u32,
}

/// How many are kept: enough for panes of a second in the usual disorder.
const HOT: usize = 128;

impl Hot {
    #[inline(always)]
    fn holds(&self, time_us: i64, watermark_us: i64, pane_us: i64) -> bool {
        let inside = (time_us.wrapping_sub(self.start_us) as u64) < pane_us as u64;
        inside && watermark_us < self.watermark_below_us
    }
}

const COLD: Hot = Hot { start_us: i64::MAX, watermark_below_us: i64::MIN, slot: 0 };

/// All open panes of one window operator on one worker, and the keys in them.
pub struct PaneStore<A> {
    spec: WindowSpec,
    /// The keys of all panes.
    pub keys: KeyTable,
    tables: Vec<Slots<A>>,
    free: Vec<u32>,
    index: BTreeMap<Eligible, u32>,
    /// Panes found lately, each in the place of its number, or now and then of a neighbour's.
    hot: Box<[Hot; HOT]>,
    /// 2⁶⁴ by the length of a pane: a division would cost as much as all the rest of a look.
    panes_by_us: u64,
    entries: usize,
}

impl<A: Aggregate> PaneStore<A> {
    /// An empty store for windows of `spec`.
    pub fn new(spec: WindowSpec) -> Self {
        PaneStore {
            spec,
            keys: KeyTable::default(),
            tables: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            hot: Box::new([COLD; HOT]),
            panes_by_us: u64::MAX / spec.pane_us().unsigned_abs().max(1),
            entries: 0,
        }
    }

    /// The windows that the store serves.
    pub fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    /// The table for a record at `time_us` whose partition's watermark is `watermark_us`; `None` when it is
    /// late for every window.
    #[inline(always)]
    pub fn reach(&mut self, time_us: i64, watermark_us: i64) -> Option<u32> {
        let hot = &self.hot[self.hot_place(time_us)];
        if hot.holds(time_us, watermark_us, self.spec.pane_us()) {
            return Some(hot.slot);
        }
        self.reach_slow(time_us, watermark_us)
    }

    #[inline(always)]
    fn hot_place(&self, time_us: i64) -> usize {
        let number = (u128::from(time_us as u64) * u128::from(self.panes_by_us)) >> u64::BITS;
        number as usize % HOT
    }

    #[inline(never)]
    fn reach_slow(&mut self, time_us: i64, watermark_us: i64) -> Option<u32> {
        let at = self.spec.eligible(time_us, watermark_us)?;
        let slot = self.slot(at);
        // The class stays the same for every watermark only where it is the pane's first window.
        if at.class == self.spec.first_window(at.pane) {
            self.hot[self.hot_place(time_us)] = Hot {
                start_us: self.spec.pane_start(at.pane),
                watermark_below_us: self.spec.end(at.class),
                slot,
            };
        }
        Some(slot)
    }

    /// The table of pane `at.pane`, class `at.class`; made if it is missing.
    pub fn slot(&mut self, at: Eligible) -> u32 {
        if let Some(&slot) = self.index.get(&at) {
            return slot;
        }
        // What comes after its first windows have closed is little, and spread over many classes: there an
        // array over all keys would cost more than it holds.
        let straggling = at.class > self.spec.first_window(at.pane);
        let table = if straggling { Slots::Sparse(HashTable::new()) } else { Slots::new(self.keys.bound()) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.tables[slot as usize] = table;
                slot
            }
            None => {
                self.tables.push(table);
                (self.tables.len() - 1) as u32
            }
        };
        self.index.insert(at, slot);
        slot
    }

    /// Applies `change` to the aggregate of `key`, whose `hash` is asked for if need be, in the table `slot`; gives the key's
    /// number.
    #[inline(always)]
    pub fn update(
        &mut self,
        slot: u32,
        hash: impl FnOnce() -> u64,
        key: &[u8],
        change: impl FnOnce(&mut A),
    ) -> u32 {
        let id = self.keys.intern(hash, key);
        if self.tables[slot as usize].update(id, change) {
            self.note_new(slot, id);
        }
        id
    }

    #[inline(never)]
    fn note_new(&mut self, slot: u32, id: u32) {
        self.keys.retain(id);
        self.entries += 1;
        let table = &mut self.tables[slot as usize];
        if table.len().is_power_of_two() {
            table.settle(self.keys.bound());
        }
    }

    /// The lowest open (class, pane).
    pub fn first(&self) -> Option<Eligible> {
        self.first_slot().map(|(at, _)| at)
    }

    /// The lowest open (class, pane), and its table's number.
    pub fn first_slot(&self) -> Option<(Eligible, u32)> {
        self.index.first_key_value().map(|(at, slot)| (*at, *slot))
    }

    /// The table of an open (class, pane).
    pub fn table(&self, at: Eligible) -> Option<&Slots<A>> {
        self.index.get(&at).map(|slot| &self.tables[*slot as usize])
    }

    /// All open (class, pane) and their tables, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Eligible, &Slots<A>)> {
        self.index.iter().map(|(at, slot)| (*at, &self.tables[*slot as usize]))
    }

    /// Takes out the lowest (class, pane). Its keys stay in use until each is released in `keys`.
    pub fn pop_first(&mut self) -> Option<(Eligible, Slots<A>)> {
        let at = self.first()?;
        self.take(at).map(|table| (at, table))
    }

    /// Takes out a (class, pane), likewise.
    pub fn take(&mut self, at: Eligible) -> Option<Slots<A>> {
        let slot = self.index.remove(&at)?;
        let table = std::mem::replace(&mut self.tables[slot as usize], Slots::Dense(Vec::new(), 0));
        self.free.push(slot);
        let gone = self.hot.iter_mut().filter(|hot| hot.slot == slot);
        gone.for_each(|hot| *hot = COLD);
        self.entries -= table.len();
        Some(table)
    }

    /// How many (class, pane, key) are open.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes held by keys and panes.
    pub fn heap_bytes(&self) -> usize {
        self.keys.heap_bytes()
            + self.index.values().map(|slot| self.tables[*slot as usize].heap_bytes()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Count;
    use crate::keys::key_hash;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_equal_a_map_and_keys_are_freed(
            records in prop::collection::vec((-200_i64..400, 0_u32..3000), 0..3000),
            slide in 1_i64..30, extra in 0_i64..60,
        ) {
            let spec = WindowSpec::sliding(slide + extra, slide).expect("valid");
            let mut store = PaneStore::<Count>::new(spec);
            let mut model = BTreeMap::<(Eligible, u32), u64>::new();
            let (mut latest, mut watermark) = (i64::MIN, i64::MIN);
            for (time, key) in records {
                let bytes = key.to_le_bytes();
                let expected = spec.eligible(time, watermark);
                let slot = store.reach(time, watermark);
                prop_assert_eq!(slot.is_some(), expected.is_some());
                if let (Some(slot), Some(at)) = (slot, expected) {
                    store.update(slot, || key_hash(&bytes), &bytes, |count| count.add(()));
                    *model.entry((at, key)).or_default() += 1;
                }
                latest = latest.max(time);
                watermark = latest - 40;
            }
            prop_assert_eq!(store.entries(), model.len());
            let mut seen = BTreeMap::new();
            while let Some((at, table)) = store.pop_first() {
                table.for_each(|id, count| {
                    let key = u32::from_le_bytes(store.keys.key(id).try_into().expect("four bytes"));
                    seen.insert((at, key), count.output());
                });
                table.for_each(|id, _| store.keys.release(id));
            }
            prop_assert_eq!(seen, model);
            prop_assert!(store.keys.is_empty());
        }
    }
}
