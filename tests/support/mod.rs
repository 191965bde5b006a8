//! What several tests use.

pub(crate) mod disk;
pub(crate) mod rng;
