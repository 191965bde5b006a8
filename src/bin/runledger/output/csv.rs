//! Comma-separated values, made safe when they go to a terminal.

use std::io::{self, Write};

use runledger::wire::csv;
pub(crate) use runledger::wire::csv::{fields, header};

use crate::output::{Screen, escape};

/// Writes one line of fields, made safe when it goes to a terminal.
///
/// # Errors
/// Those of the writer.
pub(crate) fn write_row(
    fields: &[impl AsRef<str>],
    screen: &Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    match screen.width() {
        Some(_) => {
            let safe: Vec<_> = fields.iter().map(|field| escape::block(field.as_ref())).collect();
            csv::write_row(&safe, out)
        }
        None => csv::write_row(fields, out),
    }
}
