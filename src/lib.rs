//! runledger: an append-only, file-based ledger for automation runs, events and errors.

pub mod error;
pub mod format;
pub mod index;
pub mod ledger;
pub mod limits;
pub mod model;
pub mod query;
pub mod segment;
pub mod storage;
pub mod wire;

pub use error::{Damage, Error, Result};
pub use model::{
    ActorType, Body, ErrorRecord, Event, Field, Fingerprint, Id, IdForm, Json, Kind, Record, Run,
    RunError, Severity, Status, Subject, Timestamp,
};
