//! The operators, one file each. They know no pipeline, no clock and no store.
//!
//! Each trait states its shape, guarantees, state, errors and source; [`baseline`] is state for [`ordered`], and
//! `epoch_changes` what [`latest`] and [`totals`] have in common.

pub mod baseline;
pub mod distinct;
mod epoch_changes;
pub mod keyed;
pub mod keyed_window;
pub mod latest;
pub mod left_join;
pub mod net_changes;
pub mod ordered;
pub mod pivot;
pub mod session;
pub mod totals;

#[cfg(test)]
mod tests;
