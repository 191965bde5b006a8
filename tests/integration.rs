//! The integration tests: one program, so that the library is linked once. What is in it:
//!
//! - `layers`: the source keeps to its layers, its bounds of length and its bans.

mod layers;
