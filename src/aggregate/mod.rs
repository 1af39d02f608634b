//! placeholder
mod exact;
mod finite;
mod fixed;
mod limbs;
mod moments;
pub use exact::ExactSum;
pub use finite::{Finite, NotFinite};
pub use moments::Moments;
#[cfg(test)]
mod tests;
