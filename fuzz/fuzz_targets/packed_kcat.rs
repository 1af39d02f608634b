//! Bytes as a packed file of kcat lines, gzip and zstd: read the same unpacked before or on the way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate::source::fixture::fuzz_packed_kcat(bytes));
