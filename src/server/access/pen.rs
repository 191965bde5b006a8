//! What a caller may write to the ledger.

use crate::error::Error;
use crate::ledger::Durability;
use crate::model::{Body, Id, Run};
use crate::query::Stored;
use crate::server::access::{Access, Failure, Store, View};
use crate::server::problem::{self, Problem};

/// What a caller may write to the ledger.
pub(in crate::server) struct Pen<'a> {
    pub(super) store: &'a Store,
    pub(super) access: &'a Access,
}

impl Pen<'_> {
    /// Appends a record, as the caller's own where it does not say whose it is.
    pub(in crate::server) fn append(
        &self,
        mut body: Body<'_>,
        durability: Durability,
    ) -> Result<u64, Failure> {
        let _held = match &body {
            Body::Run(run) => self.store.hold(&run.run_id),
            _ => None,
        };
        self.claim(&mut body)?;
        self.put(body, durability)
    }

    /// Appends records each on its own merits, and gives the number or the refusal of each.
    pub(in crate::server) fn append_each(
        &self,
        mut bodies: Vec<Body<'_>>,
        durability: Durability,
    ) -> Result<Vec<Result<u64, Failure>>, Failure> {
        let _held = self.store.hold_all(bodies.iter().filter_map(|body| match body {
            Body::Run(run) => Some(&run.run_id),
            _ => None,
        }));
        let mut results = Vec::with_capacity(bodies.len());
        bodies.retain_mut(|body| {
            let claimed = self.claim(body);
            let is_taken = claimed.is_ok();
            results.push(claimed.map(|()| 0));
            is_taken
        });
        let appended = self.store.ledger.append_each_or_stop(&bodies, durability)?;
        let mut appended = appended.into_iter();
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            if let Some(seq) = appended.next() {
                *result = seq.map_err(Failure::from);
            }
        }
        let taken = results.iter().filter(|result| result.is_ok()).count();
        self.store.note_appended(taken as u64);
        Ok(results)
    }

    /// A run in its newest state, if there is one that the caller sees.
    pub(in crate::server) fn own_run(&self, id: &str) -> Result<Option<Stored>, Failure> {
        match self.view().run(id) {
            Err(Failure::Problem(problem)) if problem.kind == problem::Kind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// What the caller is told of a failure.
    pub(in crate::server) fn told(&self, failure: Failure) -> Problem {
        failure.told(self.access)
    }

    /// Returns once everything that was appended is on stable storage.
    pub(in crate::server) fn sync(&self) -> Result<(), Failure> {
        Ok(self.store.ledger.sync()?)
    }

    /// Moves a run on: `change` is given its newest state and gives the next one.
    pub(in crate::server) fn update<'r>(
        &self,
        id: &'r Id<'r>,
        durability: Durability,
        change: impl FnOnce(Run<'_>) -> Result<Run<'r>, Failure>,
    ) -> Result<u64, Failure> {
        let _held = self.store.hold(id);
        let stored = self.view().run(&id.to_string())?;
        let Body::Run(newest) = stored.record()?.body else {
            return Err(Problem::not_found("run", &id.to_string()).into());
        };
        self.put(change(newest)?.into(), durability)
    }

    fn put(&self, body: Body<'_>, durability: Durability) -> Result<u64, Failure> {
        let seq = self.store.ledger.append_with(body, durability)?;
        self.store.note_appended(1);
        Ok(seq)
    }

    fn view(&self) -> View<'_> {
        View { ledger: &self.store.ledger, access: self.access }
    }

    /// Makes the record one that the caller may write: its own, or a state of a run that is new or
    /// that it sees, which stays its user's.
    fn claim(&self, body: &mut Body<'_>) -> Result<(), Failure> {
        if self.access.sees_all() {
            return Ok(());
        }
        if let Body::Run(run) = body {
            let id = run.run_id.to_string();
            match self.store.ledger.reader().run(&id) {
                Err(Error::NotFound { .. }) => {}
                Err(err) => return Err(err.into()),
                Ok(_) => {
                    self.view().run(&id)?;
                    self.check(run.user_id.as_ref(), run.project_id.as_ref())?;
                    run.user_id = None;
                    return Ok(());
                }
            }
        }
        Ok(self.own(body)?)
    }

    /// Makes the record one of the caller's.
    fn own(&self, body: &mut Body<'_>) -> Result<(), Problem> {
        let Some(subject) = self.access.subject.as_deref() else { return Ok(()) };
        self.check(body.user_id(), body.project_id())?;
        let user = Id::new(subject.to_owned()).map_err(|err| Problem::of(&err, false))?;
        match body {
            Body::Run(run) => run.user_id = Some(user),
            Body::Event(event) => event.user_id = Some(user),
            Body::Error(error) => error.user_id = Some(user),
        }
        Ok(())
    }

    /// That a record names no other user, and no project but the caller's.
    fn check(&self, user: Option<&Id<'_>>, project: Option<&Id<'_>>) -> Result<(), Problem> {
        let Access { subject, projects, .. } = self.access;
        let is = |id: &Id<'_>, text: &String| id.to_string() == *text;
        let refused = |detail: &'static str, field: &str| {
            Err(Problem::new(problem::Kind::NotYours, detail).field(field))
        };
        if user.is_some_and(|user| !subject.iter().any(|own| is(user, own))) {
            return refused("the token is another user's: leave the user out", "user_id");
        }
        if project.is_some_and(|project| !projects.iter().any(|own| is(project, own))) {
            return refused("the token's claim \"projects\" does not have this one", "project_id");
        }
        Ok(())
    }
}
