//! Synthetic input: seeded, so that it is the same everywhere and always, and written as a fixture.

pub mod activity;
pub mod hydraulic;
pub mod iot;
pub mod marks;
pub(crate) mod random;
mod target;
pub mod transit;

pub use target::{Form, Packed, Target, TargetError};
