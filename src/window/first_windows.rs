//! How many records have each window as the first that they count in.

use std::collections::BTreeMap;

/// How many windows are at hand without a search: enough for the usual disorder.
const NEAR: usize = 64;

/// Counts of records by the first window that each counts in.
#[derive(Debug)]
pub struct FirstWindows {
    /// A window and its count, each in the place of its number.
    near: [(i64, u64); NEAR],
    /// Those whose place another window has taken.
    far: BTreeMap<i64, u64>,
}

impl Default for FirstWindows {
    fn default() -> Self {
        FirstWindows { near: [(0, 0); NEAR], far: BTreeMap::new() }
    }
}

impl FirstWindows {
    /// Counts a record.
    #[inline(always)]
    pub fn note(&mut self, window: i64) {
        let near = &mut self.near[window as usize % NEAR];
        if near.0 == window {
            near.1 += 1;
            return;
        }
        self.replace(window);
    }

    #[inline(never)]
    fn replace(&mut self, window: i64) {
        let near = &mut self.near[window as usize % NEAR];
        let (other, count) = std::mem::replace(near, (window, 1));
        if count > 0 {
            *self.far.entry(other).or_default() += count;
        }
    }

    /// Takes out all counts; a window can come more than once.
    pub fn take(&mut self, mut each: impl FnMut(i64, u64)) {
        std::mem::take(&mut self.far).into_iter().for_each(|(window, count)| each(window, count));
        for (window, count) in self.near.iter_mut().filter(|(_, count)| *count > 0) {
            each(*window, std::mem::take(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_equal_a_map(windows in prop::collection::vec(-200_i64..200, 0..2000), taken_at in 0_usize..2000) {
            let mut counts = FirstWindows::default();
            let mut model = BTreeMap::<i64, u64>::new();
            let mut found = model.clone();
            for (at, window) in windows.into_iter().enumerate() {
                if at == taken_at {
                    counts.take(|window, count| *found.entry(window).or_default() += count);
                }
                counts.note(window);
                *model.entry(window).or_default() += 1;
            }
            counts.take(|window, count| *found.entry(window).or_default() += count);
            prop_assert_eq!(&found, &model);
            counts.take(|window, _| panic!("{window} was taken already"));
        }
    }
}
