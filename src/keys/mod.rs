//! Keys: their hash, their group, their owner, and a table that gives each a small number.
//!
//! No `String` is hashed, cloned or compared per record on a hot path: a worker meets a key's bytes once
//! a record, finds its number, and works with that. Between workers a key travels as its hash and its
//! bytes; equality is always decided by the bytes.

mod index;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use self::index::{Index, Slot, place_hash};

/// How many groups the keys of an operator are divided into, for ever: state is saved by group, and a
/// run with another number of workers takes whole groups. A power of two.
pub const KEY_GROUPS: u64 = 256;

/// The hash of a key: XXH3-64 with seed 0, the same on every platform and in every version.
#[inline]
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The group of a key with this hash.
#[inline]
pub fn key_group(hash: u64) -> u64 {
    hash >> 56
}

/// The worker, of `peers`, that owns the keys with this hash: groups are given out in contiguous ranges.
#[inline]
pub fn key_owner(hash: u64, peers: usize) -> usize {
    (key_group(hash) as usize * peers) / KEY_GROUPS as usize
}

/// Keys end to end with their hashes: how keys travel between workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyColumn {
    hashes: Vec<u64>,
    ends: Vec<u32>,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl KeyColumn {
    /// An empty column with room for `keys` keys of about `bytes` bytes in all.
    pub fn with_capacity(keys: usize, bytes: usize) -> Self {
        KeyColumn {
            hashes: Vec::with_capacity(keys),
            ends: Vec::with_capacity(keys),
            bytes: Vec::with_capacity(bytes),
        }
    }

    /// Appends a key whose hash is known.
    ///
    /// # Panics
    /// When the column would exceed 4 GiB; blocks are cut long before.
    #[inline]
    pub fn push(&mut self, hash: u64, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.hashes.push(hash);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a block of keys stays below 4 GiB"));
    }

    /// How many keys there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// How many bytes the keys take.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.hashes.capacity() * 8 + self.ends.capacity() * 4 + self.bytes.capacity()
    }

    /// The hash and the bytes of the key at `row`.
    #[inline]
    pub fn get(&self, row: usize) -> (u64, &[u8]) {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        (self.hashes[row], &self.bytes[start..self.ends[row] as usize])
    }

    /// Whether it is a column at all: one that was read from outside may be damaged, and then has no keys to give.
    pub fn is_sound(&self) -> bool {
        let last = self.ends.last().map_or(0, |end| *end as usize);
        self.hashes.len() == self.ends.len() && self.ends.is_sorted() && last == self.bytes.len()
    }

    /// All keys, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (0..self.len()).map(|row| self.get(row))
    }
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    start: u32,
    len: u32,
    uses: u32,
}

impl Entry {
    fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

/// Where the key with a number stands in the index.
fn place_of(entries: &[Entry], arena: &[u8]) -> impl Fn(u32) -> u64 + Copy {
    move |id| place_hash(&arena[entries[id as usize].range()])
}

/// Gives keys small, dense numbers and takes them back: a key lives as long as somebody uses it.
///
/// The bytes of a key are stored once, however many windows it is in. Numbers of released keys are given
/// out again, so that arrays indexed by them stay as short as the number of keys in use.
#[derive(Default)]
pub struct KeyTable {
    index: Index,
    entries: Vec<Entry>,
    arena: Vec<u8>,
    free: Vec<u32>,
    dead_bytes: usize,
    forgotten: u64,
}

impl KeyTable {
    /// How many keys are in use.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether no key is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the largest number given out.
    pub fn bound(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of the key with number `id`.
    #[inline]
    pub fn key(&self, id: u32) -> &[u8] {
        &self.arena[self.entries[id as usize].range()]
    }

    /// The hash of the key with number `id`.
    #[inline]
    pub fn hash(&self, id: u32) -> u64 {
        self.entries[id as usize].hash
    }

    /// The number of `key`, which gets one if it has none; its uses are not changed. `hash` gives its [`key_hash`]: it is
    /// asked for new keys only.
    #[inline(always)]
    pub fn intern(&mut self, hash: impl FnOnce() -> u64, key: &[u8]) -> u32 {
        let place = place_hash(key);
        match self.index.find(place, key, &self.arena) {
            Some(id) => id,
            None => self.insert(place, hash(), key),
        }
    }

    /// Numbers the keys of `rows` as [`KeyTable::intern`] does, each into its row of `numbers`.
    ///
    /// Some at a time: first their slots are read, then a byte of each key's text, then they are compared. No step has a
    /// branch that waits for memory but the last one, which finds in the caches what the others brought there together.
    ///
    /// # Panics
    /// For a row that `column` or `numbers` does not have.
    pub fn intern_rows(
        &mut self,
        column: &KeyColumn,
        rows: impl IntoIterator<Item = u32>,
        numbers: &mut [u32],
    ) {
        const TOGETHER: usize = 16;
        let mut rows = rows.into_iter();
        loop {
            let mut looks = [(0, 0, Slot::default(), 0); TOGETHER];
            let mut count = 0;
            for (look, row) in looks.iter_mut().zip(rows.by_ref().take(TOGETHER)) {
                let place = place_hash(column.get(row as usize).1);
                *look = (row, place, self.index.home(place), 0);
                count += 1;
            }
            let looks = &mut looks[..count];
            for (_, _, slot, first) in looks.iter_mut() {
                *first = self.arena.get(slot.start as usize).copied().unwrap_or_default();
            }
            // Where one is added, others may have to make way for it.
            let mut are_there = true;
            for &mut (row, place, slot, first) in looks {
                let (hash, key) = column.get(row as usize);
                let is_at_home = are_there
                    && key.first().is_none_or(|byte| *byte == first)
                    && slot.has(place, key, &self.arena);
                numbers[row as usize] = if is_at_home {
                    slot.id()
                } else {
                    let before = self.len();
                    let id = self.intern(|| hash, key);
                    are_there &= self.len() == before;
                    id
                };
            }
            if count < TOGETHER {
                return;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, place: u64, hash: u64, key: &[u8]) -> u32 {
        if self.arena.len() + key.len() > u32::MAX as usize {
            self.compact();
        }
        let start = u32::try_from(self.arena.len()).expect("the keys in use stay below 4 GiB a worker");
        self.arena.extend_from_slice(key);
        let entry = Entry { hash, start, len: key.len() as u32, uses: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let KeyTable { index, entries, arena, .. } = self;
        index.insert(place, Slot::new(place, id, start, entry.len), place_of(entries, arena));
        id
    }

    /// Notes one more use of `id`.
    #[inline]
    pub fn retain(&mut self, id: u32) {
        self.entries[id as usize].uses += 1;
    }

    /// Notes one use of `id` less; after the last one the key is forgotten and its number is free.
    #[inline]
    pub fn release(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        entry.uses -= 1;
        if entry.uses == 0 {
            self.forget(id);
        }
    }

    /// How many keys have been forgotten so far: while it stays the same, every number is still its key's.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget(&mut self, id: u32) {
        self.forgotten += 1;
        let KeyTable { index, entries, arena, .. } = self;
        let place_of = place_of(entries, arena);
        if index.remove(place_of(id), id, place_of) {
            self.free.push(id);
            self.dead_bytes += self.entries[id as usize].len as usize;
        }
        if self.dead_bytes > self.arena.len() / 2 + 4096 {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.index.shrink(place_of(&self.entries, &self.arena));
        let mut arena = Vec::with_capacity(self.arena.len() - self.dead_bytes);
        for slot in self.index.iter_mut() {
            let entry = &mut self.entries[slot.id() as usize];
            let start = arena.len() as u32;
            arena.extend_from_slice(&self.arena[entry.range()]);
            (entry.start, slot.start) = (start, start);
        }
        self.arena = arena;
        self.dead_bytes = 0;
        if self.index.is_empty() {
            self.entries.clear();
            self.free.clear();
        }
    }

    /// Gives back the memory of what is not used.
    pub fn shrink(&mut self) {
        self.compact();
        if self.index.is_empty() {
            (self.entries, self.free, self.index) = (Vec::new(), Vec::new(), Index::default());
        }
    }

    /// About how many bytes `keys` of the keys take together.
    pub fn byte_len_of(&self, keys: usize) -> usize {
        let used = self.arena.len() - self.dead_bytes;
        used.div_ceil(self.len().max(1)) * keys
    }

    /// Bytes held: keys, entries and index.
    pub fn heap_bytes(&self) -> usize {
        self.arena.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.free.capacity() * 4
            + self.index.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn owners_cover_all_workers_in_contiguous_ranges() {
        for peers in 1..=9 {
            let owners: Vec<_> = (0..KEY_GROUPS).map(|group| key_owner(group << 56, peers)).collect();
            assert!(owners.is_sorted());
            assert_eq!((owners[0], owners[255]), (0, peers - 1));
        }
    }

    #[test]
    fn keys_of_every_length_are_told_apart() {
        let mut table = KeyTable::default();
        let keys: Vec<Vec<u8>> = (0..=40_u8)
            .flat_map(|len| {
                (0..len.max(1)).map(move |at| (0..len).map(|i| b'a' + u8::from(i == at)).collect())
            })
            .collect();
        let ids: Vec<u32> = keys
            .iter()
            .map(|key| {
                let id = table.intern(|| 7, key);
                table.retain(id);
                id
            })
            .collect();
        for (key, id) in keys.iter().zip(&ids) {
            assert_eq!((table.intern(|| 7, key), table.key(*id), table.hash(*id)), (*id, &key[..], 7));
        }
    }

    /// Of 2 to 41 bytes.
    fn key_of(name: u16) -> Vec<u8> {
        [&name.to_le_bytes()[..], &vec![7; usize::from(name) % 40]].concat()
    }

    #[test]
    fn many_keys_come_and_go() {
        let mut table = KeyTable::default();
        let intern = |table: &mut KeyTable, name: u16| {
            let key = key_of(name);
            table.intern(|| key_hash(&key), &key)
        };
        // More than fit the slots that are sparse.
        let ids: Vec<u32> = (0..9_000).map(|name| intern(&mut table, name)).collect();
        ids.iter().for_each(|id| table.retain(*id));
        let is_gone = |name: u16| !name.is_multiple_of(7);
        (0..9_000).filter(|name| is_gone(*name)).for_each(|name| table.release(ids[usize::from(name)]));
        assert_eq!(table.len(), 9_000_usize.div_ceil(7));
        for name in (0..9_000).filter(|name| !is_gone(*name)) {
            let id = ids[usize::from(name)];
            assert_eq!((table.key(id), table.hash(id)), (&key_of(name)[..], key_hash(&key_of(name))));
            assert_eq!(intern(&mut table, name), id);
        }
        (0..9_000).filter(|name| is_gone(*name)).for_each(|name| {
            let id = intern(&mut table, name);
            table.retain(id);
        });
        assert_eq!((table.len(), table.bound()), (9_000, 9_000));
        for name in 0..9_000 {
            let id = intern(&mut table, name);
            assert_eq!(table.key(id), &key_of(name)[..]);
        }
    }

    proptest! {
        /// Many at a time, known and new ones mixed, some of them twice, before and after others have gone.
        #[test]
        fn rows_get_the_numbers_that_keys_have(
            parts in prop::collection::vec((prop::collection::vec(0_u16..300, 0..100), any::<bool>()), 1..12),
        ) {
            let mut table = KeyTable::default();
            let mut held = std::collections::BTreeMap::<u16, u32>::new();
            for (names, forgets) in parts {
                let mut column = KeyColumn::default();
                for name in &names {
                    let key = key_of(*name);
                    column.push(key_hash(&key), &key);
                }
                let mut numbers = vec![u32::MAX; names.len()];
                let wanted = |row: &u32| !row.is_multiple_of(3);
                table.intern_rows(&column, (0..names.len() as u32).filter(wanted), &mut numbers);
                for ((name, number), row) in names.iter().zip(numbers).zip(0..) {
                    if !wanted(&row) {
                        prop_assert_eq!(number, u32::MAX, "nobody asked for it");
                        continue;
                    }
                    prop_assert_eq!(table.key(number), &key_of(*name)[..]);
                    prop_assert_eq!(*held.entry(*name).or_insert_with(|| {
                        table.retain(number);
                        number
                    }), number);
                }
                prop_assert_eq!(table.len(), held.len());
                if forgets {
                    held.retain(|name, number| {
                        let stays = name % 2 == 0;
                        if !stays {
                            table.release(*number);
                        }
                        stays
                    });
                }
            }
        }

        #[test]
        fn a_key_keeps_its_number_while_it_is_used(steps in prop::collection::vec((any::<bool>(), 0_u16..40), 0..400)) {
            let mut table = KeyTable::default();
            let mut model = std::collections::BTreeMap::<u16, (u32, u32)>::new();
            for (take, name) in steps {
                let key = key_of(name);
                if take {
                    let id = table.intern(|| key_hash(&key), &key);
                    table.retain(id);
                    let seen = model.entry(name).or_insert((id, 0));
                    prop_assert_eq!(seen.0, id);
                    seen.1 += 1;
                } else if let Some(seen) = model.get_mut(&name) {
                    table.release(seen.0);
                    seen.1 -= 1;
                    if seen.1 == 0 {
                        model.remove(&name);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for (name, (id, _)) in &model {
                    prop_assert_eq!(table.key(*id), &key_of(*name)[..]);
                }
            }
        }
    }
}
