//! Records as the oracle knows them: read from JSON lines without the library.

use std::collections::BTreeMap;

use runledger::Field;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One record, or one state of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rec {
    /// The number that the ledger gave it.
    pub(crate) seq: u64,
    pub(crate) kind: String,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    pub(crate) attempt: u32,
    /// What it is indexed by.
    pub(crate) fields: BTreeMap<Field, String>,
    /// What its text is searched in, by the name of the key.
    pub(crate) texts: BTreeMap<&'static str, String>,
    /// False for a state of a run that a later one took the place of.
    pub(crate) newest: bool,
}

/// A line of the interchange shape. A key that is not named here would be a hole in the oracle.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    kind: String,
    ts: Option<String>,
    #[serde(rename = "type")]
    name: String,
    status: Option<String>,
    severity: Option<String>,
    trace_id: Option<String>,
    run_id: Option<String>,
    project_id: Option<String>,
    user_id: Option<String>,
    subject: Option<String>,
    attempt: Option<u32>,
    created_at: Option<String>,
    message: Option<String>,
    stack: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

impl Rec {
    /// Reads a line. An attempt of 0 stands for none.
    pub(crate) fn parse(line: &str) -> Self {
        let line: Line<'_> =
            serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"));
        let severity = line.severity.or((line.kind == "error").then(|| "error".to_owned()));
        // Two words that some loggers use for severities of the model.
        let severity = severity.map(|severity| match severity.as_str() {
            "fatal" => "critical".to_owned(),
            "warn" => "warning".to_owned(),
            _ => severity,
        });
        let fields = [
            (Field::Type, Some(line.name)),
            (Field::Status, line.status),
            (Field::Severity, severity),
            (Field::Trace, line.trace_id),
            (Field::Run, line.run_id),
            (Field::Project, line.project_id),
            (Field::User, line.user_id),
            (Field::Subject, line.subject),
        ];
        let raw = |json: Option<&RawValue>| json.map(|json| json.get().to_owned());
        let texts = [
            ("message", line.message),
            ("stack", line.stack),
            ("metadata", raw(line.metadata)),
            ("result", raw(line.result)),
            ("payload", raw(line.payload)),
            ("detail", raw(line.detail)),
        ];
        let time = line.created_at.or(line.ts).expect("the oracle's lines have a time");
        Self {
            seq: 0,
            kind: line.kind,
            created_at: nanos(&time),
            attempt: line.attempt.unwrap_or(0),
            fields: fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect(),
            texts: texts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect(),
            newest: true,
        }
    }

    /// True when an id is longer than the 128 bytes that the ledger takes.
    pub(crate) fn has_long_id(&self) -> bool {
        let ids = [Field::Trace, Field::Run, Field::Project, Field::User];
        ids.iter().any(|field| self.get(*field).len() > 128)
    }

    pub(crate) fn get(&self, field: Field) -> &str {
        self.fields.get(&field).map_or("", String::as_str)
    }
}

/// The nanoseconds of an RFC 3339 time in UTC, by the days of the civil calendar.
pub(crate) fn nanos(time: &str) -> i64 {
    let number = |from: usize, to: usize| time[from..to].parse::<i128>().unwrap();
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Years that begin in March end with the leap day.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469;
    let seconds = days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    let rest = time[19..].strip_suffix('Z').expect("the oracle reads UTC alone");
    let digits = rest.strip_prefix('.').unwrap_or("");
    let fraction: i128 = format!("{digits:0<9}").parse().unwrap();
    i64::try_from(seconds * 1_000_000_000 + fraction).unwrap()
}

#[test]
fn times_by_the_calendar() {
    assert_eq!(nanos("1970-01-01T00:00:00Z"), 0);
    assert_eq!(nanos("2026-11-01T08:30:00.25Z"), 1_793_521_800_250_000_000);
    assert_eq!(nanos("2000-02-29T00:00:00Z"), 951_782_400_000_000_000);
    assert_eq!(nanos("1677-09-21T00:12:43.145224192Z"), i64::MIN);
    assert_eq!(nanos("2262-04-11T23:47:16.854775807Z"), i64::MAX);
}
