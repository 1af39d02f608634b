//! Bytes as a message, on the wire and as JSON: two readers agree, and what is read survives being written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate::decode::protobuf::fuzz_protobuf(bytes));
