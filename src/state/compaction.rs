//! Folding of deltas: of several entries of a key one stays.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hashbrown::HashMap;

use super::StateBlock;

/// Of two serialised values of one key, whether the second takes the place of the first.
pub type Keep = fn(&[u8], &[u8]) -> bool;

/// The rules of all operators that save deltas, by operator.
#[derive(Debug, Default)]
pub struct Compactions(Mutex<BTreeMap<String, Keep>>);

impl Compactions {
    /// States the rule of an operator.
    pub fn register(&self, operator: &str, keep: Keep) {
        if let Ok(mut rules) = self.0.lock() {
            rules.insert(operator.to_owned(), keep);
        }
    }

    /// One block an operator, with one entry a key. Blocks of operators without a rule stay as they are.
    pub fn fold(&self, blocks: Vec<StateBlock>) -> Vec<StateBlock> {
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
            let keep = rules[operator];
            let mut latest = HashMap::<&[u8], (u64, &[u8])>::new();
            for (hash, key, value) in blocks.iter().flat_map(StateBlock::raw) {
                latest
                    .entry(key)
                    .and_modify(|(_, old)| {
                        if keep(old, value) {
                            *old = value
                        }
                    })
                    .or_insert((hash, value));
            }
            let mut folded = StateBlock::delta(operator);
            let mut latest: Vec<_> = latest.into_iter().collect();
            latest.sort_unstable();
            latest.into_iter().for_each(|(key, (hash, value))| folded.push_raw(hash, key, value));
            kept.push(folded);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_values_the_rule_chooses() {
        let compactions = Compactions::default();
        compactions.register("Latest", |old, new| new > old);
        let block = |entries: &[(&str, u8)]| {
            let mut block = StateBlock::delta("Latest");
            entries.iter().for_each(|(key, value)| block.push(7, key.as_bytes(), value));
            block
        };
        let folded = compactions.fold(vec![block(&[("a", 2), ("b", 1)]), block(&[("a", 1), ("b", 3)])]);
        assert_eq!(folded, [block(&[("a", 2), ("b", 3)])]);
    }
}
