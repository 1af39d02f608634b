//! What has changed in open windows since it was given, in update mode.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Windows and the numbers of keys, in the order of windows.
pub(super) type Changed = BTreeSet<(i64, u32)>;

/// The changes of one operator's windows.
#[derive(Default)]
pub(super) struct Changes {
    /// Since results were given at the end of an epoch.
    at_end: Changed,
    /// Since they were given at all; `None` where they are not given within epochs.
    early: Option<Changed>,
    /// Windows of which it is not known key by key: what they hold went to disk.
    whole: BTreeSet<i64>,
}

impl Changes {
    /// From now on what is to be given within epochs is known too.
    pub(super) fn with_early(&mut self) {
        self.early = Some(Changed::new());
    }

    /// A key has changed in these windows.
    pub(super) fn note(&mut self, windows: RangeInclusive<i64>, id: u32) {
        let changed = windows.map(|window| (window, id));
        if let Some(early) = &mut self.early {
            early.extend(changed.clone());
        }
        self.at_end.extend(changed);
    }

    /// A key was taken back in these windows: nobody knows what was given of it.
    pub(super) fn note_restored(&mut self, windows: RangeInclusive<i64>, id: u32) {
        self.at_end.extend(windows.map(|window| (window, id)));
    }

    /// The numbers of the keys in `window` mean nothing any more: what it holds goes to disk.
    pub(super) fn make_whole(&mut self, window: i64) {
        if let Some(early) = &mut self.early {
            cut_out(early, window);
        }
        if cut_out(&mut self.at_end, window) {
            self.whole.insert(window);
        }
    }

    /// Windows that are not open any more have been given.
    pub(super) fn close(&mut self, is_open: impl Fn(i64) -> bool) {
        for changed in [Some(&mut self.at_end), self.early.as_mut()].into_iter().flatten() {
            while changed.first().is_some_and(|(window, _)| !is_open(*window)) {
                changed.pop_first();
            }
        }
        while self.whole.first().is_some_and(|window| !is_open(*window)) {
            self.whole.pop_first();
        }
    }

    /// Whether there is something to be given within the epoch.
    pub(super) fn has_early(&self) -> bool {
        self.early.as_ref().is_some_and(|early| !early.is_empty())
    }

    /// What is to be given within the epoch.
    pub(super) fn take_early(&mut self) -> Changed {
        self.early.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What is to be given at its end, and the windows that are to be given whole.
    pub(super) fn take_at_end(&mut self) -> (Changed, BTreeSet<i64>) {
        self.take_early();
        (std::mem::take(&mut self.at_end), std::mem::take(&mut self.whole))
    }
}

/// Takes out the keys of `window`; whether there were any.
fn cut_out(changed: &mut Changed, window: i64) -> bool {
    let mut of_window = changed.split_off(&(window, 0));
    let mut behind = of_window.split_off(&(window + 1, 0));
    changed.append(&mut behind);
    !of_window.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_went_to_disk_is_given_whole_at_the_end_and_not_before() {
        let mut changes = Changes::default();
        changes.with_early();
        changes.note(1..=3, 7);
        changes.note(2..=2, 8);
        changes.make_whole(2);
        changes.make_whole(4);
        assert_eq!(changes.take_early(), Changed::from([(1, 7), (3, 7)]));
        assert_eq!(changes.take_at_end(), (Changed::from([(1, 7), (3, 7)]), BTreeSet::from([2])));
        assert_eq!(changes.take_at_end(), Default::default());
    }

    #[test]
    fn windows_that_close_are_forgotten() {
        let mut changes = Changes::default();
        changes.note_restored(1..=4, 7);
        changes.make_whole(2);
        changes.make_whole(4);
        changes.close(|window| window > 2);
        assert!(!changes.has_early());
        assert_eq!(changes.take_at_end(), (Changed::from([(3, 7)]), BTreeSet::from([4])));
    }
}
