//! What the fuzz targets do with their input: `cargo +nightly fuzz run TARGET`.
//!
//! Each target is a function of bytes that panics when a promise is broken. Checksums are put right
//! before the bytes are handed in, or a fuzzer would never get past them. The kept corpus runs
//! under `cargo test` as well, through these same functions (`tests/fuzz_corpus.rs`).

pub mod codec;
pub mod footer;
pub mod frame;
pub mod headers;
pub mod input;
pub mod line;
pub mod memory;
pub mod model;
pub mod packed;
pub mod query;
pub mod segment;
#[cfg(feature = "server")]
pub mod server;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("codec", codec::run),
    ("footer", footer::run),
    ("frame", frame::run),
    ("headers", headers::run),
    ("line", line::run),
    ("model", model::run),
    #[cfg(feature = "server")]
    ("otlp", server::otlp),
    ("packed", packed::run),
    ("query", query::run),
    ("segment", segment::run),
    #[cfg(feature = "server")]
    ("token", server::token),
    #[cfg(feature = "server")]
    ("words", server::words),
];
