//! What panes are spilt as.

use abomonation::Abomonation;
use bytemuck::{Pod, Zeroable};

/// Eight bytes of a pane on its way to disk: a number, or bytes that are padded to whole words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Word(pub u64);

impl Abomonation for Word {}

impl Word {
    /// Appends `bytes`, padded with zeros.
    pub fn push_bytes(words: &mut Vec<Word>, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<8>();
        words.extend(whole.iter().map(|word| Word(u64::from_ne_bytes(*word))));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            words.push(Word(u64::from_ne_bytes(last)));
        }
    }

    /// Takes `len` bytes that were appended off the front; `None` when there are not so many.
    pub fn take_bytes<'a>(words: &mut &'a [Word], len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = words.split_at_checked(len.div_ceil(8))?;
        *words = rest;
        bytemuck::cast_slice(taken).get(..len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_come_back_in_order(all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut words = Vec::new();
            all.iter().for_each(|bytes| Word::push_bytes(&mut words, bytes));
            let mut rest = &words[..];
            for bytes in &all {
                prop_assert_eq!(Word::take_bytes(&mut rest, bytes.len()), Some(&bytes[..]));
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(Word::take_bytes(&mut rest, 1), None);
        }
    }
}
