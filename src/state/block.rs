//! A block of saved state.

use bincode::Options;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::keys::{KeyColumn, key_owner};

/// State that cannot be used: the checkpoint is of another version of the operator, or its file is wrong in a way that its
/// checksum does not show. Stop, and restore a checkpoint that fits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the saved state of operator {operator:?} cannot be read: {cause}")]
pub struct StateError {
    /// The operator.
    pub operator: String,
    /// What is wrong with it.
    pub cause: String,
}

/// Entries of one operator's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateBlock {
    operator: String,
    is_delta: bool,
    keys: KeyColumn,
    /// Where each value ends in `bytes`.
    ends: Vec<u64>,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl StateBlock {
    /// An empty block of whole state.
    pub fn whole(operator: &str) -> Self {
        StateBlock { operator: operator.to_owned(), ..StateBlock::default() }
    }

    /// An empty block of what has changed.
    pub fn delta(operator: &str) -> Self {
        StateBlock { is_delta: true, ..StateBlock::whole(operator) }
    }

    /// The operator's name.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Whether it adds to what was saved before.
    pub fn is_delta(&self) -> bool {
        self.is_delta
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends an entry.
    pub fn push<V: Serialize>(&mut self, hash: u64, key: &[u8], value: &V) {
        let len = self.bytes.len();
        if bincode::serialize_into(&mut self.bytes, value).is_err() {
            // Writing to memory fails for no type that operators save; an empty value is refused when it is read.
            self.bytes.truncate(len);
        }
        self.keys.push(hash, key);
        self.ends.push(self.bytes.len() as u64);
    }

    /// Appends what an entry now is, of an operator whose later entries take the place of earlier ones
    /// ([`Fold::Replace`](super::Fold::Replace)). Once event time stands at `until_us` it is of no account any more; that instant
    /// is a function of the key.
    pub fn put<V: Serialize>(&mut self, hash: u64, key: &[u8], until_us: i64, value: &V) {
        self.push(hash, key, &(until_us, value));
    }

    /// Appends that an entry is no more, likewise.
    pub fn remove(&mut self, hash: u64, key: &[u8]) {
        self.push(hash, key, &GONE_US);
    }

    /// Appends an entry that stands beside the others of its key, of an operator whose entries add up
    /// ([`Fold::Append`](super::Fold::Append)). Once event time stands at `until_us` it is of no account any more, nor once there is
    /// an entry of a later `era`.
    pub fn append<V: Serialize>(&mut self, hash: u64, key: &[u8], until_us: i64, era: u32, value: &V) {
        self.push(hash, key, &(until_us, era, value));
    }

    /// Bytes of keys and values.
    pub fn byte_len(&self) -> usize {
        self.keys.byte_len() + self.bytes.len()
    }

    /// Appends an entry whose value is serialised already.
    pub(super) fn push_raw(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.keys.push(hash, key);
        self.ends.push(self.bytes.len() as u64);
    }

    /// The entries of share number `share` of `shares`, by their keys' hashes. A block that is not sound is whole in the first share.
    pub(crate) fn share(&self, share: u64, shares: u64, is_first: bool) -> Self {
        if !self.is_sound() {
            return if is_first { self.clone() } else { StateBlock::delta(&self.operator) };
        }
        let (operator, is_delta) = (self.operator.clone(), self.is_delta);
        let mut part = StateBlock { operator, is_delta, ..Self::default() };
        for (hash, key, value) in self.raw().filter(|(hash, ..)| hash % shares == share) {
            part.push_raw(hash, key, value);
        }
        part
    }

    /// Whether keys and values can be told apart: of a block that was read from outside this is not certain.
    pub(super) fn is_sound(&self) -> bool {
        let last = self.ends.last().copied().unwrap_or(0);
        let values = self.ends.is_sorted() && last == self.bytes.len() as u64;
        values && self.keys.is_sound() && self.keys.len() == self.ends.len()
    }

    /// The entries of a sound block in serialised form: hash, key, value.
    pub(super) fn raw(&self) -> impl Iterator<Item = (u64, &[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let values = starts.zip(&self.ends).map(|(start, end)| &self.bytes[start as usize..*end as usize]);
        self.keys.iter().zip(values).map(|((hash, key), value)| (hash, key, value))
    }

    /// Calls `each` with every entry whose key worker `index` of `peers` owns.
    ///
    /// # Errors
    /// When a value is not a `V`, or more than one, or the block is not sound.
    pub fn read<V: DeserializeOwned>(
        &self,
        index: usize,
        peers: usize,
        mut each: impl FnMut(u64, &[u8], V),
    ) -> Result<(), StateError> {
        let unreadable = |cause| StateError { operator: self.operator.clone(), cause };
        if !self.is_sound() {
            return Err(unreadable(UNSOUND.to_owned()));
        }
        for (hash, key, value) in self.raw() {
            if key_owner(hash, peers) == index {
                each(hash, key, value_of(value).map_err(|error| unreadable(error.to_string()))?);
            }
        }
        Ok(())
    }
}

pub(super) const UNSOUND: &str = "its entries have no ends";

/// Until when an entry lasts that was removed.
pub(super) const GONE_US: i64 = i64::MIN;

/// Until when the entry lasts whose value was appended by [`StateBlock::put`], [`StateBlock::remove`] or [`StateBlock::append`];
/// `None` for any other.
pub(super) fn until_us(value: &[u8]) -> Option<i64> {
    value.first_chunk().map(|bytes| i64::from_le_bytes(*bytes))
}

/// The era of an entry whose value was appended by [`StateBlock::append`].
pub(super) fn era(value: &[u8]) -> Option<u32> {
    value.get(8..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The form that `push` writes, and nothing behind it: a longer value is one of another type.
pub(super) fn value_of<V: DeserializeOwned>(value: &[u8]) -> bincode::Result<V> {
    bincode::DefaultOptions::new().with_fixint_encoding().deserialize(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::key_hash;

    #[test]
    fn every_key_is_read_by_exactly_one_worker() {
        let mut block = StateBlock::whole("Windows");
        for n in 0..200u32 {
            let key = n.to_le_bytes();
            block.push(key_hash(&key), &key, &(n, "value"));
        }
        for peers in 1..6 {
            let mut seen = Vec::new();
            for index in 0..peers {
                block.read::<(u32, String)>(index, peers, |_, _, (n, _)| seen.push(n)).unwrap();
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_entry_is_in_one_share() {
        let mut block = StateBlock::delta("Windows");
        for n in 0..100u32 {
            block.push(key_hash(&n.to_le_bytes()), &n.to_le_bytes(), &n);
        }
        assert_eq!(block.share(0, 1, true), block);
        let shares: Vec<_> = (0..3).map(|share| block.share(share, 3, share == 0)).collect();
        let mut seen = Vec::new();
        shares.iter().for_each(|share| share.read::<u32>(0, 1, |_, _, n| seen.push(n)).unwrap());
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert!(shares.iter().all(|share| share.is_delta() && share.len() < 60));
    }

    /// Bytes are written at once, and not one by one: former versions did so, and what they wrote is the same.
    #[test]
    fn blocks_are_written_as_before() {
        let mut block = StateBlock::delta("Windows");
        block.push(7, b"key", &1u32);
        block.push(9, b"longer", &2u32);
        let keys = (vec![7u64, 9], vec![3u32, 9], b"keylonger".to_vec());
        let before = ("Windows", true, keys, vec![4u64, 8], vec![1u8, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bincode::serialize(&block).unwrap(), bincode::serialize(&before).unwrap());
        assert_eq!(bincode::deserialize::<StateBlock>(&bincode::serialize(&before).unwrap()).unwrap(), block);
    }

    #[test]
    fn value_of_another_type_is_an_error_that_names_the_operator() {
        let mut block = StateBlock::whole("Sessions");
        block.push(1, b"key", &1u8);
        let error = block.read::<(u64, String)>(0, 1, |_, _, _| ()).unwrap_err();
        assert!(error.to_string().contains("\"Sessions\""), "{error}");
    }

    #[test]
    fn longer_value_is_an_error_too() {
        let mut block = StateBlock::whole("Sessions");
        block.push(1, b"key", &(1u64, 2u8));
        assert!(block.read::<u64>(0, 1, |_, _, n| panic!("{n} was never saved")).is_err());
    }

    /// The block's own bytes, as a file has them, with one of them changed or some of them cut off.
    #[test]
    fn damaged_block_is_an_error_or_another_value_and_never_a_panic() {
        let mut block = StateBlock::whole("Sessions");
        for n in 0..5u64 {
            block.push(key_hash(&[n as u8]), &[n as u8], &(n, vec![n; 3], "text"));
        }
        let bytes = bincode::serialize(&block).unwrap();
        let read = |bytes: &[u8]| {
            let Ok(block) = bincode::deserialize::<StateBlock>(bytes) else { return false };
            let mut read = 0;
            block.read::<(u64, Vec<u64>, String)>(0, 1, |_, _, _| read += 1).is_ok() && read == 5
        };
        assert!(read(&bytes));
        let mut refused = 0;
        for at in 0..bytes.len() {
            assert!(!read(&bytes[..at]), "cut at {at}");
            for change in [1, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                refused += usize::from(!read(&bytes));
            }
        }
        assert!(refused > bytes.len(), "{refused} of {} changes are noticed", 3 * bytes.len());
    }
}
