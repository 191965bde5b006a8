//! The ledger in a service: what its spans, log lines and panics become, without a line of code at
//! each of them.
//!
//! A [`Recorder`] is where records go, in place or by a queue with a thread of its own. What hands
//! them to it:
//!
//! | | feature | becomes |
//! |---|---|---|
//! | [`LedgerLayer`] | `tracing` | runs of marked spans, events, errors of what is logged as `ERROR` |
//! | [`LedgerLog`] | `log` | events and errors |
//! | [`PanicHook`] | | an error on stable storage, and failed runs |
//! | [`Recorder::append`] | | what an async function awaits |
//!
//! With the feature `async`, [`Follow`] is the ledger as a stream.

mod append;
#[cfg(feature = "async")]
mod follow;
mod ids;
mod json;
#[cfg(feature = "tracing")]
mod layer;
#[cfg(feature = "log")]
mod log;
mod losses;
mod panic;
mod pending;
mod queue;
mod recent;
mod recorder;
mod spans;
mod spill;
mod within;
mod writer;

pub use append::Append;
#[cfg(feature = "async")]
pub use follow::Follow;
#[cfg(feature = "tracing")]
pub use layer::LedgerLayer;
#[cfg(feature = "log")]
pub use log::LedgerLog;
pub use panic::{OpenRuns, PanicGuard, PanicHook};
pub use queue::WhenFull;
pub use recorder::{QueueOptions, Recorder, RecorderStats};
pub use writer::Guard;
