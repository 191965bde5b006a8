//! By what the engine's threads wait for each other: the one place that names locks, atomics and
//! threads, so that a test's scheduler can take the place of the operating system's.
//!
//! A build with `--cfg loom` or `--cfg shuttle` has the primitives of that crate. `OnceLock` and
//! `Arc` are the standard library's in all of them: nobody waits for one.

#[cfg(any(loom, shuttle))]
mod modelled;
#[cfg(not(any(loom, shuttle)))]
mod real;

#[cfg(any(loom, shuttle))]
pub(crate) use modelled::*;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use real::*;
