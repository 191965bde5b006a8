#![doc = include_str!("../README.md")]

pub mod embed;
pub mod error;
pub mod format;
mod index;
mod ledger;
pub mod limits;
mod model;
#[doc(hidden)]
pub mod planted;
mod query;
mod segment;
#[cfg(feature = "server")]
pub mod server;
pub mod storage;
mod sync;
#[doc(hidden)]
pub mod text;
pub mod wire;

pub use error::{Damage, Error, Result};
pub use ledger::{
    Checkpoint, Class, ClassUsage, Cleanup, CleanupReport, Compaction, CompactionReport, Copies,
    Durability, Erasure, ErasureReport, ErrorSum, ExpectedRun, Finding, Forecast, History, Keep,
    Kept, LastRun, Ledger, Lengths, Limits, Losses, MergeReport, OnRecord, OpenHead, Options, Pin,
    ProofFinding, ProofReport, Reader, RepairAction, RepairReport, Retention, RetentionReport,
    Rewrite, RunHandle, RunSum, SealedHead, SegmentPlan, Stats, StreamHead, StreamStats, Tampering,
    Term, VerifyReport, repair, verify, verify_against,
};
pub use model::{
    ActorType, Body, ErrorRecord, Event, Field, Fingerprint, Id, IdForm, Json, Kind, Origin, Owner,
    Process, Record, Run, RunError, Severity, Status, Subject, Timestamp,
};
pub use query::{Cursor, ErrorGroup, Events, Order, Page, Query, Stored};
pub use segment::DamagedRange;
