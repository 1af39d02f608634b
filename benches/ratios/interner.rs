//! What the loops by hand have in place of a table of keys.

use tidegate::keys::key_hash;

/// Byte strings to dense numbers: open addressing, the text in one arena.
pub(crate) struct Interner {
    slots: Vec<(u64, u32)>,
    spans: Vec<(u32, u32)>,
    arena: Vec<u8>,
}

impl Interner {
    /// Nothing has a number yet.
    pub(crate) fn new() -> Self {
        Interner { slots: vec![(0, u32::MAX); 1 << 12], spans: Vec::new(), arena: Vec::new() }
    }

    /// What has the number `id`.
    pub(crate) fn text(&self, id: u32) -> &[u8] {
        let (start, len) = self.spans[id as usize];
        &self.arena[start as usize..(start + len) as usize]
    }

    #[inline(always)]
    /// The number of `key`: that of the first time, or the next one.
    pub(crate) fn id(&mut self, key: &[u8]) -> u32 {
        let hash = key_hash(key);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (known, id) = self.slots[at];
            if id == u32::MAX {
                return self.insert(hash, key);
            }
            if known == hash && is_same(self.text(id), key) {
                return id;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        let id = self.spans.len() as u32;
        self.spans.push((self.arena.len() as u32, key.len() as u32));
        self.arena.extend_from_slice(key);
        if self.spans.len() * 4 > self.slots.len() {
            let larger = vec![(0, u32::MAX); self.slots.len() * 2];
            for (hash, id) in std::mem::replace(&mut self.slots, larger) {
                if id != u32::MAX {
                    self.place(hash, id);
                }
            }
        }
        self.place(hash, id);
        id
    }

    fn place(&mut self, hash: u64, id: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].1 != u32::MAX {
            at = (at + 1) & mask;
        }
        self.slots[at] = (hash, id);
    }
}

/// Whether two texts are the same, most without a call: those of 16 to 32 bytes by their first and last 16.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        16..=32 => a.first_chunk::<16>() == b.first_chunk() && a.last_chunk::<16>() == b.last_chunk(),
        8..16 => a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk(),
        _ => a == b,
    }
}
