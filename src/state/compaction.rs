//! Folding of deltas: of several entries of a key one stays, or none.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hashbrown::HashMap;

use super::block::{GONE_US, era, until_us};
use super::{StateBlock, StateWriter};

/// What several entries of a key mean together.
#[derive(Clone, Copy, Debug)]
pub enum Fold {
    /// The second takes the place of the first where this says so of their values.
    Keep(fn(&[u8], &[u8]) -> bool),
    /// The value that this makes of theirs; the first stays where it makes none.
    Merge(fn(&[u8], &[u8]) -> Option<Vec<u8>>),
    /// The later takes the place of the earlier ([`StateBlock::put`], [`StateBlock::remove`]).
    Replace,
    /// All stay, but for those of a former era ([`StateBlock::append`]).
    Append,
}

/// What is made of the deltas of a key.
enum Value<'b> {
    /// As a block has it.
    Old(&'b [u8]),
    /// Made of several.
    New(Vec<u8>),
}

impl Value<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Value::Old(bytes) => bytes,
            Value::New(bytes) => bytes,
        }
    }
}

/// The rules of all operators that save deltas, by operator.
#[derive(Debug, Default)]
pub struct Compactions(Mutex<BTreeMap<String, Fold>>);

impl Compactions {
    /// States the rule of an operator.
    pub fn register(&self, operator: &str, fold: Fold) {
        if let Ok(mut rules) = self.0.lock() {
            rules.insert(operator.to_owned(), fold);
        }
    }

    /// One entry a key, operator by operator. Blocks of operators without a rule stay as they are.
    ///
    /// Event time stands at `watermark_us`: entries that are of no account any more are left out. Those that say that there
    /// is nothing of a key are left out where the fold `begins` with the first delta there is, and needed otherwise.
    pub fn fold(&self, blocks: Vec<StateBlock>, watermark_us: i64, begins: bool) -> Vec<StateBlock> {
        let Ok(rules) = self.0.lock() else { return blocks };
        let (mut kept, mut by_operator) = (Vec::new(), BTreeMap::<String, Vec<StateBlock>>::new());
        for block in blocks {
            // One that is not sound stays as it is: whoever reads it says so.
            match rules.contains_key(block.operator()) && block.is_sound() {
                true => by_operator.entry(block.operator().to_owned()).or_default().push(block),
                false => kept.push(block),
            }
        }
        for (operator, blocks) in &by_operator {
            let rule = rules[operator];
            if let Fold::Append = rule {
                kept.extend(of_account(operator, blocks, watermark_us));
                continue;
            }
            let mut latest = HashMap::<&[u8], (u64, Value<'_>)>::new();
            for (hash, key, value) in blocks.iter().flat_map(StateBlock::raw) {
                latest
                    .entry(key)
                    .and_modify(|(_, old)| match rule {
                        Fold::Keep(keep) if !keep(old.bytes(), value) => {}
                        Fold::Keep(_) | Fold::Replace | Fold::Append => *old = Value::Old(value),
                        Fold::Merge(merge) => {
                            if let Some(merged) = merge(old.bytes(), value) {
                                *old = Value::New(merged);
                            }
                        }
                    })
                    .or_insert((hash, Value::Old(value)));
            }
            let stays = |value: &[u8]| match (rule, until_us(value)) {
                (Fold::Replace, Some(GONE_US)) => !begins,
                (Fold::Replace, Some(until_us)) => until_us > watermark_us,
                _ => true,
            };
            let mut latest: Vec<_> = latest.into_iter().collect();
            latest.sort_unstable_by_key(|(key, _)| *key);
            let mut folded = StateWriter::delta(operator);
            for (key, (hash, value)) in latest.iter().filter(|(_, (_, value))| stays(value.bytes())) {
                folded.push_raw(*hash, key, value.bytes());
            }
            kept.extend(folded.into_blocks());
        }
        kept
    }
}

/// The entries that event time has not passed, of the last era there is here; in their order, without a look at their keys.
fn of_account(operator: &str, blocks: &[StateBlock], watermark_us: i64) -> Vec<StateBlock> {
    let last = blocks.iter().map(last_era).max().unwrap_or(0);
    let mut folded = StateWriter::delta(operator);
    let entries = blocks.iter().flat_map(StateBlock::raw);
    for (hash, key, value) in entries.filter(|(_, _, value)| is_of_account(value, last, watermark_us)) {
        folded.push_raw(hash, key, value);
    }
    folded.into_blocks()
}

/// The last era that an entry of a block is of.
pub(super) fn last_era(block: &StateBlock) -> u32 {
    block.raw().filter_map(|(_, _, value)| era(value)).max().unwrap_or(0)
}

/// Whether an entry that was appended is of the era and not over; one that is too short for that stays, for whoever reads it to say so.
pub(super) fn is_of_account(value: &[u8], last: u32, watermark_us: i64) -> bool {
    era(value).is_none_or(|era| era == last) && until_us(value).is_none_or(|until_us| until_us > watermark_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_values_the_rule_chooses() {
        let compactions = Compactions::default();
        compactions.register("Latest", Fold::Keep(|old, new| new > old));
        let block = |entries: &[(&str, u8)]| {
            let mut block = StateBlock::delta("Latest");
            entries.iter().for_each(|(key, value)| block.push(7, key.as_bytes(), value));
            block
        };
        let folded =
            compactions.fold(vec![block(&[("a", 2), ("b", 1)]), block(&[("a", 1), ("b", 3)])], 0, true);
        assert_eq!(folded, [block(&[("a", 2), ("b", 3)])]);
    }

    #[test]
    fn values_are_merged_in_order() {
        let compactions = Compactions::default();
        compactions.register("Appended", Fold::Merge(|old, new| Some([old, new].concat())));
        let block = |value: u8| {
            let mut block = StateBlock::delta("Appended");
            block.push(7, b"a", &value);
            block
        };
        let folded = compactions.fold(vec![block(1), block(2), block(3)], 0, true);
        let mut expected = StateBlock::delta("Appended");
        expected.push(7, b"a", &(1u8, 2u8, 3u8));
        assert_eq!(folded, [expected]);
    }

    /// `(key, until, value)`; without a value it is gone.
    fn put(entries: &[(&str, i64, Option<u8>)]) -> StateBlock {
        let mut block = StateBlock::delta("Windows");
        for (key, until_us, value) in entries {
            match value {
                Some(value) => block.put(7, key.as_bytes(), *until_us, value),
                None => block.remove(7, key.as_bytes()),
            }
        }
        block
    }

    #[test]
    fn later_entries_replace_earlier_ones_and_nothing_is_kept_of_what_is_over() {
        let compactions = Compactions::default();
        compactions.register("Windows", Fold::Replace);
        let deltas = || {
            vec![
                put(&[("a", 90, Some(1)), ("b", 90, Some(1)), ("c", 50, Some(1)), ("e", 90, Some(1))]),
                put(&[
                    ("b", 90, Some(2)),
                    ("d", 90, None),
                    ("e", 90, None),
                    ("a", 90, None),
                    ("a", 90, Some(3)),
                ]),
            ]
        };
        let all = put(&[("a", 90, Some(3)), ("b", 90, Some(2))]);
        assert_eq!(compactions.fold(deltas(), 50, true), [all]);
        // What came before may hold them.
        let part = put(&[("a", 90, Some(3)), ("b", 90, Some(2)), ("d", 90, None), ("e", 90, None)]);
        assert_eq!(compactions.fold(deltas(), 50, false), [part]);
        assert_eq!(compactions.fold(deltas(), 90, true), []);
    }

    #[test]
    fn appended_entries_stay_until_they_are_over_or_a_later_era_has_come() {
        let compactions = Compactions::default();
        compactions.register("Waiting", Fold::Append);
        // `(until, era, value)`, all of one key.
        let block = |entries: &[(i64, u32, u8)]| {
            let mut block = StateBlock::delta("Waiting");
            entries.iter().for_each(|(until_us, era, value)| block.append(7, b"a", *until_us, *era, value));
            block
        };
        let fold = |blocks, watermark_us| compactions.fold(blocks, watermark_us, true);
        let deltas = || vec![block(&[(90, 0, 1), (50, 0, 2)]), block(&[(90, 0, 1), (51, 0, 3)])];
        assert_eq!(fold(deltas(), 50), [block(&[(90, 0, 1), (90, 0, 1), (51, 0, 3)])]);
        assert_eq!(fold(deltas(), 90), []);
        let moved = [deltas(), vec![block(&[(90, 1, 1)])]].concat();
        assert_eq!(fold(moved, 50), [block(&[(90, 1, 1)])]);
    }
}
