//! The keys of the interchange shape and the kinds that each belongs to.

use crate::model::Kind;

/// One bit a kind.
const RUN: u8 = 1;
const EVENT: u8 = 2;
const ERROR: u8 = 4;
const ALL: u8 = RUN | EVENT | ERROR;

/// Declares the keys in the order in which they are named in messages.
macro_rules! keys {
    ($($key:ident $text:literal $kinds:expr;)*) => {
        /// A key of the interchange shape.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Key { $($key,)* }

        impl Key {
            const ALL: &'static [Self] = &[$(Self::$key,)*];

            /// The key with this name.
            pub(super) fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$key),)* _ => None }
            }

            /// The name.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$key => $text,)* }
            }

            const fn kinds(self) -> u8 {
                match self { $(Self::$key => $kinds,)* }
            }
        }
    };
}

keys! {
    Kind "kind" ALL;
    Ts "ts" ALL;
    Type "type" ALL;
    Status "status" RUN;
    Severity "severity" EVENT | ERROR;
    TraceId "trace_id" ALL;
    RunId "run_id" ALL;
    ProjectId "project_id" ALL;
    UserId "user_id" ALL;
    ParentRunId "parent_run_id" RUN;
    Attempt "attempt" RUN;
    Subject "subject" RUN;
    CreatedAt "created_at" ALL;
    StartedAt "started_at" RUN;
    FinishedAt "finished_at" RUN;
    ErrorType "error_type" RUN;
    Message "message" ALL;
    Stack "stack" RUN | ERROR;
    Endpoint "endpoint" ERROR;
    ActorType "actor_type" EVENT;
    ActorId "actor_id" EVENT;
    Metadata "metadata" RUN;
    Result "result" RUN;
    Payload "payload" EVENT;
    Detail "detail" ERROR;
    Seq "seq" ALL;
    RecordedAt "recorded_at" ALL;
    Supersedes "supersedes" ALL;
    DurationMs "duration_ms" ALL;
    Fingerprint "fingerprint" ALL;
    Owner "owner" RUN;
    Origin "origin" ALL;
}

const _: () = assert!(Key::ALL.len() <= 32, "a set of keys is 32 bits wide");

impl Key {
    /// True when a record of this kind can have the key.
    pub(super) const fn belongs_to(self, kind: Kind) -> bool {
        let bit = match kind {
            Kind::Run => RUN,
            Kind::Event => EVENT,
            Kind::Error => ERROR,
        };
        self.kinds() & bit != 0
    }

    /// The keys that a record of this kind can have, with spaces between them.
    pub(super) fn names_of(kind: Kind) -> String {
        let names: Vec<_> =
            Self::ALL.iter().filter(|key| key.belongs_to(kind)).map(|key| key.name()).collect();
        names.join(" ")
    }

    /// The kinds that have the key, as they are named in a message.
    pub(super) const fn owners(self) -> &'static str {
        match self.kinds() {
            RUN => "runs",
            EVENT => "events",
            ERROR => "errors",
            3 => "runs and events",
            5 => "runs and errors",
            6 => "events and errors",
            _ => "every record",
        }
    }
}

/// Which keys a line has given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeySet(u32);

impl KeySet {
    /// Adds a key; false when it was there.
    pub(super) fn insert(&mut self, key: Key) -> bool {
        let bit = 1u32 << (key as u32);
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    /// The first of the keys that a record of this kind cannot have.
    pub(super) fn foreign_to(self, kind: Kind) -> Option<Key> {
        let given = Key::ALL.iter().copied().filter(|&key| self.0 & (1 << (key as u32)) != 0);
        given.into_iter().find(|key| !key.belongs_to(kind))
    }
}
