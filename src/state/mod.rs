//! Operators' state in a serialised form, entry by entry and key by key.
//!
//! An operator saves its state when its frontier has passed an epoch, before it lets go of the epoch: sources are aligned
//! ([`Epochs`](crate::runtime::Epochs)), so at that moment it has all of the epoch and nothing of the next. Entries carry the
//! key's hash, so that a run on any number of workers takes back exactly the keys that it owns.
//!
//! A block is **whole** state, which replaces what was saved before under the same operator's name, or a **delta**, which
//! adds to it: for relations that only grow, so that a checkpoint costs what has changed. Deltas are folded now and
//! then by a rule that the operator registers ([`Compactions`]).

mod block;
mod compaction;
mod hub;

pub use block::{StateBlock, StateError};
pub use compaction::{Compactions, Keep};
pub use hub::{Restored, Saver, StateHub};
