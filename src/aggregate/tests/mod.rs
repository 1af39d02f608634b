//! Properties of the exact aggregates, against rational numbers of any size.

mod oracle;

mod laws;
mod moments;
mod sums;
