//! Blocks as an operator fills them: of bounded size, however much it has to say.

use serde::Serialize;

use super::StateBlock;

/// A block is full when its keys and values reach this size. The ends of keys are counted in 32 bits.
const BLOCK_BYTES: usize = 64 << 20;

/// What an operator saves in an epoch.
#[derive(Debug)]
pub struct StateWriter {
    operator: String,
    is_delta: bool,
    block_bytes: usize,
    blocks: Vec<StateBlock>,
}

impl StateWriter {
    /// Whole state of `operator`: nothing yet.
    pub fn whole(operator: &str) -> Self {
        StateWriter {
            operator: operator.to_owned(),
            is_delta: false,
            block_bytes: BLOCK_BYTES,
            blocks: Vec::new(),
        }
    }

    /// What has changed of it: nothing yet.
    pub fn delta(operator: &str) -> Self {
        StateWriter { is_delta: true, ..StateWriter::whole(operator) }
    }

    /// The block that takes the next entry.
    fn open(&mut self) -> &mut StateBlock {
        if self.blocks.last().is_none_or(|block| block.byte_len() >= self.block_bytes) {
            self.blocks.push(match self.is_delta {
                true => StateBlock::delta(&self.operator),
                false => StateBlock::whole(&self.operator),
            });
        }
        let last = self.blocks.len() - 1;
        &mut self.blocks[last]
    }

    /// See [`StateBlock::push`].
    pub fn push<V: Serialize>(&mut self, hash: u64, key: &[u8], value: &V) {
        self.open().push(hash, key, value);
    }

    /// See [`StateBlock::put`].
    pub fn put<V: Serialize>(&mut self, hash: u64, key: &[u8], until_us: i64, value: &V) {
        self.open().put(hash, key, until_us, value);
    }

    /// See [`StateBlock::remove`].
    pub fn remove(&mut self, hash: u64, key: &[u8]) {
        self.open().remove(hash, key);
    }

    /// See [`StateBlock::append`].
    pub fn append<V: Serialize>(&mut self, hash: u64, key: &[u8], until_us: i64, era: u32, value: &V) {
        self.open().append(hash, key, until_us, era, value);
    }

    pub(super) fn push_raw(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        self.open().push_raw(hash, key, value);
    }

    /// The blocks, none of them empty.
    pub fn into_blocks(self) -> Vec<StateBlock> {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_state_is_several_blocks_in_order() {
        let mut writer = StateWriter { block_bytes: 100, ..StateWriter::delta("Windows") };
        for n in 0..50u64 {
            writer.push(n, &n.to_le_bytes(), &n);
        }
        let blocks = writer.into_blocks();
        assert!(blocks.len() > 5 && blocks.iter().all(|block| block.byte_len() < 200 && block.is_delta()));
        let mut read = Vec::new();
        blocks.iter().for_each(|block| block.read::<u64>(0, 1, |_, _, n| read.push(n)).unwrap());
        assert_eq!(read, (0..50).collect::<Vec<_>>());
    }
}
