//! What a decoder looks for: the declared members of a document, and the limits on it.

use crate::decode::simd::Padded;

/// The type of a declared member. Every declared member is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The event time: text in a form of [`time`](crate::time), or an integer of epoch milliseconds.
    Time,
    /// A string: not empty, at most [`Limits::max_string_bytes`] long, without U+0000.
    Text,
    /// A number without fraction or exponent, within `i64`.
    Integer,
    /// A number; read as the nearest `f64`, `-0.0` as `0.0`.
    Number,
    /// A string of this list.
    Choice(&'static [&'static str]),
}

/// A declared member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

impl Member {
    /// The member `name` of type `kind`.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Member { name, kind }
    }
}

/// How large a document and its texts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest value that is looked into, in bytes; what is over it is `too_large`. Above 1 GiB it counts as 1 GiB.
    pub max_record_bytes: usize,
    /// The longest declared text, in bytes of UTF-8 after unescaping; what is over it is `schema`.
    pub max_string_bytes: usize,
}

impl Default for Limits {
    /// 1 MiB a record, 2,048 bytes a text.
    fn default() -> Self {
        Limits { max_record_bytes: 1 << 20, max_string_bytes: 2_048 }
    }
}

/// A member as the decoder uses it.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The list of a [`Kind::Choice`], empty otherwise.
    pub(super) choices: Choices,
}

impl Field {
    pub(super) fn new(member: Member) -> Self {
        let words = if let Kind::Choice(words) = member.kind { words } else { &[] };
        Field { name: member.name, kind: member.kind, choices: Choices::new(words) }
    }
}

/// A closed list of texts that is searched without a branch on what is found.
///
/// Texts of at most 16 bytes are compared as one word, padded with zeros; a multiplicative hash without collisions
/// among them, found when the list is made, says with which one. A list with longer texts, or one
/// for which no such hash turns up, is searched in order.
#[derive(Clone, Debug)]
pub(super) struct Choices {
    words: &'static [&'static str],
    /// Empty when the list is to be searched in order.
    table: Box<[Choice]>,
    factor: u64,
    shift: u32,
}

/// A slot of the table.
#[derive(Clone, Copy, Debug)]
struct Choice {
    padded: u128,
    len: u32,
    index: u32,
}

/// A slot that is free: no text is so long.
const FREE: Choice = Choice { padded: 0, len: u32::MAX, index: 0 };

impl Choices {
    fn new(words: &'static [&'static str]) -> Self {
        let mut choices = Choices { words, table: Box::default(), factor: 0, shift: 0 };
        if words.is_empty() || words.iter().any(|word| word.len() > 16) {
            return choices;
        }
        // Lists are small, so a few factors are enough: one in eight serves 17 texts in 64 slots.
        let mut factor = 0x9e37_79b9_7f4a_7c15_u64;
        for bits in words.len().next_power_of_two().ilog2() + 1..=10 {
            for _ in 0..256 {
                (choices.factor, choices.shift) = (factor | 1, 64 - bits);
                if let Some(table) = choices.fill(1 << bits) {
                    choices.table = table;
                    return choices;
                }
                factor = factor.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            }
        }
        choices
    }

    /// The table for the present factor, unless two texts collide.
    fn fill(&self, slots: usize) -> Option<Box<[Choice]>> {
        let mut table = vec![FREE; slots].into_boxed_slice();
        for (index, word) in self.words.iter().enumerate() {
            let padded = pad(word.as_bytes())?;
            let slot = &mut table[self.slot(padded)];
            if slot.len != FREE.len {
                return None;
            }
            *slot = Choice { padded, len: word.len() as u32, index: index as u32 };
        }
        Some(table)
    }

    #[inline(always)]
    fn slot(&self, padded: u128) -> usize {
        let (low, high) = (padded as u64, (padded >> 64) as u64);
        ((low ^ high.rotate_left(29)).wrapping_mul(self.factor) >> self.shift) as usize
    }

    /// The index of `text`.
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        let Some(padded) = pad(text).filter(|_| !self.table.is_empty()) else {
            return self.find_in_order(text);
        };
        self.find_padded(padded, text.len())
    }

    /// The index of the text that stands in `document` from `start` to `end`.
    #[inline(always)]
    pub(super) fn find_within(&self, document: Padded<'_>, start: usize, end: usize) -> Option<usize> {
        let len = end - start;
        if self.table.is_empty() || len > 16 {
            return self.find_in_order(document.bytes().get(start..end)?);
        }
        let window = u128::from_le_bytes(*document.array(start)?);
        let kept = if len == 16 { window } else { window & !(u128::MAX << (8 * len)) };
        self.find_padded(kept, len)
    }

    #[inline(always)]
    fn find_padded(&self, padded: u128, len: usize) -> Option<usize> {
        let choice = self.table.get(self.slot(padded))?;
        (choice.padded == padded && choice.len as usize == len).then_some(choice.index as usize)
    }

    #[cold]
    fn find_in_order(&self, text: &[u8]) -> Option<usize> {
        self.words.iter().position(|word| word.as_bytes() == text)
    }
}

/// At most 16 bytes, padded with zeros.
fn pad(text: &[u8]) -> Option<u128> {
    let mut padded = [0; 16];
    padded.get_mut(..text.len())?.copy_from_slice(text);
    Some(u128::from_le_bytes(padded))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENSORS: [&str; 17] = [
        "PS1", "PS2", "PS3", "PS4", "PS5", "PS6", "EPS1", "FS1", "FS2", "TS1", "TS2", "TS3", "TS4", "VS1",
        "CE", "CP", "SE",
    ];

    fn check(words: &'static [&'static str]) {
        let choices = Choices::new(words);
        let agree = |text: &[u8]| {
            let expected = words.iter().position(|word| word.as_bytes() == text);
            assert_eq!(choices.find(text), expected, "{}", String::from_utf8_lossy(text));
            let slab = [b"{\"", text, &[b'"'; 100]].concat();
            let document = Padded::new(&slab, text.len() + 3).unwrap();
            assert_eq!(choices.find_within(document, 2, 2 + text.len()), expected);
        };
        for word in words {
            agree(word.as_bytes());
            agree(&[word.as_bytes(), b"x"].concat());
            agree(&word.as_bytes()[1..]);
            agree(&word.as_bytes()[..word.len() - 1]);
            agree(word.to_uppercase().as_bytes());
        }
        for other in ["", "x", "exactly16bytes!!", "more than sixteen bytes"] {
            agree(other.as_bytes());
        }
    }

    #[test]
    fn a_closed_list_finds_its_texts_and_no_others() {
        check(&["page_view", "click", "session_start", "session_end"]);
        check(&SENSORS);
        check(&["a"]);
        check(&["exactly16bytes!!", "exactly15bytes!"]);
        check(&["short", "longer than sixteen bytes"]);
        check(&["\u{e4}", "\u{4f60}\u{597d}"]);
    }

    #[test]
    fn short_lists_get_a_table() {
        assert!(!Choices::new(&["page_view", "click", "session_start", "session_end"]).table.is_empty());
        assert!(!Choices::new(&SENSORS).table.is_empty());
        assert!(Choices::new(&SENSORS).table.len() <= 256);
    }

    #[test]
    fn an_empty_list_holds_nothing() {
        check(&[]);
    }
}
