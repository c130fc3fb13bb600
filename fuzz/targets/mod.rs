//! What the fuzz targets do with their bytes. The programs in `fuzz_targets` hand them the fuzzer's bytes; the tests in
//! `tests/inputs` hand them the corpus and seeded random bytes, on any toolchain.
//!
//! A target panics if the product breaks a promise. It must do the same for the same bytes, and end in time for all.

mod bytes;
pub(crate) mod http_routes;
pub(crate) mod operations;
pub(crate) mod resp_parser;
pub(crate) mod segment_open;
