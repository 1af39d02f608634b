//! The operators, one file each. They know no pipeline, no clock and no store.

pub mod baseline;
pub mod distinct;
mod epoch_changes;
pub mod keyed;
pub mod keyed_window;
pub mod latest;
pub mod net_changes;
pub mod ordered;
pub mod pivot;
pub mod session;
pub mod totals;

#[cfg(test)]
mod tests;
