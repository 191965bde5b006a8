#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| runledger_fuzz::server::token(data));
