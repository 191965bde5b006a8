//! What a caller sees and may write. The ledger is reached through here alone, so that no route can
//! forget whose records they are.

mod caller;
mod pen;
mod store;
mod view;

use std::time::Duration;

use tokio::sync::watch;

use crate::error::Error;
use crate::ledger::Stopped;
use crate::model::{Body, Field, Id, Timestamp};
use crate::query::Query;
use crate::server::auth::{Granted, Scope};
use crate::server::problem::Problem;
use crate::storage::{Disk, Storage};

pub(super) use caller::{Admin, Caller, Clean, Need, Read, Write, count};
pub(super) use pen::Pen;
pub(super) use store::Store;
pub(super) use view::View;

/// Who asks, and what that lets them do.
#[derive(Debug)]
pub(super) struct Access {
    /// The user; `None` when nobody was asked for a token.
    subject: Option<String>,
    projects: Vec<String>,
    /// A bit for each scope.
    scopes: u8,
    /// When this ends to be so.
    expires: Option<Timestamp>,
    /// Closed when the key counts no more that the token was verified with.
    key: Option<watch::Receiver<()>>,
}

impl Access {
    pub(super) fn new(granted: Granted, key: watch::Receiver<()>) -> Self {
        let Granted { subject, projects, scopes, expires } = granted;
        let scopes = scopes.iter().fold(0, |bits, scope| bits | bit(*scope));
        let (expires, key) = (Some(expires), Some(key));
        Self { subject: Some(subject), projects, scopes, expires, key }
    }

    /// That of one who is asked for no token.
    pub(super) fn everything() -> Self {
        let (projects, scopes) = (Vec::new(), bit(Scope::Admin));
        Self { subject: None, projects, scopes, expires: None, key: None }
    }

    /// The user's name; that of nobody is empty.
    pub(super) fn name(&self) -> &str {
        self.subject.as_deref().unwrap_or_default()
    }

    /// A bit for each scope.
    pub(super) const fn scopes(&self) -> u8 {
        self.scopes
    }

    /// True when it sees every record, and may write for everyone.
    pub(super) const fn sees_all(&self) -> bool {
        self.scopes & bit(Scope::Admin) != 0
    }

    /// For how long this is so yet; `None` for ever.
    pub(super) fn expires_in(&self) -> Option<Duration> {
        let left = self.expires?.nanos_since(Timestamp::from_nanos(Disk.now()));
        Some(Duration::from_nanos(u64::try_from(left).unwrap_or(0)))
    }

    /// Returns once the key counts no more that let the caller in.
    async fn disowned(&self) {
        match self.key.clone() {
            // Nothing is sent, so that it returns when it is closed.
            Some(mut key) => key.changed().await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// True when it has this scope.
    pub(super) const fn may(&self, scope: Scope) -> bool {
        self.sees_all() || self.scopes & bit(scope) != 0
    }

    /// The query without what is not this caller's to see.
    fn bound(&self, query: Query) -> Query {
        if self.sees_all() {
            return query;
        }
        let user = self.subject.as_deref().map(|user| (Field::User, user));
        let projects = self.projects.iter().map(|id| (Field::Project, id.as_str()));
        query.within(&user.into_iter().chain(projects).collect::<Vec<_>>())
    }

    fn sees(&self, body: &Body<'_>) -> bool {
        let is = |id: Option<&Id<'_>>, text: &str| {
            id.zip(Id::new(text).ok()).is_some_and(|(id, own)| *id == own)
        };
        self.sees_all()
            || self.subject.as_deref().is_some_and(|user| is(body.user_id(), user))
            || self.projects.iter().any(|project| is(body.project_id(), project))
    }
}

const fn bit(scope: Scope) -> u8 {
    match scope {
        Scope::Read => 1,
        Scope::Write => 2,
        Scope::Cleanup => 4,
        Scope::Admin => 8,
    }
}

/// Why something was not done: the ledger's own words, or ready ones.
#[derive(Debug)]
pub(super) enum Failure {
    Ledger(Error),
    /// The ledger's as well, of records of which some may have been appended.
    InPart(Error),
    Problem(Problem),
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped.is_in_part {
            true => Self::InPart(stopped.error),
            false => Self::Ledger(stopped.error),
        }
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Self::Ledger(err)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Failure {
    fn told(self, access: &Access) -> Problem {
        match self {
            Self::Ledger(err) | Self::InPart(err) => Problem::of(&err, access.sees_all()),
            Self::Problem(problem) => problem,
        }
    }
}
