//! A block of saved state.

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

    /// Appends an entry whose value is serialised already.
    pub(super) fn push_raw(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.keys.push(hash, key);
        self.ends.push(self.bytes.len() as u64);
    }

    /// The entries in serialised form: hash, key, value.
    pub(super) fn raw(&self) -> impl Iterator<Item = (u64, &[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let values = starts.zip(&self.ends).map(|(start, end)| &self.bytes[start as usize..*end as usize]);
        self.keys.iter().zip(values).map(|((hash, key), value)| (hash, key, value))
    }

    /// Calls `each` with every entry whose key worker `index` of `peers` owns.
    ///
    /// # Errors
    /// When a value is not a `V`.
    pub fn read<V: DeserializeOwned>(
        &self,
        index: usize,
        peers: usize,
        mut each: impl FnMut(u64, &[u8], V),
    ) -> Result<(), StateError> {
        for (hash, key, value) in self.raw() {
            if key_owner(hash, peers) == index {
                let value = bincode::deserialize(value).map_err(|error| StateError {
                    operator: self.operator.clone(),
                    cause: error.to_string(),
                })?;
                each(hash, key, value);
            }
        }
        Ok(())
    }
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
    fn value_of_another_type_is_an_error_that_names_the_operator() {
        let mut block = StateBlock::whole("Sessions");
        block.push(1, b"key", &1u8);
        let error = block.read::<(u64, String)>(0, 1, |_, _, _| ()).unwrap_err();
        assert!(error.to_string().contains("\"Sessions\""), "{error}");
    }
}
