//! The pace at which an answer is to be taken. What is not taken yet is held, and a client that
//! takes a byte now and then would have it held for as long as it likes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::server::input;

/// The most of an answer that a connection is given at a time, in bytes.
const PIECE: usize = 32 << 10;

/// How long a client may take nothing of an answer, and by how much it may be later than at the
/// least rate. A client's system, which takes much ahead of it, takes more only when a good part of
/// that was read: at the least rate it takes none for half a minute as a rule.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that fails when what is written to it is taken too slowly. Only the time counts in
/// which a write waits: a connection on which there is nothing to say may stay as it is.
pub(super) struct Paced<S> {
    stream: S,
    /// For how long writes may wait yet. What is taken gives back the time that it takes at the
    /// least rate, and no more than was waited: what is taken fast would pay for hours of a
    /// trickle.
    left: Duration,
    /// Ends when a write that waits has waited for too long.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, left: PATIENCE, late: None }
    }

    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => {
                let late = self.late.get_or_insert_with(|| Box::pin(sleep(self.left)));
                ready!(late.as_mut().poll(cx));
                let told = "the answer was not taken in time";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, told)))
            }
            Poll::Ready(taken) => {
                if let Some(late) = self.late.take() {
                    self.left = late.deadline().saturating_duration_since(Instant::now());
                }
                let back = taken.as_ref().map_or(Duration::ZERO, |taken| input::longest(*taken));
                self.left = self.left.saturating_add(back).min(PATIENCE);
                written
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The answer in pieces, of which each is given when there is room for it. A short one is given at
/// once.
pub(super) fn in_pieces(body: Body) -> Body {
    match body.size_hint().upper() {
        Some(length) if length <= PIECE as u64 => body,
        _ => Body::new(Pieces { body, rest: Bytes::new() }),
    }
}

struct Pieces {
    body: Body,
    /// What is left of what came last of the body.
    rest: Bytes,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Error;

    /// Is called when there is room for another piece.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let length = self.rest.len().min(PIECE);
        // A copy, so that the last one does not hold all that it was cut from.
        let piece = Bytes::copy_from_slice(&self.rest.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    /// Is called before the first piece.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(future)
    }

    /// A connection on which nothing is to be said is none that takes nothing.
    #[test]
    fn only_writes_that_wait_are_judged() {
        block_on(async {
            let (mut client, server) = duplex(100);
            let mut server = Paced::new(server);
            tokio::time::pause();
            for _ in 0..3 {
                sleep(PATIENCE * 100).await;
                server.write_all(&[b'x'; 50]).await.unwrap();
                client.read_exact(&mut [0; 50]).await.unwrap();
                // One that has waited and was taken is over.
                let taken = async {
                    sleep(PATIENCE - Duration::from_secs(1)).await;
                    client.read_exact(&mut [0; 10_000]).await.unwrap();
                };
                let (written, _) = tokio::join!(server.write_all(&[b'x'; 10_000]), taken);
                written.unwrap();
                // Which gives back what was waited for before.
                let (much, mut room) = (vec![b'x'; 600_000], vec![0; 600_000]);
                let taken = client.read_exact(&mut room);
                let (written, _) = tokio::join!(server.write_all(&much), taken);
                written.unwrap();
            }
            let begun = Instant::now();
            let err = server.write_all(&[b'x'; 101]).await.unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::TimedOut);
            assert!(begun.elapsed() < PATIENCE + Duration::from_secs(1));
        });
    }

    /// A client that takes all but the last bytes holds no more than those.
    #[test]
    fn what_was_given_is_held_no_longer() {
        struct Owner {
            bytes: Vec<u8>,
            _held: Arc<()>,
        }

        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }

        let held = Arc::new(());
        let length = 3 * PIECE + 5;
        let owner = Owner { bytes: vec![b'x'; length], _held: Arc::clone(&held) };
        let answer = Bytes::from_owner(owner);
        let mut body = in_pieces(Body::from(answer));
        assert_eq!(body.size_hint().exact(), Some(length as u64));
        let pieces = block_on(async {
            let mut pieces = Vec::new();
            while !body.is_end_stream() {
                pieces.push(body.frame().await.unwrap().unwrap().into_data().unwrap());
            }
            pieces
        });
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE, PIECE, PIECE, 5]);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
