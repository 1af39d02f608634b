//! Windows over event time: their arithmetic, and the tables of open panes.

mod changes;
mod closer;
mod cold;
mod firing;
mod first_windows;
mod panes;
mod spec;
#[cfg(test)]
pub(crate) mod tests;

pub use closer::{ClosedWindow, PaneBlock, WindowCloser};
pub use firing::Firing;
pub use first_windows::FirstWindows;
pub use panes::{PaneStore, Slots};
pub use spec::{BadWindow, Eligible, MOST_OVERLAP, WindowSpec};
