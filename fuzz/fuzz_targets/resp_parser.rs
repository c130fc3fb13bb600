//! Hands the fuzzer's bytes to the target of this name in `targets`.
#![no_main]

#[path = "../targets/mod.rs"]
#[allow(dead_code, reason = "each program uses one of the targets")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::resp_parser::run(data));
