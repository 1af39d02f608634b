//! Properties of the exact aggregates, against rational numbers of any size.

mod oracle;

mod moments;
mod sums;
