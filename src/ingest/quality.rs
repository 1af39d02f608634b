//! Data quality: how often which rule was broken, by whom.
//!
//! A validator counts where it refuses, on the worker that reads the partition; the counts leave with the
//! epoch, so that the totals are those of a decided log and not of a moment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::Decode;
use super::front::{Edge, Front, Position, Verdicts};

/// Who broke which rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Breach {
    /// The sensor, user, …; empty when it is not known.
    pub subject: Vec<u8>,
    /// The rule's name.
    pub rule: String,
}

/// The breaches that a worker has seen since the last time they left; clones share them.
#[derive(Clone, Debug, Default)]
pub struct QualityCounts(Rc<RefCell<BTreeMap<Breach, u64>>>);

impl QualityCounts {
    /// Counts one breach of `rule` by `subject`.
    pub fn count(&self, subject: &[u8], rule: &str) {
        let breach = Breach { subject: subject.to_vec(), rule: rule.to_owned() };
        *self.0.borrow_mut().entry(breach).or_default() += 1;
    }
}

/// Sends the counts into the dataflow when an epoch ends; takes nothing from accepted records.
#[derive(Debug)]
pub struct QualityFront(QualityCounts);

impl QualityFront {
    /// Sends what is counted in `counts`.
    pub fn new(counts: QualityCounts) -> Self {
        QualityFront(counts)
    }
}

impl<D: Decode> Front<D> for QualityFront {
    type Item = (Breach, u64);

    #[inline(always)]
    fn observe(&mut self, _at: &Position<'_>, _event: &D::Event<'_>, _verdicts: &mut Verdicts<'_>) {}

    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(Self::Item)) {
        if edge.is_end() {
            std::mem::take(&mut *self.0.0.borrow_mut()).into_iter().for_each(send);
        }
    }
}
