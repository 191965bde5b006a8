//! Reading a row, straight into the model.
//!
//! What bincode would read through an intermediate row takes a third of the instructions this way.
//! Bincode stays the measure: a test holds both to accept the same bytes and to give the same
//! records. In here `None` is a row that is damaged.

use std::borrow::Cow;

use crate::model::{
    ActorType, Body, ErrorRecord, Event, Field, Fingerprint, Id, Json, Kind, Origin, Owner,
    Process, Run, RunError, Severity, Status, Subject, Timestamp,
};

use super::{Prior, U16_MARK, U32_MARK, U64_MARK, is_name_len};

/// What is left of a row.
pub(super) struct Row<'a> {
    pub(super) left: &'a [u8],
    /// The end of the row, when it was found to be text as a whole.
    texts: &'a str,
}

impl<'a> Row<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes, texts: "" }
    }

    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.left.split_at_checked(len)?;
        self.left = rest;
        Some(bytes)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.left.split_first_chunk()?;
        self.left = rest;
        Some(*bytes)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.left.split_first()?;
        self.left = rest;
        Some(*byte)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Option<u64> {
        match self.byte()? {
            byte if byte < U16_MARK => Some(byte.into()),
            U64_MARK => self.array().map(u64::from_le_bytes),
            mark => self.marked(mark).map(u64::from),
        }
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        match self.byte()? {
            byte if byte < U16_MARK => Some(byte.into()),
            mark => self.marked(mark),
        }
    }

    /// The number that follows a mark.
    fn marked(&mut self, mark: u8) -> Option<u32> {
        match mark {
            U16_MARK => self.array().map(|bytes| u16::from_le_bytes(bytes).into()),
            U32_MARK => self.array().map(u32::from_le_bytes),
            _ => None,
        }
    }

    /// A signed number, whose sign is its lowest bit.
    fn i64(&mut self) -> Option<i64> {
        let zigzag = self.u64()?;
        Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// Looks whether the rest of the row is text: what stands between texts, the marks of those
    /// that are there and their lengths, mostly is, too. One look at all is cheaper than one at
    /// each.
    #[inline]
    fn texts_follow(&mut self) {
        self.texts = str::from_utf8(self.left).unwrap_or_default();
    }

    #[inline]
    fn str(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.u64()?).ok()?;
        let start = self.texts.len().checked_sub(self.left.len());
        let bytes = self.bytes(len)?;
        let known = start.and_then(|start| self.texts.get(start..start + len));
        known.or_else(|| str::from_utf8(bytes).ok())
    }

    /// A text, as bytes: most are ASCII, which is told in no time.
    #[inline]
    pub(super) fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u64()?).ok()?;
        self.bytes(len).filter(|bytes| bytes.is_ascii() || str::from_utf8(bytes).is_ok())
    }

    /// A type, as bytes.
    #[inline]
    pub(super) fn name_bytes(&mut self) -> Option<&'a [u8]> {
        self.text_bytes().filter(|name| is_name_len(name.len()))
    }

    #[inline]
    fn text(&mut self) -> Option<Cow<'a, str>> {
        self.str().map(Cow::Borrowed)
    }

    #[inline]
    fn json(&mut self) -> Option<Json<'a>> {
        self.str().map(Json::trusted)
    }

    /// A type: text of a length that a name may have.
    #[inline]
    fn name(&mut self) -> Option<Cow<'a, str>> {
        self.str().filter(|name| is_name_len(name.len())).map(Cow::Borrowed)
    }

    #[inline]
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn id(&mut self) -> Option<Id<'a>> {
        match self.u32()? {
            0 => self.text().filter(|id| Id::is_len(id.len())).map(Id::of_len),
            1 => self.array().map(Id::from_uuid),
            2 => self.array().map(Id::from_hex_bytes),
            _ => None,
        }
    }

    pub(super) fn prior(&mut self) -> Option<Prior> {
        match self.u32()? {
            0 => Some(Prior::None),
            1 => self.u64().map(Prior::Seq),
            2 => self.u32().map(Prior::Back),
            _ => None,
        }
    }

    /// What a run's record begins with: its gap, its prior, and its status behind its times.
    pub(super) fn run_head(&mut self) -> Option<(u32, Prior, Status)> {
        let (gap, prior, _) = (self.u32()?, self.prior()?, self.time()?);
        self.option(Self::i64)?;
        self.option(Self::i64)?;
        Some((gap, prior, Status::from_code(self.byte()?)?))
    }

    pub(super) fn subject(&mut self) -> Option<Subject<'a>> {
        let kind = self.text()?;
        Subject::from_parts(kind, self.id()?).ok()
    }

    pub(super) fn run_error(&mut self) -> Option<RunError<'a>> {
        Some(RunError {
            error_type: self.option(Self::text)?,
            message: self.text()?,
            stack: self.option(Self::text)?,
        })
    }

    /// A field that came later, or is left out where nothing follows it.
    #[inline]
    pub(super) fn trailing<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.left.is_empty() { Some(None) } else { self.option(read) }
    }

    pub(super) fn owner(&mut self) -> Option<Owner<'a>> {
        Some(Owner {
            host: self.name()?,
            process: self.option(Self::process)?,
            lease_until: self.option(Self::time)?,
        })
    }

    pub(super) fn origin(&mut self) -> Option<Origin> {
        Some(Origin::new(self.array()?, self.u64()?))
    }

    fn process(&mut self) -> Option<Process> {
        Some(Process {
            pid: self.u32()?,
            began: self.u64()?,
            boot_id: self.array()?,
            namespace: self.u64()?,
        })
    }

    #[inline]
    pub(super) fn time(&mut self) -> Option<Timestamp> {
        self.array().map(|bytes| Timestamp::from_nanos(i64::from_le_bytes(bytes)))
    }

    /// A time that counts from another.
    #[inline]
    pub(super) fn time_after(&mut self, from: Timestamp) -> Option<Timestamp> {
        let nanos = self.i64()?;
        Some(Timestamp::from_nanos(from.as_nanos().wrapping_add(nanos)))
    }

    fn skip_text(&mut self) -> Option<()> {
        let len = self.u64()?;
        self.bytes(usize::try_from(len).ok()?).map(drop)
    }

    /// The id in this field of a record of this kind.
    pub(super) fn id_in(&mut self, kind: Kind, field: Field) -> Option<Option<Id<'a>>> {
        self.u32()?;
        match kind {
            Kind::Run => {
                self.prior()?;
                self.time()?;
                self.option(Self::i64)?;
                self.option(Self::i64)?;
                self.byte()?;
                self.u32()?;
                self.skip_text()?;
                let run_id = self.id()?;
                if field == Field::Run {
                    return Some(Some(run_id));
                }
            }
            Kind::Event => {
                self.array::<{ 8 + 2 }>()?;
                self.skip_text()?;
            }
            Kind::Error => {
                self.array::<{ 8 + 2 + 8 }>()?;
                self.skip_text()?;
                self.skip_text()?;
            }
        }
        let fields = match kind {
            Kind::Run => &[Field::Trace, Field::Project, Field::User][..],
            Kind::Event | Kind::Error => &[Field::Trace, Field::Project, Field::Run, Field::User],
        };
        for &at in fields {
            let id = self.option(Self::id)?;
            if at == field {
                return Some(id);
            }
        }
        None
    }

    #[inline]
    pub(super) fn run(&mut self) -> Option<(u32, Prior, Body<'a>)> {
        let (gap, prior, created_at) = (self.u32()?, self.prior()?, self.time()?);
        let after = |row: &mut Self| row.time_after(created_at);
        let started_at = self.option(after)?;
        let finished_at = self.option(after)?;
        let (status, attempt, run_type) =
            (Status::from_code(self.byte()?)?, self.u32()?, self.name()?);
        let body = Body::Run(Run {
            run_id: self.id()?,
            run_type,
            status,
            at: Some(created_at).max(started_at).max(finished_at),
            trace_id: self.option(Self::id)?,
            project_id: {
                self.texts_follow();
                self.option(Self::id)?
            },
            user_id: self.option(Self::id)?,
            parent_run_id: self.option(Self::id)?,
            attempt: Some(attempt),
            subject: self.option(Self::subject)?,
            created_at: Some(created_at),
            started_at,
            finished_at,
            error: self.option(Self::run_error)?,
            metadata: self.option(Self::json)?,
            result: self.option(Self::json)?,
            owner: self.trailing(Self::owner)?.map(Box::new),
            origin: self.trailing(Self::origin)?,
        });
        Some((gap, prior, body))
    }

    #[inline]
    pub(super) fn event(&mut self) -> Option<(u32, Prior, Body<'a>)> {
        let (gap, created_at) = (self.u32()?, self.time()?);
        let severity = coded(self.byte()?, Severity::from_code)?;
        let actor_type = coded(self.byte()?, ActorType::from_code)?;
        let body = Body::Event(Event {
            event_type: self.name()?,
            created_at: Some(created_at),
            severity,
            actor_type,
            trace_id: self.option(Self::id)?,
            project_id: self.option(Self::id)?,
            run_id: self.option(Self::id)?,
            user_id: {
                self.texts_follow();
                self.option(Self::id)?
            },
            actor_id: self.option(Self::id)?,
            message: self.option(Self::text)?,
            payload: self.option(Self::json)?,
            origin: self.trailing(Self::origin)?,
        });
        Some((gap, Prior::None, body))
    }

    #[inline]
    pub(super) fn error(&mut self) -> Option<(u32, Prior, Body<'a>)> {
        let (gap, created_at) = (self.u32()?, self.time()?);
        let severity = Severity::from_code(self.byte()?)?;
        let (version, hash) = (self.byte()?, self.array().map(u64::from_le_bytes)?);
        let body = Body::Error(ErrorRecord {
            error_type: self.name()?,
            message: self.text()?,
            severity,
            trace_id: self.option(Self::id)?,
            project_id: self.option(Self::id)?,
            run_id: self.option(Self::id)?,
            user_id: {
                self.texts_follow();
                self.option(Self::id)?
            },
            endpoint: self.option(Self::text)?,
            stack: self.option(Self::text)?,
            detail: self.option(Self::json)?,
            origin: self.trailing(Self::origin)?,
            created_at: Some(created_at),
            fingerprint: (version != 0).then_some(Fingerprint { version, hash }),
        });
        Some((gap, Prior::None, body))
    }
}

/// The value of a code, where 0 stands for none.
pub(super) fn coded<T>(code: u8, read: impl Fn(u8) -> Option<T>) -> Option<Option<T>> {
    match code {
        0 => Some(None),
        code => read(code).map(Some),
    }
}
