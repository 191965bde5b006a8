//! One record in full, for reading.

use std::io::{self, Write};

use anstyle::Style;
use runledger::{Body, ErrorRecord, Event, Json, Record, Run};

use crate::output::{Screen, colour, escape, human, pretty};

/// The width of the names of the fields.
const NAMES: usize = 13;

/// A record as a heading, lines of names and values, and blocks of text.
pub(crate) struct View {
    heading: String,
    level: (String, Style),
    lines: Vec<(&'static str, String)>,
    blocks: Vec<(&'static str, String)>,
}

impl View {
    /// Lays out a record.
    pub(crate) fn of(record: &Record<'_>, screen: &Screen) -> Self {
        let body = &record.body;
        let mut view = Self {
            heading: format!("{} {}", body.kind(), body.type_name()),
            level: Default::default(),
            lines: vec![("seq", record.seq.to_string())],
            blocks: Vec::new(),
        };
        view.line("run", body.run_id());
        match body {
            Body::Run(run) => view.run(run, screen),
            Body::Event(event) => view.event(event, screen),
            Body::Error(error) => view.error(error, screen),
            _ => {}
        }
        view.line("trace", body.trace_id());
        view.line("project", body.project_id());
        view.line("user", body.user_id());
        view.line("recorded", Some(screen.full_time(record.recorded_at)));
        view.line("supersedes", record.supersedes);
        view.line("origin", body.origin());
        view
    }

    fn run(&mut self, run: &Run<'_>, screen: &Screen) {
        self.level = (run.status.to_string(), colour::status(run.status));
        self.line("attempt", run.attempt.filter(|&attempt| attempt > 1));
        self.line("parent run", run.parent_run_id.as_ref());
        self.line("subject", run.subject.as_ref());
        self.line("created", run.created_at.map(|time| screen.full_time(time)));
        self.line("started", run.started_at.map(|time| screen.full_time(time)));
        self.line("finished", run.finished_at.map(|time| screen.full_time(time)));
        self.line("duration", run.duration_nanos().map(human::duration));
        if let Some(owner) = &run.owner {
            let process = owner.process.map(|process| format!("process {} on ", process.pid));
            self.line("owner", Some(format!("{}{}", process.unwrap_or_default(), owner.host)));
            self.line("lease until", owner.lease_until.map(|time| screen.full_time(time)));
        }
        if let Some(error) = &run.error {
            let kind = error.error_type.as_ref().map(|kind| format!("{kind}: "));
            self.block("error", Some(format!("{}{}", kind.unwrap_or_default(), error.message)));
            self.block("stack", error.stack.as_ref());
        }
        self.json("metadata", run.metadata.as_ref());
        self.json("result", run.result.as_ref());
    }

    fn event(&mut self, event: &Event<'_>, screen: &Screen) {
        if let Some(severity) = event.severity {
            self.level = (severity.to_string(), colour::severity(severity));
        }
        self.line("time", event.created_at.map(|time| screen.full_time(time)));
        let actor = event.actor_type.map(|kind| match &event.actor_id {
            Some(id) => format!("{kind} {id}"),
            None => kind.to_string(),
        });
        self.line("actor", actor.or_else(|| event.actor_id.as_ref().map(ToString::to_string)));
        self.block("message", event.message.as_ref());
        self.json("payload", event.payload.as_ref());
    }

    fn error(&mut self, error: &ErrorRecord<'_>, screen: &Screen) {
        self.level = (error.severity.to_string(), colour::severity(error.severity));
        self.line("time", error.created_at.map(|time| screen.full_time(time)));
        self.line("endpoint", error.endpoint.as_ref());
        self.line("fingerprint", error.fingerprint);
        self.block("message", Some(&error.message));
        self.block("stack", error.stack.as_ref());
        self.json("detail", error.detail.as_ref());
    }

    fn line(&mut self, name: &'static str, value: Option<impl ToString>) {
        self.lines.extend(value.map(|value| (name, value.to_string())));
    }

    fn block(&mut self, name: &'static str, text: Option<impl ToString>) {
        let text = text.map(|text| text.to_string()).filter(|text| !text.trim().is_empty());
        self.blocks.extend(text.map(|text| (name, text)));
    }

    fn json(&mut self, name: &'static str, json: Option<&Json<'_>>) {
        self.block(name, json.map(|json| pretty::pretty(json.as_str())));
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn write(&self, screen: &Screen, out: &mut impl Write) -> io::Result<()> {
        let heading = screen.paint(&escape::line(&self.heading), colour::heading());
        let level = screen.paint(&self.level.0, self.level.1);
        writeln!(out, "{}", format!("{heading}  {level}").trim_end())?;
        for (name, value) in &self.lines {
            let name = screen.paint(&format!("{name:<NAMES$}"), colour::faint());
            writeln!(out, "  {name}{}", escape::line(value))?;
        }
        for (name, text) in &self.blocks {
            writeln!(out, "\n{}", screen.paint(name, colour::heading()))?;
            for line in escape::block(text).lines() {
                writeln!(out, "  {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use runledger::{Id, RunError, Status};

    use super::*;

    #[test]
    fn a_view_shows_what_is_there_and_nothing_raw() {
        let run = Run::new("r-1", "backup\u{1b}[2J", Status::Failed)
            .unwrap()
            .project_id(Id::new("billing").unwrap())
            .error(RunError::new("disk full\nat \u{1b}]0;owned\u{7}").error_type("IoError"))
            .metadata(Json::parse(r#"{"host":"db1"}"#).unwrap());
        let screen = Screen::plain(Some(80));
        let mut view = View {
            heading: "run x\u{1b}".to_owned(),
            level: Default::default(),
            lines: vec![],
            blocks: vec![],
        };
        view.line("project", run.project_id.as_ref());
        view.run(&run, &screen);
        let mut out = Vec::new();
        view.write(&screen, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "run x\\u{1b}  failed\n  project      billing\n\nerror\n  IoError: disk full\n  \
             at \\u{1b}]0;owned\\u{7}\n\nmetadata\n  {\n    \"host\": \"db1\"\n  }\n"
        );
    }
}
