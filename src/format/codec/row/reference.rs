//! Rows as bincode reads them: what the reading by hand is held against.

use std::borrow::Cow;

use bincode::BorrowDecode;
use bincode::de::BorrowDecoder;
use bincode::de::read::BorrowReader;
use bincode::error::DecodeError;

use super::super::is_name_len;
use super::{
    ErrorRow, EventRow, IdBytes, IdRow, OriginRow, OwnerRow, PriorRow, ProcessRow, RunRow, Taken,
};
use crate::error::Damage;
use crate::format::codec::Prior;
use crate::model::{
    ActorType, ErrorRecord, Event, Fingerprint, Id, Json, Origin, Owner, Process, Run, RunError,
    Severity, Status, Subject, Timestamp,
};

impl<'a> IdRow<'a> {
    fn read(self) -> Result<Id<'a>, Damage> {
        match self {
            Self::Text(text) => Id::new(text).map_err(|_| Damage::Record),
            Self::Uuid(IdBytes(bytes)) => Ok(Id::from_uuid(*bytes)),
            Self::Hex(IdBytes(bytes)) => Ok(Id::from_hex_bytes(*bytes)),
        }
    }
}

impl<'de, C> BorrowDecode<'de, C> for IdBytes<'de> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> std::result::Result<Self, DecodeError> {
        const LEN: usize = 16;
        decoder.claim_bytes_read(LEN)?;
        let bytes = decoder.borrow_reader().take_bytes(LEN)?;
        bytes.first_chunk().map(Self).ok_or(DecodeError::Other("too few bytes"))
    }
}

impl<'a, T> Taken<'a, T> {
    fn read(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Kept(_) => None,
        }
    }
}

impl<'de, C, T: BorrowDecode<'de, C>> BorrowDecode<'de, C> for Taken<'de, T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> std::result::Result<Self, DecodeError> {
        let read = Option::<T>::borrow_decode(decoder)?;
        Ok(read.map_or(Self::Absent, Self::Given))
    }
}

fn read_id(row: Option<IdRow<'_>>) -> Result<Option<Id<'_>>, Damage> {
    row.map(IdRow::read).transpose()
}

impl<'a> RunRow<'a> {
    pub(in super::super) fn read(self) -> Result<(u32, Prior, Run<'a>), Damage> {
        let created_at = i64::from_le_bytes(self.created_at);
        let at = |after: i64| Timestamp::from_nanos(created_at.wrapping_add(after));
        let status = Status::from_code(self.status).ok_or(Damage::Record)?;
        let mut run = Run::with_id(self.run_id.read()?, read_name(self.run_type)?, status);
        run.created_at = Some(Timestamp::from_nanos(created_at));
        run.started_at = self.started_after.map(at);
        run.finished_at = self.finished_after.map(at);
        run.at = run.newest_time();
        run.attempt = Some(self.attempt);
        run.trace_id = read_id(self.trace_id.read())?;
        run.project_id = read_id(self.project_id.read())?;
        run.user_id = read_id(self.user_id.read())?;
        run.parent_run_id = read_id(self.parent_run_id.read())?;
        run.subject = match self.subject.read() {
            Some(row) => {
                let subject = Subject::from_parts(Cow::Borrowed(row.kind), row.id.read()?);
                Some(subject.map_err(|_| Damage::Record)?)
            }
            None => None,
        };
        run.error = self.error.read().map(|row| {
            let mut error = RunError::new(row.message);
            error.error_type = row.error_type.map(Cow::Borrowed);
            error.stack = row.stack.map(Cow::Borrowed);
            error
        });
        run.metadata = self.metadata.read().map(Json::trusted);
        run.result = self.result.read().map(Json::trusted);
        let prior = match self.prior {
            PriorRow::None => Prior::None,
            PriorRow::Seq(seq) => Prior::Seq(seq),
            PriorRow::Back(distance) => Prior::Back(distance),
        };
        Ok((self.gap, prior, run))
    }
}

impl<'a> OwnerRow<'a> {
    pub(in super::super) fn read(self) -> Result<Owner<'a>, Damage> {
        let mut owner = Owner::new(read_name(self.host)?);
        owner.process = self.process.map(ProcessRow::read);
        owner.lease_until =
            self.lease_until.map(|until| Timestamp::from_nanos(i64::from_le_bytes(until)));
        Ok(owner)
    }
}

impl OriginRow {
    pub(in super::super) const fn read(self) -> Origin {
        Origin::new(self.ledger, self.seq)
    }
}

impl ProcessRow {
    const fn read(self) -> Process {
        Process::new(self.pid, self.began, self.boot_id, self.namespace)
    }
}

impl<'a> EventRow<'a> {
    pub(in super::super) fn read(self) -> Result<(u32, Event<'a>), Damage> {
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

impl<'a> ErrorRow<'a> {
    pub(in super::super) fn read(self) -> Result<(u32, ErrorRecord<'a>), Damage> {
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

/// The value of a code, where 0 stands for none.
fn coded<T>(code: u8, read: impl Fn(u8) -> Option<T>) -> Result<Option<T>, Damage> {
    match code {
        0 => Ok(None),
        code => read(code).map(Some).ok_or(Damage::Record),
    }
}

fn read_name(name: &str) -> Result<&str, Damage> {
    if is_name_len(name.len()) { Ok(name) } else { Err(Damage::Record) }
}
