//! Counts: one number, or one for each value of a field.

use std::io::{self, Write};

use runledger::{Field, Severity, Status};
use serde::Serialize;

use crate::output::{Cell, Column, Format, Screen, Table, colour, csv, json};

/// How many records carry a value.
#[derive(Debug, Serialize)]
pub(crate) struct Count {
    /// The value.
    pub(crate) value: String,
    /// How many records carry it.
    pub(crate) count: u64,
}

impl From<(String, u64)> for Count {
    fn from((value, count): (String, u64)) -> Self {
        Self { value, count }
    }
}

/// Writes one count.
///
/// # Errors
/// Those of the writer.
pub(crate) fn total(count: u64, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Table => writeln!(out, "{count}")?,
        Format::Json => writeln!(out, "{{\"count\":{count}}}")?,
        Format::Csv => write!(out, "count\n{count}\n")?,
    }
    out.flush()
}

/// Writes the counts of a field's values.
///
/// # Errors
/// Those of the writer.
pub(crate) fn by_value(
    field: Field,
    counts: &[Count],
    format: Format,
    screen: &Screen,
    mut out: impl Write,
) -> io::Result<()> {
    match format {
        Format::Table if counts.is_empty() => {}
        Format::Table => {
            let columns = [Column::number("COUNT"), Column::text("VALUE", 16)];
            let mut table = Table::new(screen, &columns, &mut out);
            for Count { value, count } in counts {
                let value = Cell::new(value).style(style(field, value));
                table.row(vec![Cell::new(&screen.count(*count)), value])?;
            }
            table.flush()?;
        }
        Format::Json => counts.iter().try_for_each(|count| json::line(count, screen, &mut out))?,
        Format::Csv => {
            csv::write_row(&[field.name(), "count"], screen, &mut out)?;
            for Count { value, count } in counts {
                csv::write_row(&[value.as_str(), &count.to_string()], screen, &mut out)?;
            }
        }
    }
    out.flush()
}

fn style(field: Field, value: &str) -> anstyle::Style {
    match field {
        Field::Status => value.parse::<Status>().map(colour::status).unwrap_or_default(),
        Field::Severity => value.parse::<Severity>().map(colour::severity).unwrap_or_default(),
        _ => anstyle::Style::new(),
    }
}
