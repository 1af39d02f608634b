//! From a key's bytes to its number: open addressing with linear probing, written for tables larger than the caches.
//!
//! A slot has all that it takes to find a key but the bytes: one look at the index, mostly of one cache line, and one at the
//! bytes. Everything of it is inlined into the caller's loop, so that looks for keys that follow each other overlap.
//! A key is taken out by moving back what had to make way for it (Knuth, *TAOCP* 3, 6.4, algorithm R), so there are no
//! tombstones, however long keys come and go.

/// A key's place in the index.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// The upper half of the hash; where the slot is depends on the lower one.
    tag: u32,
    id: u32,
    /// Where the bytes are in the arena.
    pub(super) start: u32,
    len: u32,
}

/// No key is as long as it says, so that it is never found.
const FREE: Slot = Slot { tag: 0, id: u32::MAX, start: 0, len: u32::MAX };

/// So many slots are made at first.
const LEAST: usize = 16;

/// Below so many slots a quarter of them is taken at most, which fits the caches anyway; from there on three quarters. A look
/// that finds its key in the first place takes no branch that nobody can foresee.
const SPARSE: usize = 4096;

/// Where a key stands in the index: quicker than the key's [hash](super::key_hash), and of no meaning outside a process.
///
/// Folded multiplications over all of its bytes, as in wyhash and foldhash's `fast` variant.
#[inline(always)]
pub(super) fn place_hash(key: &[u8]) -> u64 {
    /// The binary digits of π, which have nothing up their sleeve.
    const DIGITS: [u64; 4] =
        [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];
    #[inline(always)]
    fn fold(a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    }
    #[inline(always)]
    fn word(bytes: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*bytes)
    }
    #[inline(always)]
    fn words(bytes: &[u8; 16]) -> [u64; 2] {
        let (words, _) = bytes.as_chunks();
        [word(&words[0]), word(&words[1])]
    }
    let len = key.len() as u64;
    if let 17..=32 = key.len()
        && let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk())
    {
        let ([a, b], [c, d]) = (words(first), words(last));
        return fold(a ^ DIGITS[0], b ^ DIGITS[1]) ^ fold(c ^ DIGITS[2] ^ len, d ^ DIGITS[3]);
    }
    if let 8..=16 = key.len()
        && let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk())
    {
        return fold(word(first) ^ DIGITS[0], word(last) ^ DIGITS[1] ^ len);
    }
    super::key_hash(key)
}

impl Default for Slot {
    fn default() -> Self {
        FREE
    }
}

impl Slot {
    /// The place of a key with this number.
    pub(super) fn new(hash: u64, id: u32, start: u32, len: u32) -> Self {
        Slot { tag: (hash >> 32) as u32, id, start, len }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    fn is_free(&self) -> bool {
        self.id == FREE.id
    }

    /// Whether this is the place of the key with this hash.
    #[inline(always)]
    pub(super) fn has(&self, hash: u64, key: &[u8], arena: &[u8]) -> bool {
        self.is((hash >> 32) as u32, key, arena)
    }

    #[inline(always)]
    fn is(&self, tag: u32, key: &[u8], arena: &[u8]) -> bool {
        self.tag == tag
            && self.len as usize == key.len()
            && is_same(&arena[self.start as usize..(self.start + self.len) as usize], key)
    }
}

/// Whether two keys of the same length are the same. Most keys are compared here without a call.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    /// Whether the first and the last `B` bytes are the same; they may overlap.
    #[inline(always)]
    fn ends<const B: usize>(a: &[u8], b: &[u8]) -> bool {
        a.first_chunk::<B>() == b.first_chunk::<B>() && a.last_chunk::<B>() == b.last_chunk::<B>()
    }
    // As in `place_hash`, the longer ones first.
    match a.len() {
        17..=32 => ends::<16>(a, b),
        8..=16 => ends::<8>(a, b),
        4..8 => ends::<4>(a, b),
        _ => a == b,
    }
}

/// The index of a [`KeyTable`](super::KeyTable). Nothing in it is as large as a key's hash: where one is needed,
/// `hash_of` gives it by number.
#[derive(Default)]
pub(super) struct Index {
    /// None, or a power of two of them; see [`SPARSE`].
    slots: Vec<Slot>,
    len: usize,
}

impl Index {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of `key`.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, key: &[u8], arena: &[u8]) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            // Beyond the end only where there is no slot at all.
            let slot = self.slots.get(at)?;
            if slot.is(tag, key, arena) {
                return Some(slot.id);
            }
            if slot.is_free() {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// The slot where a key with this hash is if it made way for none, as it is now.
    #[inline(always)]
    pub(super) fn home(&self, hash: u64) -> Slot {
        self.slots.get(hash as usize & self.slots.len().wrapping_sub(1)).copied().unwrap_or(FREE)
    }

    /// Adds a key that is not in it.
    pub(super) fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(u32) -> u64) {
        let quarters = if self.slots.len() < SPARSE { 1 } else { 3 };
        if (self.len + 1) * 4 > self.slots.len() * quarters {
            self.resize((self.slots.len() * 2).max(LEAST), hash_of);
        }
        self.len += 1;
        self.place(hash, slot);
    }

    /// Gives back most of the slots where nearly all are free: whoever goes through all of them must not go on paying for the
    /// most keys that there ever were.
    pub(super) fn shrink(&mut self, hash_of: impl Fn(u32) -> u64) {
        let enough = self.len * if self.len * 4 <= SPARSE { 4 } else { 2 };
        let enough = enough.next_power_of_two().max(LEAST);
        if enough * 4 <= self.slots.len() {
            self.resize(enough, hash_of);
        }
    }

    fn resize(&mut self, slots: usize, hash_of: impl Fn(u32) -> u64) {
        for slot in std::mem::replace(&mut self.slots, vec![FREE; slots]) {
            if !slot.is_free() {
                self.place(hash_of(slot.id), slot);
            }
        }
    }

    fn place(&mut self, hash: u64, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while !self.slots[at].is_free() {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    /// Takes out the key with number `id`; says whether it was there.
    pub(super) fn remove(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) -> bool {
        let mask = self.slots.len().wrapping_sub(1);
        let mut hole = hash as usize & mask;
        loop {
            match self.slots.get(hole) {
                None => return false,
                Some(slot) if slot.is_free() => return false,
                Some(slot) if slot.id == id => break,
                Some(_) => hole = (hole + 1) & mask,
            }
        }
        let mut next = (hole + 1) & mask;
        while !self.slots[next].is_free() {
            let home = hash_of(self.slots[next].id) as usize & mask;
            // It may stand anywhere from its home on.
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole] = FREE;
        self.len -= 1;
        true
    }

    /// All keys' places, in no particular order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter(|slot| !slot.is_free())
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, so that runs of slots are long, cross the end, and have gaps torn into them.
        #[test]
        fn finds_what_a_map_finds(steps in prop::collection::vec((any::<bool>(), 0_u32..60), 0..400), spread in 1_u64..40) {
            let hash_of = |id: u32| u64::from(id % 7) * spread;
            let (mut index, mut model, mut arena) = (Index::default(), BTreeMap::new(), Vec::new());
            for (add, id) in steps {
                let key = format!("key {id}");
                if !add {
                    prop_assert_eq!(index.remove(hash_of(id), id, hash_of), model.remove(&id).is_some());
                } else if model.insert(id, ()).is_none() {
                    let start = arena.len() as u32;
                    arena.extend_from_slice(key.as_bytes());
                    index.insert(hash_of(id), Slot::new(hash_of(id), id, start, key.len() as u32), hash_of);
                }
                for id in 0..60 {
                    let key = format!("key {id}");
                    let found = index.find(hash_of(id), key.as_bytes(), &arena);
                    prop_assert_eq!(found, model.get(&id).map(|()| id));
                }
                if id % 5 == 0 {
                    index.shrink(hash_of);
                    prop_assert!(index.slots.len() <= (model.len() * 16).max(4 * LEAST));
                }
                prop_assert_eq!(index.iter_mut().count(), model.len());
                prop_assert_eq!(index.is_empty(), model.is_empty());
            }
        }
    }
}
