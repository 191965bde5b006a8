//! Bodies that come as zstd. What is behind a body of gzip is held as far as 32 KiB back, and what
//! is behind one of zstd as far as its sender says: 128 MiB for each, beside the bounds that bodies
//! have. Here it may say 8 MiB, as RFC 9659 has it.

use std::io;

use async_compression::tokio::bufread::ZstdDecoder;
use async_compression::zstd::DParameter;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use tokio_util::io::{ReaderStream, StreamReader};

/// How far back a body may look, as a power of two.
const WINDOW: u32 = 23;

/// How many bytes are unpacked at a time.
const PIECE: usize = 32 << 10;

/// Has a body that came as zstd unpacked as it is read.
pub(super) async fn unpack(mut request: Request, next: Next) -> Response {
    let mut encodings = request.headers().get_all(CONTENT_ENCODING).iter();
    if encodings.next().is_none_or(|it| it != "zstd") || encodings.next().is_some() {
        return next.run(request).await;
    }
    request.headers_mut().remove(CONTENT_ENCODING);
    request.headers_mut().remove(CONTENT_LENGTH);
    // No body at all is none that breaks off.
    let unpacked = |body: Body| if body.is_end_stream() { body } else { unpacked(body) };
    next.run(request.map(unpacked)).await
}

fn unpacked(body: Body) -> Body {
    let packed = StreamReader::new(body.map_err(io::Error::other).into_data_stream());
    let mut unpacked = ZstdDecoder::with_params(packed, &[DParameter::window_log_max(WINDOW)]);
    unpacked.multiple_members(true);
    Body::from_stream(ReaderStream::with_capacity(unpacked, PIECE))
}
