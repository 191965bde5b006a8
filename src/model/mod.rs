//! What the ledger stores: runs, events and errors, and the values they are made of.
//!
//! The types here borrow or own their text (`Cow`), so one set of types serves both an append that
//! copies nothing and a query result that is read where it lies in a mapped segment.
//! Nothing here knows how a record is written down.

mod error_record;
mod event;
mod field;
mod fingerprint;
mod from_error;
mod id;
mod json;
mod kind;
mod origin;
mod owner;
mod record;
mod run;
mod subject;
mod tag;
mod time;

pub use error_record::ErrorRecord;
pub use event::Event;
pub use field::Field;
pub(crate) use field::FieldSet;
pub use fingerprint::Fingerprint;
#[cfg(feature = "log")]
pub(crate) use from_error::printed;
#[cfg(feature = "tracing")]
pub(crate) use from_error::{dyn_name, sources};
pub use id::{Id, IdForm};
pub use json::Json;
pub use kind::{ActorType, Kind, Severity, Status};
pub use origin::Origin;
pub use owner::{Owner, Process};
pub use record::{Body, Record};
pub use run::{Run, RunError};
pub use subject::Subject;
pub(crate) use tag::SUPERSEDED;
pub use time::Timestamp;
pub(crate) use time::nanos;

/// Generates documented `with`-style setters for the optional fields of a record.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident : $field:ident = $arg:ty => $conv:expr;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, value: impl Into<$arg>) -> Self {
            self.$field = $conv(value.into());
            self
        })*
    };
}
pub(crate) use setters;
