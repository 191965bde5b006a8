//! Records as rows of a table, as JSON lines and as CSV.

use std::io::{self, Write};

use runledger::{Body, Kind, Record, Timestamp, wire};

use crate::output::{Cell, Column, Format, Screen, Table, colour, csv, escape, human};

/// Writes records in the shape that was asked for.
pub(crate) enum Printer<'a, W: Write> {
    /// A table of these columns.
    Table(Table<'a, W>, Layout, &'a Screen),
    /// One JSON object a line.
    Json(W, &'a Screen),
    /// A header line, then one line a record.
    Csv(W, Kind, &'a Screen),
}

/// Which columns a table of records has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// What matters of one kind.
    Of(Kind),
    /// What all kinds have in common.
    Mixed,
    /// What changes from state to state of one run.
    History,
}

impl<'a, W: Write> Printer<'a, W> {
    /// Begins the output.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn new(
        format: Format,
        kind: Kind,
        screen: &'a Screen,
        mut out: W,
    ) -> io::Result<Self> {
        Ok(match format {
            Format::Table => {
                let table = Table::new(screen, columns(Layout::Of(kind)), out);
                Self::Table(table, Layout::Of(kind), screen)
            }
            Format::Json => Self::Json(out, screen),
            Format::Csv => {
                csv::write_row(csv::header(kind), screen, &mut out)?;
                Self::Csv(out, kind, screen)
            }
        })
    }

    /// Begins a table of the states of one run.
    pub(crate) fn history(screen: &'a Screen, out: W) -> Self {
        Self::Table(Table::new(screen, HISTORY, out), Layout::History, screen)
    }

    /// Begins an output of all kinds of records that goes on for some time.
    pub(crate) fn mixed(json: bool, screen: &'a Screen, out: W) -> Self {
        if json {
            return Self::Json(out, screen);
        }
        let table = Table::new(screen, columns(Layout::Mixed), out).follows();
        Self::Table(table, Layout::Mixed, screen)
    }

    /// Writes one record.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        match self {
            Self::Table(table, Layout::Mixed, screen) => table.row(mixed_row(record, screen)),
            Self::Table(table, Layout::History, screen) => table.row(state_row(record, screen)),
            Self::Table(table, Layout::Of(_), screen) => table.row(row(record, screen)),
            Self::Json(out, screen) => write_json(record, screen, out),
            Self::Csv(out, kind, screen) if record.body.kind() == *kind => {
                csv::write_row(&csv::fields(record), screen, out)
            }
            // A page holds one kind; another has no place under this header.
            Self::Csv(..) => Ok(()),
        }
    }

    /// Writes what was held back.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Table(table, ..) => table.flush(),
            Self::Json(out, _) | Self::Csv(out, ..) => out.flush(),
        }
    }
}

/// Writes one record as a JSON line, made safe when it goes to a terminal.
///
/// # Errors
/// Those of the writer.
pub(crate) fn write_json(
    record: &Record<'_>,
    screen: &Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    if screen.width().is_none() {
        return wire::write_record(record, out);
    }
    let mut line = Vec::new();
    wire::write_record(record, &mut line)?;
    out.write_all(escape::json(&String::from_utf8_lossy(&line)).as_bytes())
}

const RUNS: &[Column] = &[
    Column::number("SEQ"),
    Column::new("STARTED"),
    Column::number("DURATION"),
    Column::new("STATUS"),
    Column::text("TYPE", 10),
    Column::text("RUN ID", 8),
    Column::text("PROJECT", 8).optional(),
    Column::text("ERROR", 12),
];

const EVENTS: &[Column] = &[
    Column::number("SEQ"),
    Column::new("TIME"),
    Column::new("SEVERITY"),
    Column::text("TYPE", 10),
    Column::text("RUN", 8).optional(),
    Column::text("MESSAGE", 16),
];

const ERRORS: &[Column] = &[
    Column::number("SEQ"),
    Column::new("TIME"),
    Column::new("SEVERITY"),
    Column::text("TYPE", 10),
    Column::text("MESSAGE", 16),
    Column::text("RUN/TRACE", 8).optional(),
];

const MIXED: &[Column] = &[
    Column::new("TIME"),
    Column::new("KIND"),
    Column::new("LEVEL"),
    Column::text("TYPE", 12),
    Column::text("RUN", 8).optional(),
    Column::text("MESSAGE", 16),
];

const HISTORY: &[Column] = &[
    Column::number("SEQ"),
    Column::new("TIME"),
    Column::new("STATUS"),
    Column::number("ATTEMPT"),
    Column::text("ERROR", 12),
];

const fn columns(layout: Layout) -> &'static [Column] {
    match layout {
        Layout::Mixed => MIXED,
        Layout::History => HISTORY,
        Layout::Of(Kind::Run) => RUNS,
        Layout::Of(Kind::Error) => ERRORS,
        Layout::Of(_) => EVENTS,
    }
}

/// The cells of a record under the columns of its kind.
fn row(record: &Record<'_>, screen: &Screen) -> Vec<Cell> {
    let body = &record.body;
    let seq = Cell::new(&record.seq.to_string());
    let kind = Cell::new(body.type_name());
    match body {
        Body::Run(run) => vec![
            seq,
            time(run.started_at.or(run.created_at), screen),
            Cell::maybe(run.duration_nanos().map(human::duration)),
            level(body),
            kind,
            Cell::maybe(body.run_id()),
            Cell::maybe(body.project_id()),
            Cell::new(first_line(body)),
        ],
        Body::Error(error) => vec![
            seq,
            time(error.created_at, screen),
            level(body),
            kind,
            message(body),
            Cell::maybe(body.run_id().or(body.trace_id())),
        ],
        _ => vec![
            seq,
            time(body.created_at(), screen),
            level(body),
            kind,
            Cell::maybe(body.run_id()),
            message(body),
        ],
    }
}

/// The cells of a record under the columns that all kinds share.
fn mixed_row(record: &Record<'_>, screen: &Screen) -> Vec<Cell> {
    let body = &record.body;
    let when = match body {
        Body::Run(run) => run.newest_time(),
        _ => body.created_at(),
    };
    vec![
        time(when, screen),
        Cell::new(body.kind().name()),
        level(body),
        Cell::new(body.type_name()),
        Cell::maybe(body.run_id()),
        message(body),
    ]
}

/// The cells of a run's state under the columns of its history.
fn state_row(record: &Record<'_>, screen: &Screen) -> Vec<Cell> {
    let Body::Run(run) = &record.body else { return Vec::new() };
    vec![
        Cell::new(&record.seq.to_string()),
        Cell::maybe(run.newest_time().map(|time| screen.exact_time(time))),
        level(&record.body),
        Cell::maybe(run.attempt),
        Cell::new(first_line(&record.body)),
    ]
}

fn time(time: Option<Timestamp>, screen: &Screen) -> Cell {
    Cell::maybe(time.map(|time| screen.time(time)))
}

/// A run's status or the severity of what is no run, in its colour.
pub(crate) fn level(body: &Body<'_>) -> Cell {
    let severity = match body {
        Body::Run(run) => {
            return Cell::new(run.status.name()).style(colour::status(run.status));
        }
        Body::Event(event) => event.severity,
        Body::Error(error) => Some(error.severity),
        _ => None,
    };
    severity.map_or_else(
        || Cell::new(""),
        |severity| Cell::new(severity.name()).style(colour::severity(severity)),
    )
}

/// What a record says, on one line: its message, else its payload.
pub(crate) fn message(body: &Body<'_>) -> Cell {
    let cell = Cell::new(says(body));
    match body {
        Body::Event(event) if event.message.is_none() => cell.style(colour::faint()),
        _ => cell,
    }
}

/// What a record says: its message, else its payload.
pub(crate) fn says<'b>(body: &'b Body<'_>) -> &'b str {
    match body {
        Body::Event(event) => match (&event.message, &event.payload) {
            (Some(message), _) => message,
            (None, Some(payload)) => payload.as_str(),
            (None, None) => "",
        },
        Body::Error(error) => &error.message,
        _ => first_line(body),
    }
}

/// The first line of a run's error.
fn first_line<'b>(body: &'b Body<'_>) -> &'b str {
    let Body::Run(run) = body else { return "" };
    let message = run.error.as_ref().map_or("", |error| &error.message);
    message.trim_start().lines().next().unwrap_or("")
}
