//! How the commands show things: tables on a terminal, plain lines in a pipe, JSON lines, CSV.
//!
//! Text that came out of a record goes through [`escape`] before it reaches a terminal.

pub(crate) mod colour;
pub(crate) mod counts;
pub(crate) mod csv;
pub(crate) mod durations;
pub(crate) mod json;
pub(crate) mod records;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod typed;
pub(crate) mod view;
pub(crate) mod waterfall;

pub(crate) use records::Printer;
pub(crate) use runledger::text::{escape, human, pretty};
pub(crate) use screen::Screen;
pub(crate) use table::{Cell, Column, Table};

/// The shape of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people; plain in a pipe
    Table,
    /// One JSON object a line
    Json,
    /// Comma-separated values with a header line
    Csv,
}

/// The shape of what has no columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// For people
    Table,
    /// One JSON object a line
    Json,
}
