//! The ledger: the handle that services hold, and what it does on their behalf.

mod append;
mod append_each;
mod arrivals;
mod audit;
mod catalog;
mod chain;
mod checkpoint;
mod classes;
mod cleanup;
mod clock;
mod commit;
mod compact;
mod displaced;
mod durability;
mod ends;
mod group_commit;
mod handle;
mod history;
mod layout;
mod leftovers;
mod lifecycle;
mod maintain;
mod merge;
mod open;
mod options;
mod overtaken;
mod owed;
mod panics;
mod part;
mod passed_over;
mod pins;
mod policy;
mod reader;
mod refresh;
mod repair;
mod reserve;
mod run_handle;
mod runs;
mod sealing;
mod sequence;
mod settled;
mod spares;
mod stats;
mod stopped;
mod stream;
mod syncing;
mod unsaid;
mod verify;
mod worker;

pub(crate) use catalog::is_of_one_file;
pub use checkpoint::{
    Checkpoint, OnRecord, OpenHead, ProofFinding, ProofReport, SealedHead, StreamHead, Tampering,
    verify_against,
};
pub use classes::Class;
pub use cleanup::{
    ClassUsage, Cleanup, CleanupReport, Forecast, Keep, Kept, RetentionReport, SegmentPlan,
};
pub use compact::{Compaction, CompactionReport, Erasure, ErasureReport, Rewrite};
pub use durability::Durability;
pub use handle::Ledger;
pub use history::{ErrorSum, History, Lengths, RunSum};
pub use leftovers::Copies;
pub use lifecycle::{ExpectedRun, LastRun};
pub use merge::MergeReport;
pub use options::Options;
pub use pins::Pin;
pub use policy::{Limits, Retention, Term};
pub use reader::Reader;
pub use repair::{RepairAction, RepairReport, repair};
pub use run_handle::RunHandle;
pub use stats::{Losses, Stats, StreamStats};
#[cfg(feature = "server")]
pub(crate) use stopped::Stopped;
pub use verify::{Finding, VerifyReport, verify};
