//! What records have to match, in the words of the query.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::model::{Fingerprint, Kind, Severity, Status, Timestamp};
use crate::query::Query;
use crate::server::shape;
use crate::server::words::Word;

/// A set of words that narrow a query.
pub(super) trait Narrow {
    fn apply(self, query: Query) -> Query;
}

/// Declares the words that a kind of record can be filtered by: those that all have, and its own.
macro_rules! filter {
    ($(#[$doc:meta])* $name:ident, $($kind:ident)?, {
        $($(#[$attr:meta])* $field:ident : $type:ty => $add:expr;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize, IntoParams)]
        #[into_params(parameter_in = Query)]
        pub(in crate::server) struct $name {
            $($(#[$attr])* #[serde(default)] $field: Vec<Word<$type>>,)*
            /// Of this type, or one of these
            #[serde(default)]
            r#type: Vec<String>,
            /// Of this trace
            #[serde(default)]
            trace: Vec<String>,
            /// Of this project
            #[serde(default)]
            project: Vec<String>,
            /// Of this user
            #[serde(default)]
            user: Vec<String>,
            /// Created at this time or later, RFC 3339
            #[param(value_type = Option<String>, format = DateTime)]
            since: Option<Word<Timestamp>>,
            /// Created before this time, RFC 3339
            #[param(value_type = Option<String>, format = DateTime)]
            until: Option<Word<Timestamp>>,
            /// With this text in its message, stack or JSON
            text: Option<String>,
        }

        impl Narrow for $name {
            fn apply(self, query: Query) -> Query {
                $(let query = query.kind(Kind::$kind);)?
                $(let add: fn(Query, $type) -> Query = $add;
                let query = self.$field.into_iter().fold(query, |query, it| add(query, it.0));)*
                let query = all(query, &self.r#type, Query::record_type);
                let query = all(query, &self.trace, Query::trace);
                let query = all(query, &self.project, Query::project);
                let query = all(query, &self.user, Query::user);
                let query = self.since.into_iter().fold(query, |query, time| query.since(time.0));
                let query = self.until.into_iter().fold(query, |query, time| query.until(time.0));
                self.text.into_iter().fold(query, Query::text)
            }
        }
    };
}

filter! {
    /// What runs have to match.
    RunFilter, Run, {
        /// In this status, or one of these
        #[param(value_type = Vec<shape::Status>)]
        status: Status => Query::status;
        /// That acted on this business object, as `kind:id`
        #[param(value_type = Vec<String>)]
        subject: String => |query, subject| query.subject(&subject);
    }
}

filter! {
    /// What events have to match.
    EventFilter, Event, {
        /// Of this severity, or one of these
        #[param(value_type = Vec<shape::Severity>)]
        severity: Severity => Query::severity;
        /// Of this run
        #[param(value_type = Vec<String>)]
        run: String => |query, run| query.run(&run);
    }
}

filter! {
    /// What errors have to match.
    ErrorFilter, Error, {
        /// Of this severity, or one of these
        #[param(value_type = Vec<shape::Severity>)]
        severity: Severity => Query::severity;
        /// Of this run
        #[param(value_type = Vec<String>)]
        run: String => |query, run| query.run(&run);
        /// With this fingerprint
        #[param(value_type = Vec<String>)]
        fingerprint: Fingerprint => Query::fingerprint;
    }
}

filter! {
    /// What records of any kind have to match.
    AnyFilter, , {
        /// Of this kind, or one of these
        #[param(value_type = Vec<shape::Kind>)]
        kind: Kind => Query::kind;
        /// Runs in this status, or one of these
        #[param(value_type = Vec<shape::Status>)]
        status: Status => Query::status;
        /// Events and errors of this severity, or one of these
        #[param(value_type = Vec<shape::Severity>)]
        severity: Severity => Query::severity;
        /// Of this run
        #[param(value_type = Vec<String>)]
        run: String => |query, run| query.run(&run);
        /// Runs that acted on this business object, as `kind:id`
        #[param(value_type = Vec<String>)]
        subject: String => |query, subject| query.subject(&subject);
        /// Errors with this fingerprint
        #[param(value_type = Vec<String>)]
        fingerprint: Fingerprint => Query::fingerprint;
    }
}

fn all(query: Query, values: &[String], add: fn(Query, &str) -> Query) -> Query {
    values.iter().fold(query, |query, value| add(query, value))
}

impl AnyFilter {
    /// The one kind that is asked for; `None` for none or several.
    pub(super) fn only_kind(&self) -> Option<Kind> {
        match self.kind.as_slice() {
            [kind] => Some(kind.0),
            _ => None,
        }
    }
}
