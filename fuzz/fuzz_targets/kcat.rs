//! Bytes as a file of kcat lines: read the same at every pace, and without a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate::source::fixture::fuzz_kcat(bytes));
