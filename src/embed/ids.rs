//! What a span hands down to all that happens in it.

use crate::model::{Body, Id};

/// To whom and to what records belong.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    pub(super) run: Option<Id<'static>>,
    pub(super) trace: Option<Id<'static>>,
    pub(super) project: Option<Id<'static>>,
    pub(super) user: Option<Id<'static>>,
}

impl Ids {
    /// What is not said here is as it is there.
    #[cfg(any(feature = "tracing", feature = "log"))]
    pub(super) fn or(self, other: &Self) -> Self {
        let or =
            |own: Option<Id<'static>>, others: &Option<Id<'static>>| own.or_else(|| others.clone());
        Self {
            run: or(self.run, &other.run),
            trace: or(self.trace, &other.trace),
            project: or(self.project, &other.project),
            user: or(self.user, &other.user),
        }
    }

    /// Gives an event or an error what is known of it here.
    pub(super) fn lend<'a>(&'a self, body: &mut Body<'a>) {
        let (run, trace, project, user) = match body {
            Body::Event(it) => {
                (&mut it.run_id, &mut it.trace_id, &mut it.project_id, &mut it.user_id)
            }
            Body::Error(it) => {
                (&mut it.run_id, &mut it.trace_id, &mut it.project_id, &mut it.user_id)
            }
            Body::Run(_) => return,
        };
        *run = self.run.as_ref().map(Id::borrowed);
        *trace = self.trace.as_ref().map(Id::borrowed);
        *project = self.project.as_ref().map(Id::borrowed);
        *user = self.user.as_ref().map(Id::borrowed);
    }
}
