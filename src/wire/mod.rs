//! The interchange shape: one JSON object a line, for import, export and everything that speaks to
//! other programs.
//!
//! ```
//! use runledger::wire::{self, ParseOptions};
//! use runledger::{Body, Status};
//!
//! let line = r#"{"kind":"run","ts":"2026-11-01T02:00:00Z","type":"backup","status":"running","run_id":"b-1"}"#;
//! let Body::Run(run) = wire::parse_line(line, &ParseOptions::default())? else { unreachable!() };
//! assert_eq!(run.status, Status::Running);
//!
//! let said = wire::parse_line(r#"{"kind":"event","typ":"x"}"#, &ParseOptions::default()).unwrap_err();
//! assert!(said.to_string().starts_with(r#"unknown key "typ""#));
//! # Ok::<(), runledger::wire::LineError>(())
//! ```
//!
//! | keys | of | value |
//! |---|---|---|
//! | `kind` | all | `run`, `event` or `error`; must be there |
//! | `type` | all | 1 to 256 bytes; must be there |
//! | `ts` | all | RFC 3339; when the event or error happened, when the run entered its status |
//! | `trace_id` `run_id` `project_id` `user_id` | all | 1 to 128 bytes; a run must have its `run_id` |
//! | `status` | run | must be there |
//! | `created_at` | all | RFC 3339; of an event or error the same as `ts` |
//! | `started_at` `finished_at` | run | RFC 3339 |
//! | `parent_run_id` | run | an id |
//! | `attempt` | run | a number from 1 |
//! | `subject` | run | `{"kind":…,"id":…}` or `"kind:id"` |
//! | `error_type` `stack` | run | text; with `message` the run's error |
//! | `metadata` `result` | run | any JSON |
//! | `message` | all | text; an error must have it |
//! | `severity` | event, error | of an error one of `warning`, `error`, `critical`; `error` when absent |
//! | `actor_type` | event | `user` or `system` |
//! | `actor_id` | event | an id |
//! | `payload` | event | any JSON |
//! | `stack` `endpoint` | error | text |
//! | `detail` | error | any JSON |
//! | `seq` `recorded_at` `supersedes` `duration_ms` `fingerprint` | all | written, and ignored when read |
//! | `origin` | all | the same: `ledger`, `seq` |
//! | `owner` | run | the same: `host`, `pid`, `began`, `boot_id`, `namespace`, `lease_until` |
//!
//! `null` is the same as leaving the key out.

pub mod csv;
mod draft;
mod key;
mod line_error;
mod parse;
mod write;

pub use line_error::LineError;
pub use parse::{ParseOptions, parse_bytes, parse_line};
pub use write::{write_body, write_record};

#[cfg(test)]
mod tests;
