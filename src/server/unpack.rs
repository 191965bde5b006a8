//! Bodies that come as zstd. What is behind a body of gzip is held as far as 32 KiB back, and what
//! is behind one of zstd as far as its sender says: 128 MiB for each, beside the bounds that bodies
//! have. Here it may say 8 MiB, as RFC 9659 has it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes};
use futures_core::Stream;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::server::problem::{Kind, Problem};

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
    let Ok(decoder) = decoder() else {
        return Problem::new(Kind::Internal, "out of memory").into_response();
    };
    request.headers_mut().remove(CONTENT_ENCODING);
    request.headers_mut().remove(CONTENT_LENGTH);
    let unpacked =
        |body| Unpacked { body, decoder, packed: Bytes::new(), has_more: false, is_whole: true };
    next.run(request.map(|body| Body::from_stream(unpacked(body)))).await
}

fn decoder() -> io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW))?;
    Ok(decoder)
}

struct Unpacked {
    body: Body,
    decoder: Decoder<'static>,
    /// What came, as far as it was not unpacked.
    packed: Bytes,
    /// True when there is more of what was unpacked than a piece took.
    has_more: bool,
    /// True between two frames, where the body may end.
    is_whole: bool,
}

impl Unpacked {
    fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE);
        let mut packed = InBuffer::around(&self.packed);
        let left = self.decoder.run(&mut packed, &mut OutBuffer::around(&mut piece))?;
        let taken = packed.pos();
        self.packed.advance(taken);
        self.is_whole = left == 0;
        self.has_more = !self.is_whole && piece.len() == piece.capacity();
        Ok(piece)
    }
}

impl Stream for Unpacked {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.has_more || !self.packed.is_empty() {
                let piece = self.piece()?;
                if !piece.is_empty() {
                    return Poll::Ready(Some(Ok(piece.into())));
                }
            } else {
                match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(frame) => {
                        let frame = frame.map_err(io::Error::other)?;
                        self.packed = frame.into_data().unwrap_or_default();
                    }
                    None if self.is_whole => return Poll::Ready(None),
                    None => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                }
            }
        }
    }
}
