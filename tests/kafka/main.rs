//! The Kafka source and sink against a real broker: `TIDEGATE_TEST_KAFKA=host:port cargo test --features kafka --test kafka`.
//!
//! Without that variable each test says that it was not made; `tests/run` sets it. What librdkafka's mock cluster can
//! do is tested beside the code.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // In a test, a panic and a line are the report.

mod harness;
mod restart;
mod source;
