//! The rows: what bincode sees. Fields are appended, never changed or taken away.

#[cfg(test)]
pub(super) mod reference;

use bincode::Encode;
use bincode::enc::Encoder;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;

use crate::error::{Error, Result};
use crate::model::{
    ActorType, ErrorRecord, Event, Fingerprint, Id, IdForm, Json, Origin, Owner, Process, Severity,
    Timestamp,
};

use super::next::NextRun;
use super::{Prior, check_name};

/// An id in the form that it is stored in.
#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
pub(super) enum IdRow<'a> {
    Text(&'a str),
    Uuid(IdBytes<'a>),
    Hex(IdBytes<'a>),
}

/// The bytes of an id, where they lie: what is copied into a row is copied again from there, at
/// once and in other pieces, for which the processor waits.
#[derive(Encode)]
pub(super) struct IdBytes<'a>(&'a [u8; 16]);

impl<'a> IdRow<'a> {
    fn of(id: &'a Id<'_>) -> Self {
        match id.form() {
            IdForm::Text(text) => Self::Text(text),
            IdForm::Uuid(bytes) => Self::Uuid(IdBytes(bytes)),
            IdForm::Hex(bytes) => Self::Hex(IdBytes(bytes)),
        }
    }
}

fn row_id<'a>(id: Option<&'a Id<'_>>) -> Option<IdRow<'a>> {
    id.map(IdRow::of)
}

/// A field that may be absent, stored as an `Option` is.
pub(super) enum Taken<'a, T> {
    Absent,
    Given(T),
    /// As it lies in another record.
    Kept(&'a [u8]),
}

impl<'a, T> Taken<'a, T> {
    /// What is given, else what is kept.
    fn of(given: Option<T>, kept: &'a [u8]) -> Self {
        match given {
            Some(given) => Self::Given(given),
            None if kept.is_empty() => Self::Absent,
            None => Self::Kept(kept),
        }
    }

    /// True when no value is to be stored.
    pub(super) fn is_none(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Given(_) => false,
            Self::Kept(bytes) => bytes.first() == Some(&0),
        }
    }
}

impl<T: Encode> Encode for Taken<'_, T> {
    #[inline]
    fn encode<E: Encoder>(&self, encoder: &mut E) -> std::result::Result<(), EncodeError> {
        match self {
            Self::Absent => 0u8.encode(encoder),
            Self::Given(value) => {
                1u8.encode(encoder)?;
                value.encode(encoder)
            }
            Self::Kept(bytes) => encoder.writer().write(bytes),
        }
    }
}

/// What a run's record supersedes, as it is stored.
#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
enum PriorRow {
    None,
    Seq(u64),
    Back(u32),
}

#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
struct SubjectRow<'a> {
    kind: &'a str,
    id: IdRow<'a>,
}

#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
struct RunErrorRow<'a> {
    error_type: Option<&'a str>,
    message: &'a str,
    stack: Option<&'a str>,
}

#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
struct ProcessRow {
    pid: u32,
    began: u64,
    boot_id: [u8; 16],
    namespace: u64,
}

impl ProcessRow {
    const fn of(process: &Process) -> Self {
        let Process { pid, began, boot_id, namespace } = *process;
        Self { pid, began, boot_id, namespace }
    }
}

/// Who answers for a run: behind its row, where there is one.
#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
pub(super) struct OwnerRow<'a> {
    host: &'a str,
    process: Option<ProcessRow>,
    lease_until: Option<[u8; 8]>,
}

impl<'a> OwnerRow<'a> {
    pub(super) fn of(owner: &'a Owner<'_>) -> Result<Self> {
        check_name("host of an owner", &owner.host)?;
        Ok(Self {
            host: &owner.host,
            process: owner.process.as_ref().map(ProcessRow::of),
            lease_until: owner.lease_until.map(|until| until.as_nanos().to_le_bytes()),
        })
    }
}

/// Where a record was first: behind its row, where it was merged.
#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
pub(super) struct OriginRow {
    ledger: [u8; 16],
    seq: u64,
}

impl OriginRow {
    pub(super) const fn of(origin: &Origin) -> Self {
        Self { ledger: origin.ledger, seq: origin.seq }
    }
}

/// A run's record. Times after `created_at` count from it, wrapping.
#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
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
    trace_id: Taken<'a, IdRow<'a>>,
    project_id: Taken<'a, IdRow<'a>>,
    user_id: Taken<'a, IdRow<'a>>,
    parent_run_id: Taken<'a, IdRow<'a>>,
    subject: Taken<'a, SubjectRow<'a>>,
    error: Taken<'a, RunErrorRow<'a>>,
    metadata: Taken<'a, &'a str>,
    result: Taken<'a, &'a str>,
}

impl<'a> RunRow<'a> {
    // A row is large: it is not to be handed on.
    #[inline(always)]
    pub(super) fn of(gap: u32, prior: Prior, next: &NextRun<'a>) -> Result<Self> {
        let NextRun { run, created_at, kept, .. } = *next;
        check_name("run type", &run.run_type)?;
        let after = |time: Option<Timestamp>| {
            time.map(|time| time.as_nanos().wrapping_sub(created_at.as_nanos()))
        };
        let subject = run.subject.as_ref();
        let subject = subject.map(|it| SubjectRow { kind: it.kind(), id: IdRow::of(it.id()) });
        let error = run.error.as_ref().map(|error| RunErrorRow {
            error_type: error.error_type.as_deref(),
            message: &error.message,
            stack: error.stack.as_deref(),
        });
        let id = |given: &'a Option<Id<'_>>, kept| Taken::of(row_id(given.as_ref()), kept);
        let json =
            |given: &'a Option<Json<'_>>, kept| Taken::of(given.as_ref().map(Json::as_str), kept);
        Ok(Self {
            gap,
            prior: match prior {
                Prior::None => PriorRow::None,
                Prior::Seq(seq) => PriorRow::Seq(seq),
                Prior::Back(distance) => PriorRow::Back(distance),
            },
            created_at: created_at.as_nanos().to_le_bytes(),
            started_after: after(next.started_at),
            finished_after: after(next.finished_at),
            status: run.status.code(),
            attempt: next.attempt,
            run_type: &run.run_type,
            run_id: IdRow::of(&run.run_id),
            trace_id: id(&run.trace_id, kept.trace_id),
            project_id: id(&run.project_id, kept.project_id),
            user_id: id(&run.user_id, kept.user_id),
            parent_run_id: id(&run.parent_run_id, kept.parent_run_id),
            subject: Taken::of(subject, kept.subject),
            error: Taken::of(error, kept.error),
            metadata: json(&run.metadata, kept.metadata),
            result: json(&run.result, kept.result),
        })
    }

    /// Who answers for the run, for behind the row.
    pub(super) fn owner_of(next: &NextRun<'a>) -> Result<Taken<'a, OwnerRow<'a>>> {
        Ok(Taken::of(next.owner.map(OwnerRow::of).transpose()?, next.kept.owner))
    }
}

/// An event's record.
#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
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
    #[inline(always)]
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
}

/// An error's record.
#[derive(Encode)]
#[cfg_attr(test, derive(bincode::BorrowDecode))]
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
    #[inline(always)]
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
}

/// A time that the ledger has set before it encodes.
pub(super) fn resolved(time: Option<Timestamp>) -> Result<Timestamp> {
    time.ok_or_else(|| Error::invalid("created_at", "", "a time, given or taken at the append"))
}
