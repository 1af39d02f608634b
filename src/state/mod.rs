//! Operators' state in a serialised form, entry by entry and key by key.
//!
//! An operator saves its state when its frontier has passed an epoch, before it lets go of the epoch: sources are aligned
//! ([`Epochs`](crate::runtime::Epochs)), so at that moment it has all of the epoch and nothing of the next. Entries carry the
//! key's hash, so that a run on any number of workers takes back exactly the keys that it owns.
//!
//! A block is **whole** state, which replaces what was saved before under the same operator's name, or a **delta**, which
//! adds to it, so that a checkpoint costs what has changed. A delta's entry adds to the earlier ones of its key (relations that
//! only grow, events that wait) or takes their place (everything else): all but relations say until which event time they are of any
//! account, so that what event time frees costs no entry of its own. Deltas are folded now and then by the rule that the operator registers
//! ([`Fold`]).

mod block;
mod compaction;
mod hub;
mod restored;
mod writer;

pub use block::{StateBlock, StateError};
pub use compaction::{Compactions, Fold};
pub use hub::{Saver, StateHub};
pub use restored::{Blocks, Restored};
pub use writer::StateWriter;
