//! The rows: what bincode sees. Fields are appended, never changed or taken away.

use std::borrow::Cow;

use bincode::{BorrowDecode, Encode};

use crate::error::{Damage, Error, Result};
use crate::model::{
    ActorType, ErrorRecord, Event, Fingerprint, Id, IdForm, Json, Run, RunError, Severity, Status,
    Subject, Timestamp,
};

use super::{Prior, check_name};

/// An id in the form that it is stored in.
#[derive(Encode, BorrowDecode)]
pub(super) enum IdRow<'a> {
    Text(&'a str),
    Uuid([u8; 16]),
    Hex([u8; 16]),
}

impl<'a> IdRow<'a> {
    fn of(id: &'a Id<'_>) -> Self {
        match id.form() {
            IdForm::Text(text) => Self::Text(text),
            IdForm::Uuid(bytes) => Self::Uuid(bytes),
            IdForm::Hex(bytes) => Self::Hex(bytes),
        }
    }

    fn read(self) -> Result<Id<'a>, Damage> {
        match self {
            Self::Text(text) => Id::new(text).map_err(|_| Damage::Record),
            Self::Uuid(bytes) => Ok(Id::from_uuid(bytes)),
            Self::Hex(bytes) => Ok(Id::from_hex_bytes(bytes)),
        }
    }
}

fn row_id<'a>(id: Option<&'a Id<'_>>) -> Option<IdRow<'a>> {
    id.map(IdRow::of)
}

fn read_id(row: Option<IdRow<'_>>) -> Result<Option<Id<'_>>, Damage> {
    row.map(IdRow::read).transpose()
}

/// What a run's record supersedes, as it is stored.
#[derive(Encode, BorrowDecode)]
enum PriorRow {
    None,
    Seq(u64),
    Back(u32),
}

#[derive(Encode, BorrowDecode)]
struct SubjectRow<'a> {
    kind: &'a str,
    id: IdRow<'a>,
}

#[derive(Encode, BorrowDecode)]
struct RunErrorRow<'a> {
    error_type: Option<&'a str>,
    message: &'a str,
    stack: Option<&'a str>,
}

/// A run's record. Times after `created_at` count from it, wrapping.
#[derive(Encode, BorrowDecode)]
pub(super) struct RunRow<'a> {
    gap: u32,
    prior: PriorRow,
    created_at: [u8; 8],
    started_after: Option<i64>,
    finished_after: Option<i64>,
    status: u8,
    attempt: u32,
    run_type: &'a str,
    run_id: IdRow<'a>,
    trace_id: Option<IdRow<'a>>,
    project_id: Option<IdRow<'a>>,
    user_id: Option<IdRow<'a>>,
    parent_run_id: Option<IdRow<'a>>,
    subject: Option<SubjectRow<'a>>,
    error: Option<RunErrorRow<'a>>,
    metadata: Option<&'a str>,
    result: Option<&'a str>,
}

impl<'a> RunRow<'a> {
    pub(super) fn of(gap: u32, prior: Prior, run: &'a Run<'_>) -> Result<Self> {
        check_name("run type", &run.run_type)?;
        let created_at = resolved(run.created_at)?;
        let after = |time: Option<Timestamp>| {
            time.map(|time| time.as_nanos().wrapping_sub(created_at.as_nanos()))
        };
        Ok(Self {
            gap,
            prior: match prior {
                Prior::None => PriorRow::None,
                Prior::Seq(seq) => PriorRow::Seq(seq),
                Prior::Back(distance) => PriorRow::Back(distance),
            },
            created_at: created_at.as_nanos().to_le_bytes(),
            started_after: after(run.started_at),
            finished_after: after(run.finished_at),
            status: run.status.code(),
            attempt: run.attempt.unwrap_or(1),
            run_type: &run.run_type,
            run_id: IdRow::of(&run.run_id),
            trace_id: row_id(run.trace_id.as_ref()),
            project_id: row_id(run.project_id.as_ref()),
            user_id: row_id(run.user_id.as_ref()),
            parent_run_id: row_id(run.parent_run_id.as_ref()),
            subject: run
                .subject
                .as_ref()
                .map(|subject| SubjectRow { kind: subject.kind(), id: IdRow::of(subject.id()) }),
            error: run.error.as_ref().map(|error| RunErrorRow {
                error_type: error.error_type.as_deref(),
                message: &error.message,
                stack: error.stack.as_deref(),
            }),
            metadata: run.metadata.as_ref().map(Json::as_str),
            result: run.result.as_ref().map(Json::as_str),
        })
    }

    #[inline]
    pub(super) fn read(self) -> Result<(u32, Prior, Run<'a>), Damage> {
        let created_at = i64::from_le_bytes(self.created_at);
        let at = |after: i64| Timestamp::from_nanos(created_at.wrapping_add(after));
        let status = Status::from_code(self.status).ok_or(Damage::Record)?;
        let mut run = Run::with_id(self.run_id.read()?, read_name(self.run_type)?, status);
        run.created_at = Some(Timestamp::from_nanos(created_at));
        run.started_at = self.started_after.map(at);
        run.finished_at = self.finished_after.map(at);
        run.at = run.newest_time();
        run.attempt = Some(self.attempt);
        run.trace_id = read_id(self.trace_id)?;
        run.project_id = read_id(self.project_id)?;
        run.user_id = read_id(self.user_id)?;
        run.parent_run_id = read_id(self.parent_run_id)?;
        run.subject = match self.subject {
            Some(row) => {
                let subject = Subject::from_parts(Cow::Borrowed(row.kind), row.id.read()?);
                Some(subject.map_err(|_| Damage::Record)?)
            }
            None => None,
        };
        run.error = self.error.map(|row| {
            let mut error = RunError::new(row.message);
            error.error_type = row.error_type.map(Cow::Borrowed);
            error.stack = row.stack.map(Cow::Borrowed);
            error
        });
        run.metadata = self.metadata.map(Json::trusted);
        run.result = self.result.map(Json::trusted);
        let prior = match self.prior {
            PriorRow::None => Prior::None,
            PriorRow::Seq(seq) => Prior::Seq(seq),
            PriorRow::Back(distance) => Prior::Back(distance),
        };
        Ok((self.gap, prior, run))
    }
}

/// An event's record.
#[derive(Encode, BorrowDecode)]
pub(super) struct EventRow<'a> {
    gap: u32,
    created_at: [u8; 8],
    /// 0 when there is none.
    severity: u8,
    /// 0 when there is none.
    actor_type: u8,
    event_type: &'a str,
    trace_id: Option<IdRow<'a>>,
    project_id: Option<IdRow<'a>>,
    run_id: Option<IdRow<'a>>,
    user_id: Option<IdRow<'a>>,
    actor_id: Option<IdRow<'a>>,
    message: Option<&'a str>,
    payload: Option<&'a str>,
}

impl<'a> EventRow<'a> {
    pub(super) fn of(gap: u32, event: &'a Event<'_>) -> Result<Self> {
        check_name("event type", &event.event_type)?;
        Ok(Self {
            gap,
            created_at: resolved(event.created_at)?.as_nanos().to_le_bytes(),
            severity: event.severity.map_or(0, Severity::code),
            actor_type: event.actor_type.map_or(0, ActorType::code),
            event_type: &event.event_type,
            trace_id: row_id(event.trace_id.as_ref()),
            project_id: row_id(event.project_id.as_ref()),
            run_id: row_id(event.run_id.as_ref()),
            user_id: row_id(event.user_id.as_ref()),
            actor_id: row_id(event.actor_id.as_ref()),
            message: event.message.as_deref(),
            payload: event.payload.as_ref().map(Json::as_str),
        })
    }

    #[inline]
    pub(super) fn read(self) -> Result<(u32, Event<'a>), Damage> {
        let mut event = Event::new(read_name(self.event_type)?);
        event.created_at = Some(Timestamp::from_nanos(i64::from_le_bytes(self.created_at)));
        event.severity = coded(self.severity, Severity::from_code)?;
        event.actor_type = coded(self.actor_type, ActorType::from_code)?;
        event.trace_id = read_id(self.trace_id)?;
        event.project_id = read_id(self.project_id)?;
        event.run_id = read_id(self.run_id)?;
        event.user_id = read_id(self.user_id)?;
        event.actor_id = read_id(self.actor_id)?;
        event.message = self.message.map(Cow::Borrowed);
        event.payload = self.payload.map(Json::trusted);
        Ok((self.gap, event))
    }
}

/// An error's record.
#[derive(Encode, BorrowDecode)]
pub(super) struct ErrorRow<'a> {
    gap: u32,
    created_at: [u8; 8],
    severity: u8,
    /// 0 when there is none, and then the hash is 0 too.
    fingerprint_version: u8,
    fingerprint: [u8; 8],
    error_type: &'a str,
    message: &'a str,
    trace_id: Option<IdRow<'a>>,
    project_id: Option<IdRow<'a>>,
    run_id: Option<IdRow<'a>>,
    user_id: Option<IdRow<'a>>,
    endpoint: Option<&'a str>,
    stack: Option<&'a str>,
    detail: Option<&'a str>,
}

impl<'a> ErrorRow<'a> {
    pub(super) fn of(gap: u32, error: &'a ErrorRecord<'_>) -> Result<Self> {
        check_name("error type", &error.error_type)?;
        if !matches!(error.severity, Severity::Warning | Severity::Error | Severity::Critical) {
            let expected = "warning, error or critical on an error";
            return Err(Error::invalid("severity", error.severity.name(), expected));
        }
        let fingerprint = error.fingerprint.unwrap_or(Fingerprint { version: 0, hash: 0 });
        Ok(Self {
            gap,
            created_at: resolved(error.created_at)?.as_nanos().to_le_bytes(),
            severity: error.severity.code(),
            fingerprint_version: fingerprint.version,
            fingerprint: fingerprint.hash.to_le_bytes(),
            error_type: &error.error_type,
            message: &error.message,
            trace_id: row_id(error.trace_id.as_ref()),
            project_id: row_id(error.project_id.as_ref()),
            run_id: row_id(error.run_id.as_ref()),
            user_id: row_id(error.user_id.as_ref()),
            endpoint: error.endpoint.as_deref(),
            stack: error.stack.as_deref(),
            detail: error.detail.as_ref().map(Json::as_str),
        })
    }

    #[inline]
    pub(super) fn read(self) -> Result<(u32, ErrorRecord<'a>), Damage> {
        let mut error = ErrorRecord::new(read_name(self.error_type)?, self.message);
        error.created_at = Some(Timestamp::from_nanos(i64::from_le_bytes(self.created_at)));
        error.severity = Severity::from_code(self.severity).ok_or(Damage::Record)?;
        if self.fingerprint_version != 0 {
            let hash = u64::from_le_bytes(self.fingerprint);
            error.fingerprint = Some(Fingerprint { version: self.fingerprint_version, hash });
        }
        error.trace_id = read_id(self.trace_id)?;
        error.project_id = read_id(self.project_id)?;
        error.run_id = read_id(self.run_id)?;
        error.user_id = read_id(self.user_id)?;
        error.endpoint = self.endpoint.map(Cow::Borrowed);
        error.stack = self.stack.map(Cow::Borrowed);
        error.detail = self.detail.map(Json::trusted);
        Ok((self.gap, error))
    }
}

/// A time that the ledger has set before it encodes.
fn resolved(time: Option<Timestamp>) -> Result<Timestamp> {
    time.ok_or_else(|| Error::invalid("created_at", "", "a time, given or taken at the append"))
}

/// The value of a code, where 0 stands for none.
fn coded<T>(code: u8, read: impl Fn(u8) -> Option<T>) -> Result<Option<T>, Damage> {
    match code {
        0 => Ok(None),
        code => read(code).map(Some).ok_or(Damage::Record),
    }
}

fn read_name(name: &str) -> Result<&str, Damage> {
    if super::is_name(name) { Ok(name) } else { Err(Damage::Record) }
}
