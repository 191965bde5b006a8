//! What a layer keeps of a span, among the span's extensions.

use smallvec::SmallVec;

use crate::embed::ids::Ids;
use crate::embed::layer::visit::Said;
use crate::embed::recorder::Recorder;
use crate::embed::within::Within;
use crate::embed::{json, recent};
use crate::model::{Body, Id, Json, Run, RunError, Status, Timestamp};
use crate::sync::thread;

/// The states of one span, by the recorders of the layers that keep them.
#[derive(Debug, Default)]
pub(super) struct States(SmallVec<[(usize, SpanState); 1]>);

impl States {
    pub(super) fn get(&self, of: usize) -> Option<&SpanState> {
        self.0.iter().find(|(key, _)| *key == of).map(|(_, state)| state)
    }

    pub(super) fn get_mut(&mut self, of: usize) -> Option<&mut SpanState> {
        self.0.iter_mut().find(|(key, _)| *key == of).map(|(_, state)| state)
    }

    pub(super) fn insert(&mut self, of: usize, state: SpanState) {
        self.0.push((of, state));
    }

    pub(super) fn remove(&mut self, of: usize) -> Option<SpanState> {
        let at = self.0.iter().position(|(key, _)| *key == of)?;
        Some(self.0.swap_remove(at).1)
    }
}

#[derive(Debug)]
pub(super) struct SpanState {
    /// What holds for all that happens in the span.
    pub(super) ids: Ids,
    /// True until it was asked to which trace the span belongs.
    pub(super) asks: bool,
    /// The run that the span is.
    pub(super) run: Option<Box<OpenRun>>,
}

impl Drop for SpanState {
    /// The run ends with its span, also where the layer that has opened it was exchanged meanwhile,
    /// and nobody but the registry drops this.
    fn drop(&mut self) {
        let Some(run) = self.run.take() else { return };
        let Some(_within) = Within::begin() else { return };
        let (recorder, is_panicking) = (run.recorder.clone(), thread::panicking());
        let is_ended = |run| recent::has_failed_run(recorder.ledger(), run);
        if is_panicking && self.ids.run.as_ref().is_some_and(is_ended) {
            return;
        }
        if let Some(closed) = run.close(&self.ids, is_panicking, recorder.now()) {
            recorder.take(Body::Run(closed));
        }
    }
}

/// A run that is open as long as its span.
#[derive(Debug)]
pub(super) struct OpenRun {
    /// Where its end goes.
    recorder: Recorder,
    run_type: String,
    parent: Option<Id<'static>>,
    created_at: Timestamp,
    /// Its metadata: the fields of the span.
    members: Vec<(&'static str, String)>,
    /// As the span's fields say it is, or ends.
    status: Option<Status>,
    /// As `otel.status_code` says it ends, and why.
    otel: Option<Status>,
    otel_description: Option<String>,
    /// The first error that happened in it.
    error: Option<RunError<'static>>,
}

impl OpenRun {
    pub(super) fn new(
        recorder: Recorder,
        run_type: String,
        parent: Option<Id<'static>>,
        now: Timestamp,
    ) -> Self {
        Self {
            recorder,
            run_type,
            parent,
            created_at: now,
            members: Vec::new(),
            status: None,
            otel: None,
            otel_description: None,
            error: None,
        }
    }

    /// Takes over what fields of the span say.
    pub(super) fn note(&mut self, said: &mut Said) {
        for (name, value) in said.members.drain(..) {
            match self.members.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => self.members.push((name, value)),
            }
        }
        // That a run was abandoned is for the ledger alone to say.
        if let Some(status) = said.status.parse().ok().filter(|it| *it != Status::Abandoned) {
            self.status = Some(status);
        }
        match said.otel_status.to_ascii_lowercase().as_str() {
            "ok" => self.otel = Some(Status::Success),
            "error" => self.otel = Some(Status::Failed),
            _ => {}
        }
        if !said.otel_description.is_empty() {
            self.otel_description = Some(said.otel_description.clone());
        }
    }

    /// Notes an error that happened in it.
    pub(super) fn note_error(&mut self, error_type: &str, message: &str) {
        self.error.get_or_insert_with(|| {
            RunError::new(message.to_owned()).error_type(error_type.to_owned())
        });
    }

    /// The run as it is while its span is open.
    pub(super) fn open(&self, ids: &Ids, now: Timestamp) -> Option<Run<'static>> {
        let status = self.status.filter(|status| !status.is_terminal());
        self.state(ids, status.unwrap_or(Status::Running), now)
    }

    /// The run as it ends with its span.
    fn close(self, ids: &Ids, is_panicking: bool, now: Timestamp) -> Option<Run<'static>> {
        let said = self.status.filter(|status| status.is_terminal()).or(self.otel);
        let went_wrong = self.error.is_some() || is_panicking;
        let happened = if went_wrong { Status::Failed } else { Status::Success };
        let status = said.unwrap_or(happened);
        let mut run = self.state(ids, status, now)?;
        if status == Status::Failed {
            let described = self.otel_description.map(RunError::new);
            let unwound = || RunError::new("the thread panicked").error_type("panic");
            run.error = self.error.or(described).or_else(|| is_panicking.then(unwound));
        }
        Some(run)
    }

    fn state(&self, ids: &Ids, status: Status, now: Timestamp) -> Option<Run<'static>> {
        let mut run = Run::with_id(ids.run.clone()?, self.run_type.clone(), status);
        run.at = Some(now);
        // The first of its records may be missing.
        run.created_at = Some(self.created_at);
        run.trace_id.clone_from(&ids.trace);
        run.project_id.clone_from(&ids.project);
        run.user_id.clone_from(&ids.user);
        run.parent_run_id.clone_from(&self.parent);
        run.metadata = self.metadata();
        Some(run)
    }

    fn metadata(&self) -> Option<Json<'static>> {
        if self.members.is_empty() {
            return None;
        }
        let mut text = String::from("{");
        for (name, value) in &self.members {
            json::key(&mut text, name);
            text.push_str(value);
        }
        text.push('}');
        Some(Json::trusted(text))
    }
}
