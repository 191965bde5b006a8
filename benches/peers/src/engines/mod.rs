//! The engines: one file each.

#[cfg(feature = "fjall")]
mod fjall;
mod floor;
#[cfg(any(feature = "lmdb", feature = "redb", feature = "fjall"))]
mod kv;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
mod runledger;
#[cfg(feature = "sqlite")]
mod sqlite;

use ::runledger::{Body, Severity, Timestamp};

use crate::Outcome;
use crate::engine::{Engine, Log, Setup};
use crate::question::Seen;

/// Memory that an engine may keep pages in.
#[cfg(any(feature = "sqlite", feature = "redb", feature = "fjall"))]
const CACHE_BYTES: u32 = 1 << 30;

/// An engine that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Floor,
    Runledger,
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "lmdb")]
    Lmdb,
    #[cfg(feature = "redb")]
    Redb,
    #[cfg(feature = "fjall")]
    Fjall,
}

impl Name {
    pub(crate) const ALL: &[Self] = &[
        Self::Floor,
        Self::Runledger,
        #[cfg(feature = "sqlite")]
        Self::Sqlite,
        #[cfg(feature = "lmdb")]
        Self::Lmdb,
        #[cfg(feature = "redb")]
        Self::Redb,
        #[cfg(feature = "fjall")]
        Self::Fjall,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Runledger => "runledger",
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "sqlite",
            #[cfg(feature = "lmdb")]
            Self::Lmdb => "lmdb",
            #[cfg(feature = "redb")]
            Self::Redb => "redb",
            #[cfg(feature = "fjall")]
            Self::Fjall => "fjall",
        }
    }

    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let named = Self::ALL.iter().copied().find(|name| name.text() == text);
        named.ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|name| name.text()).collect();
            format!("no engine {text}; there are {}", all.join(", ")).into()
        })
    }

    /// The package that it comes in, and its own version, where the package only binds it.
    pub(crate) fn origin(self) -> (&'static str, Option<String>) {
        match self {
            Self::Floor => ("", None),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => ("rusqlite", Some(sqlite::version().to_owned())),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => ("heed", Some(lmdb::version())),
            _ => (self.text(), None),
        }
    }

    /// How it is set up, for people.
    pub(crate) const fn settings(self) -> &'static str {
        match self {
            Self::Floor => floor::SETTINGS,
            Self::Runledger => runledger::SETTINGS,
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::SETTINGS,
            #[cfg(feature = "lmdb")]
            Self::Lmdb => lmdb::SETTINGS,
            #[cfg(feature = "redb")]
            Self::Redb => redb::SETTINGS,
            #[cfg(feature = "fjall")]
            Self::Fjall => fjall::SETTINGS,
        }
    }

    /// Opens it for appends.
    pub(crate) fn open_log(self, setup: Setup<'_>) -> Outcome<Box<dyn Log>> {
        match self {
            Self::Floor => Ok(Box::new(floor::Floor::open(setup)?)),
            _ => Ok(self.open(setup)?),
        }
    }

    /// Opens it for appends and questions.
    pub(crate) fn open(self, setup: Setup<'_>) -> Outcome<Box<dyn Engine>> {
        Ok(match self {
            Self::Floor => return Err("the floor answers no questions".into()),
            Self::Runledger => Box::new(runledger::Runledger::open(setup)?),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => Box::new(sqlite::Sqlite::open(setup)?),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => Box::new(kv::Kv::open(lmdb::Lmdb::open(setup)?)?),
            #[cfg(feature = "redb")]
            Self::Redb => Box::new(kv::Kv::open(redb::Redb::open(setup)?)?),
            #[cfg(feature = "fjall")]
            Self::Fjall => Box::new(kv::Kv::open(fjall::Fjall::open(setup)?)?),
        })
    }
}

/// What is shown of a record.
fn seen<'a>(seq: u64, body: &'a Body<'_>) -> Seen<'a> {
    Seen::Record {
        seq,
        created_at: body.created_at().map_or(0, Timestamp::as_nanos),
        kind: body.kind().code(),
        tag: tag(body),
        name: body.type_name(),
    }
}

/// The status of a run, the severity of another record; 0 for none.
fn tag(body: &Body<'_>) -> u8 {
    match body {
        Body::Run(run) => run.status.code(),
        Body::Event(event) => event.severity.map_or(0, Severity::code),
        Body::Error(error) => error.severity.code(),
        _ => 0,
    }
}
