//! What is no record, as JSON lines.

use std::io::{self, Write};

use runledger::Json;
use serde::Serialize;

use crate::output::{Screen, escape};

/// Writes a value as one line of JSON, made safe when it goes to a terminal.
///
/// # Errors
/// Those of the writer, or when the value has no form in JSON.
pub(crate) fn line(
    value: &impl Serialize,
    screen: &Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    let json = Json::from_value(value).map_err(io::Error::other)?;
    match screen.width() {
        Some(_) => writeln!(out, "{}", escape::json(json.as_str())),
        None => writeln!(out, "{}", json.as_str()),
    }
}
