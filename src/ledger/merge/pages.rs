//! Pages of records of any length, of which no more are taken at a time than memory is for.

use crate::error::Result;
use crate::model::Record;
use crate::query::{Cursor, ENOUGH, Page};

/// Hands over the records of a page, with their places in it, up to where it is enough. Gives where
/// the query goes on.
///
/// # Errors
/// Those of `take`.
pub(super) fn each<'p>(
    page: &'p Page,
    mut take: impl FnMut(usize, Result<Record<'p>>) -> Result<()>,
) -> Result<Option<Cursor>> {
    let mut bytes = 0;
    for (at, record) in page.records().enumerate() {
        bytes += record.as_ref().map_or(0, |record| record.body.text_bytes());
        take(at, record)?;
        if bytes >= ENOUGH {
            return Ok(page.cursor_after(at));
        }
    }
    Ok(page.next())
}
