//! The shapes of records and their values, for the document. What is sent is written by `wire`, and
//! a test compares the two.
#![expect(dead_code, reason = "only their shapes are of use")]

use utoipa::ToSchema;

/// A run's status
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Status {
    Pending,
    Running,
    Success,
    Failed,
    Skipped,
    Cancelled,
    Abandoned,
}

/// How bad it is
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Severity {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

/// Which of the three a record is
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Kind {
    Run,
    Event,
    Error,
}

/// A record in the interchange shape; what is absent is left out
#[derive(ToSchema)]
pub(super) struct Record {
    /// Its number, which is its id
    seq: u64,
    kind: Kind,
    /// RFC 3339; of a run the newest of its times
    #[schema(format = DateTime)]
    ts: String,
    r#type: String,
    status: Option<Status>,
    severity: Option<Severity>,
    trace_id: Option<String>,
    run_id: Option<String>,
    project_id: Option<String>,
    user_id: Option<String>,
    /// When it was appended
    #[schema(format = DateTime)]
    recorded_at: String,
    /// The number of the earlier state of the same run
    supersedes: Option<u64>,
    parent_run_id: Option<String>,
    attempt: Option<u32>,
    /// The business object, with `kind` and `id`
    #[schema(value_type = Option<Object>)]
    subject: Option<()>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    started_at: Option<String>,
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    duration_ms: Option<f64>,
    #[schema(value_type = Option<Object>)]
    owner: Option<()>,
    #[schema(value_type = Option<Object>)]
    origin: Option<()>,
    error_type: Option<String>,
    message: Option<String>,
    stack: Option<String>,
    endpoint: Option<String>,
    fingerprint: Option<String>,
    actor_type: Option<String>,
    actor_id: Option<String>,
    /// Any JSON
    #[schema(value_type = Option<serde_json::Value>)]
    metadata: Option<()>,
    /// Any JSON
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<()>,
    /// Any JSON
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<()>,
    /// Any JSON
    #[schema(value_type = Option<serde_json::Value>)]
    detail: Option<()>,
}

/// Some records, in order
#[derive(ToSchema)]
pub(super) struct Page {
    items: Vec<Record>,
    /// Where the list goes on: the parameter `cursor` of the next request; null at the end
    #[schema(required)]
    next: Option<String>,
    /// How many records could not be read and were left out
    damaged: Option<u64>,
}

/// A run to be appended; what is left out stays as it was
#[derive(ToSchema)]
pub(super) struct NewRun {
    run_id: String,
    r#type: String,
    status: Status,
    /// When it entered the status; now unless given
    #[schema(format = DateTime)]
    ts: Option<String>,
    trace_id: Option<String>,
    project_id: Option<String>,
    /// The token's own user, if any
    user_id: Option<String>,
    parent_run_id: Option<String>,
    attempt: Option<u32>,
    /// `{"kind":…,"id":…}` or `"kind:id"`
    #[schema(value_type = Option<serde_json::Value>)]
    subject: Option<()>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    started_at: Option<String>,
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    error_type: Option<String>,
    message: Option<String>,
    stack: Option<String>,
    #[schema(value_type = Option<serde_json::Value>)]
    metadata: Option<()>,
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<()>,
}

/// An event to be appended
#[derive(ToSchema)]
pub(super) struct NewEvent {
    r#type: String,
    #[schema(format = DateTime)]
    ts: Option<String>,
    severity: Option<Severity>,
    message: Option<String>,
    trace_id: Option<String>,
    run_id: Option<String>,
    project_id: Option<String>,
    user_id: Option<String>,
    actor_type: Option<String>,
    actor_id: Option<String>,
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<()>,
}

/// An error to be appended
#[derive(ToSchema)]
pub(super) struct NewError {
    r#type: String,
    message: String,
    #[schema(format = DateTime)]
    ts: Option<String>,
    severity: Option<Severity>,
    stack: Option<String>,
    endpoint: Option<String>,
    trace_id: Option<String>,
    run_id: Option<String>,
    project_id: Option<String>,
    user_id: Option<String>,
    #[schema(value_type = Option<serde_json::Value>)]
    detail: Option<()>,
}
