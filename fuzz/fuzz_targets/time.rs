//! Bytes as a time: the cached and the plain reader agree, and what is read survives being written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate::time::fuzz_time(bytes));
