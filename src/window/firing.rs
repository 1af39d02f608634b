//! Which results of a window there are: while it is open, and when it has closed.

use serde::{Deserialize, Serialize};

/// Which of a window's results these are, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Firing {
    /// Of a window that is open, within an epoch: written at once by the sinks that can, and part of no epoch. The end of the
    /// epoch gives all of them again.
    Early,
    /// Of a window that is open, at the end of an epoch and part of it; others of its key follow.
    Epoch,
    /// The last one: the window has closed.
    Final,
}

impl Firing {
    /// Whether no other result follows.
    pub fn is_final(self) -> bool {
        self == Firing::Final
    }
}
