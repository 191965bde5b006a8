//! Answers that hold records.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::Error;
use crate::model::Record;
use crate::query::{Cursor, ENOUGH, Page, Stored};
use crate::server::access::Failure;
use crate::server::problem::{Kind, Problem};
use crate::wire::write_record;

/// A record as JSON, without a line feed.
pub(super) fn write(record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
    write_record(record, out).map_err(|_| Problem::new(Kind::Internal, "out of memory"))?;
    out.pop();
    Ok(())
}

/// Has each record of a page written, until there is enough, and gives where the next page begins.
pub(super) fn write_page(
    page: &Page,
    out: &mut Vec<u8>,
    mut write: impl FnMut(Result<Record<'_>, Error>, &mut Vec<u8>) -> Result<(), Failure>,
) -> Result<Option<Cursor>, Failure> {
    for (at, record) in page.records().enumerate() {
        if out.len() >= ENOUGH {
            return Ok(at.checked_sub(1).and_then(|last| page.cursor_after(last)));
        }
        write(record, out)?;
    }
    Ok(page.next())
}

/// A page of records with the cursor of the next one, which begins where there is enough in this
/// one. Records that are damaged are left out, and counted.
pub(super) fn page(page: &Page) -> Result<Vec<u8>, Failure> {
    let mut out = b"{\"items\":[".to_vec();
    let mut damaged = 0_u64;
    let mut is_first = true;
    let next = write_page(page, &mut out, |record, out| match record {
        Ok(record) => {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            write(&record, out)
        }
        Err(Error::Damaged { .. }) => {
            damaged += 1;
            Ok(())
        }
        Err(err) => Err(err.into()),
    })?;
    out.extend_from_slice(b"],\"next\":");
    match next {
        Some(cursor) => out.extend_from_slice(format!("\"{cursor}\"").as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    if damaged > 0 {
        out.extend_from_slice(format!(",\"damaged\":{damaged}").as_bytes());
    }
    out.push(b'}');
    Ok(out)
}

/// A row as JSON.
pub(super) type Row = Box<RawValue>;

/// The rows of a page, made from its records. Those that are damaged are left out, and counted.
/// Where the next page begins follows from the limit of this one, so that none can end before: one
/// that would be too large is refused.
pub(super) fn rows<R: Serialize>(
    page: &Page,
    row: impl Fn(&Record<'_>) -> Result<Option<R>, Error>,
) -> Result<(Vec<Row>, Option<u64>), Failure> {
    let (mut rows, mut damaged, mut bytes) = (Vec::with_capacity(page.len()), 0, 0);
    for (at, record) in page.records().enumerate() {
        if bytes >= ENOUGH {
            let detail = format!(
                "the first {at} of these are more than {} MiB; ask for no more than {at} at a time",
                ENOUGH >> 20
            );
            return Err(Problem::new(Kind::Invalid, detail).field("limit").into());
        }
        match record {
            Ok(record) => {
                if let Some(row) = row(&record)? {
                    let row = to_raw_value(&row).map_err(|_| unwritten())?;
                    bytes += row.get().len();
                    rows.push(row);
                }
            }
            Err(Error::Damaged { .. }) => damaged += 1,
            Err(err) => return Err(err.into()),
        }
    }
    Ok((rows, (damaged > 0).then_some(damaged)))
}

/// One record with its tag.
pub(super) struct One {
    pub(super) seq: u64,
    body: Vec<u8>,
}

impl One {
    pub(super) fn new(stored: &Stored) -> Result<Self, Failure> {
        let mut body = Vec::new();
        write(&stored.record()?, &mut body)?;
        Ok(Self { seq: stored.seq(), body })
    }

    /// The record, unless the client has it already.
    pub(super) fn answer(self, request: &HeaderMap) -> Response {
        // Weak: the same record may be sent compressed.
        let strong = format!("\"{}\"", self.seq);
        let tag = format!("W/{strong}");
        let is_known = request.get_all(header::IF_NONE_MATCH).iter().any(|tags| {
            let tags = tags.to_str().unwrap_or_default().split(',').map(str::trim);
            tags.into_iter().any(|other| other == "*" || other == tag || other == strong)
        });
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => json(StatusCode::OK, self.body),
        };
        if let Ok(tag) = HeaderValue::try_from(tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// JSON that is written already.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let media = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, media, body).into_response()
}

/// A value as JSON.
pub(super) fn value<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json(status, body),
        Err(_) => unwritten().into_response(),
    }
}

fn unwritten() -> Problem {
    Problem::new(Kind::Internal, "the answer cannot be written")
}
