//! The memory limit, as a worker's operators see it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a worker's state may take in memory, and where it goes beyond that; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Budget(Option<Rc<Inner>>);

#[derive(Debug)]
struct Inner {
    limit_bytes: usize,
    directory: PathBuf,
    used_bytes: Cell<usize>,
}

impl Budget {
    /// No limit: nothing is ever spilt.
    pub fn unlimited() -> Self {
        Budget(None)
    }

    /// `limit_bytes` of accounted state; what is beyond goes to files in `directory`.
    pub fn limited(limit_bytes: usize, directory: &Path) -> Self {
        let directory = directory.to_owned();
        Budget(Some(Rc::new(Inner { limit_bytes, directory, used_bytes: Cell::new(0) })))
    }

    /// Where state is spilt; `None` without a limit.
    pub fn directory(&self) -> Option<&Path> {
        self.0.as_ref().map(|inner| &*inner.directory)
    }

    /// Notes that an operator's state takes `now` bytes; `before` is what it took, which this brings up to date.
    pub fn account(&self, before: &mut usize, now: usize) {
        if let Some(inner) = &self.0 {
            let used = inner.used_bytes.get().saturating_sub(*before).saturating_add(now);
            inner.used_bytes.set(used);
            *before = now;
        }
    }

    /// Bytes accounted by all of the worker's operators.
    pub fn used_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.used_bytes.get())
    }

    /// Whether the state is beyond the limit.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.used_bytes.get() > inner.limit_bytes)
    }

    /// Whether it is so far below it that spilling may stop: not at once at the limit again.
    pub fn is_relieved(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.used_bytes.get() <= inner.limit_bytes / 4 * 3)
    }

    /// How much must go until it is so far below.
    pub fn excess_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.used_bytes.get().saturating_sub(inner.limit_bytes / 4 * 3))
    }

    /// What is smaller is not worth a file.
    pub fn least_bytes(&self) -> usize {
        self.0.as_ref().map_or(usize::MAX, |inner| inner.limit_bytes / 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_share_a_limit() {
        let budget = Budget::limited(100, Path::new("/tmp"));
        let (mut windows, mut sessions) = (0, 0);
        budget.account(&mut windows, 60);
        budget.clone().account(&mut sessions, 50);
        assert!(budget.is_over() && !budget.is_relieved());
        assert_eq!(budget.excess_bytes(), 35);
        budget.account(&mut windows, 40);
        assert!(!budget.is_over() && !budget.is_relieved());
        budget.account(&mut windows, 25);
        assert!(budget.is_relieved() && budget.excess_bytes() == 0);
        assert_eq!((budget.used_bytes(), windows, sessions), (75, 25, 50));
    }

    #[test]
    fn without_a_limit_nothing_is_over() {
        let budget = Budget::unlimited();
        budget.account(&mut 0, usize::MAX);
        assert!(!budget.is_over() && budget.is_relieved() && budget.directory().is_none());
    }
}
