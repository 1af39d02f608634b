//! Bytes as an event: the scanner says what the tokenizer says, on every instruction set.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate::decode::json::fuzz_decode(bytes));
