//! Records of the `log` crate.

use log::kv::{Error as KvError, Key, Value, VisitSource, VisitValue};
use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::embed::ids::Ids;
use crate::embed::recorder::Recorder;
use crate::embed::within::Within;
use crate::embed::{json, spans};
use crate::model::{Body, ErrorRecord, Event, Id, Json, Severity, printed};

/// A logger for the `log` crate that records into the ledger.
///
/// A record is an event whose type is its target; one of the level `Error` is an error. Its
/// key-values are the payload, each of its type, but for `run_id`, `trace_id`, `project_id` and
/// `user_id`. Where the thread is in a span that a `LedgerLayer` knows, it belongs to that span's
/// run and trace.
///
/// ```
/// use runledger::embed::{LedgerLog, Recorder};
/// use runledger::{Durability, Ledger};
/// # let dir = tempfile::tempdir()?;
/// let ledger = Ledger::open(dir.path().join("ledger"))?;
/// let recorder = Recorder::in_place(&ledger, Durability::Interval);
/// LedgerLog::new(recorder, log::LevelFilter::Info).install()?;
/// log::info!(target: "mail.sent", to = "a@example.org"; "one of three");
/// assert_eq!(ledger.query().record_type("mail.sent").count()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LedgerLog {
    recorder: Recorder,
    level: LevelFilter,
}

impl LedgerLog {
    /// A logger that hands records up to this level to the recorder.
    #[must_use]
    pub fn new(recorder: Recorder, level: LevelFilter) -> Self {
        spans::follow();
        Self { recorder, level }
    }

    /// Installs it as the logger of the process, for records up to its level. Who has another
    /// logger besides calls this one from there: it is a [`Log`].
    ///
    /// # Errors
    /// When there is a logger already.
    pub fn install(self) -> Result<(), SetLoggerError> {
        let level = self.level;
        log::set_boxed_logger(Box::new(self))?;
        log::set_max_level(level);
        Ok(())
    }
}

impl Log for LedgerLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Some(_within) = Within::begin() else { return };
        let mut pairs = Pairs::default();
        // A source that fails has given what it could.
        let _ = record.key_values().visit(&mut pairs);
        let ids = pairs.ids.or(&spans::current());
        let message = printed(record.args());
        let target = if record.target().is_empty() { "log" } else { record.target() };
        let mut body = match record.level() {
            Level::Error => {
                let mut error = ErrorRecord::new(target, message);
                error.detail = Some(detail(record, &pairs.json));
                Body::Error(error)
            }
            level => {
                let mut event = Event::new(target).message(message);
                event.severity = Some(severity(level));
                let has_pairs = !pairs.json.is_empty();
                event.payload = has_pairs.then(|| Json::trusted(format!("{{{}}}", pairs.json)));
                Body::Event(event)
            }
        };
        ids.lend(&mut body);
        self.recorder.take(body);
    }

    fn flush(&self) {
        self.recorder.flush();
    }
}

const fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::Error,
        Level::Warn => Severity::Warning,
        Level::Info => Severity::Info,
        Level::Debug => Severity::Debug,
        Level::Trace => Severity::Trace,
    }
}

/// The particulars of an error: its key-values, and where it was logged.
fn detail(record: &Record<'_>, pairs: &str) -> Json<'static> {
    let mut text = String::from("{");
    if !pairs.is_empty() {
        json::key(&mut text, "fields");
        json::plain(&mut text, format_args!("{{{pairs}}}"));
    }
    for (name, value) in [("module", record.module_path()), ("file", record.file())] {
        if let Some(value) = value {
            json::key(&mut text, name);
            json::string(&mut text, value);
        }
    }
    if let Some(line) = record.line() {
        json::key(&mut text, "line");
        json::plain(&mut text, format_args!("{line}"));
    }
    text.push('}');
    Json::trusted(text)
}

/// Key-values: the ids among them, and the others as the members of an object.
#[derive(Default)]
struct Pairs {
    ids: Ids,
    json: String,
}

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        let place = match key.as_str() {
            "run_id" => Some(&mut self.ids.run),
            "trace_id" => Some(&mut self.ids.trace),
            "project_id" => Some(&mut self.ids.project),
            "user_id" => Some(&mut self.ids.user),
            _ => None,
        };
        if let (Some(place), Ok(id)) = (place, Id::new(printed(&value))) {
            *place = Some(id);
            return Ok(());
        }
        json::key(&mut self.json, key.as_str());
        value.visit(Member(&mut self.json))
    }
}

/// The value of a member.
struct Member<'o>(&'o mut String);

impl<'v> VisitValue<'v> for Member<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), KvError> {
        json::printed(self.0, format_args!("{value}"));
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), KvError> {
        self.0.push_str("null");
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), KvError> {
        json::plain(self.0, format_args!("{value}"));
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), KvError> {
        json::plain(self.0, format_args!("{value}"));
        Ok(())
    }

    fn visit_u128(&mut self, value: u128) -> Result<(), KvError> {
        json::plain(self.0, format_args!("{value}"));
        Ok(())
    }

    fn visit_i128(&mut self, value: i128) -> Result<(), KvError> {
        json::plain(self.0, format_args!("{value}"));
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), KvError> {
        json::float(self.0, value);
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), KvError> {
        json::plain(self.0, format_args!("{value}"));
        Ok(())
    }
}
