//! Everything that matches, as a stream.

use std::io::Write;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Error;
use crate::model::Kind;
use crate::query::{Cursor, Order, Query};
use crate::server::access::{Caller, Failure, Read, View};
use crate::server::app::App;
use crate::server::problem::{self, Problem};
use crate::server::reply::write_page;
use crate::server::routes::filter::{AnyFilter, Narrow};
use crate::server::stream::{self, Gone, Sender};
use crate::server::words::Words;
use crate::wire::{csv, write_record};

/// How many records are read at a time.
const AT_ONCE: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export))
}

/// In which form, and of runs what.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Form {
    /// Lines of JSON, or comma-separated values of one kind of record; lines of JSON unless given
    #[param(inline)]
    format: Option<Format>,
    /// Also the states of runs whose place was taken by a later one
    history: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Ndjson,
    Csv,
}

/// Every record that matches, in the order of the appends
///
/// In the place of one that is damaged stands its number alone: `{"seq":7,"damaged":true}`, or as
/// CSV a row whose other fields are empty.
#[utoipa::path(
    get, path = "/v1/export", tag = "records", operation_id = "export",
    params(AnyFilter, Form), security(("bearer" = ["read"])),
    responses((
        status = 200, description = "The records; an answer that breaks off is not whole",
        content((String = "application/x-ndjson"), (String = "text/csv")),
    )),
)]
async fn export(
    caller: Caller<Read>,
    Words(filter, form): Words<AnyFilter, Form>,
) -> Result<Response, Problem> {
    let format = form.format.unwrap_or(Format::Ndjson);
    let kind = match (format, filter.only_kind()) {
        (Format::Ndjson, _) => None,
        (Format::Csv, Some(kind)) => Some(kind),
        (Format::Csv, None) => {
            let detail = "CSV has the columns of one kind: name one of run, event and error";
            return Err(Problem::new(problem::Kind::Invalid, detail).field("kind"));
        }
    };
    let history = form.history.unwrap_or(false);
    let ask = move |view: &View<'_>| {
        let query = filter.apply(view.query()).or_damaged().history(history);
        let query = query.order(Order::Seq).limit(AT_ONCE);
        let first = piece(&query, None, kind)?;
        Ok((query, first))
    };
    let (query, first) = caller.look(ask).await?;
    let (sender, body) = stream::body();
    tokio::spawn(send(caller, query, kind, first, sender));
    let (media, name) = match format {
        Format::Ndjson => ("application/x-ndjson", "attachment; filename=\"records.jsonl\""),
        Format::Csv => {
            ("text/csv; charset=utf-8; header=present", "attachment; filename=\"records.csv\"")
        }
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(name)),
    ];
    Ok((headers, body).into_response())
}

/// Sends page after page; an error breaks the answer off.
async fn send(
    caller: Caller<Read>,
    query: Query,
    kind: Option<Kind>,
    first: Piece,
    sender: Sender,
) -> Result<(), Gone> {
    let mut piece_now = first;
    loop {
        sender.send(piece_now.bytes).await?;
        let Some(cursor) = piece_now.next else {
            sender.end();
            return Ok(());
        };
        let query = query.clone();
        let next = caller.look(move |_| piece(&query, Some(cursor), kind)).await;
        piece_now = next.map_err(|_| Gone)?;
    }
}

/// A page as it is sent, and where the next one begins.
struct Piece {
    bytes: Vec<u8>,
    next: Option<Cursor>,
}

/// The query is bound to what the caller sees already; it looks at the segments of its first page.
fn piece(query: &Query, after: Option<Cursor>, kind: Option<Kind>) -> Result<Piece, Failure> {
    let mut bytes = Vec::new();
    let failed = |_| Problem::new(problem::Kind::Internal, "out of memory");
    if let (None, Some(kind)) = (after, kind) {
        csv::write_row(csv::header(kind), &mut bytes).map_err(failed)?;
    }
    let page = after.into_iter().fold(query.clone(), Query::after).fetch()?;
    let mut seqs = page.seqs();
    let next = write_page(&page, &mut bytes, |record, bytes| {
        let seq = seqs.next().unwrap_or_default();
        let written = match (record, kind) {
            (Ok(record), None) => write_record(&record, bytes),
            (Ok(record), Some(_)) => {
                let fields = csv::fields(&record);
                let safe = fields.iter().map(|field| csv::unexecuted(field)).collect::<Vec<_>>();
                csv::write_row(&safe, bytes)
            }
            (Err(Error::Damaged { .. }), None) => {
                writeln!(bytes, "{{\"seq\":{seq},\"damaged\":true}}")
            }
            (Err(Error::Damaged { .. }), Some(kind)) => {
                let mut fields = vec![String::new(); csv::header(kind).len()];
                fields.first_mut().into_iter().for_each(|first| *first = seq.to_string());
                csv::write_row(&fields, bytes)
            }
            (Err(err), _) => return Err(err.into()),
        };
        written.map_err(failed)?;
        Ok(())
    })?;
    Ok(Piece { bytes, next })
}
