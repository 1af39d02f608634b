//! The Kafka source and sink against a real broker: `TIDEGATE_TEST_KAFKA=host:port cargo test --features kafka --test kafka`.
//!
//! Without that variable each test says that it was not made; `tests/run` sets it. What librdkafka's mock cluster can
//! do is tested beside the code.

mod harness;
mod source;
