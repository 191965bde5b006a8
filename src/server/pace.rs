//! The pace at which an answer is to be taken. What is not taken yet is held, and a client that
//! takes a byte now and then would have it held for as long as it likes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::server::input;
use crate::storage::{Disk, Storage};

/// The most of an answer that a connection is given at a time, in bytes.
const PIECE: usize = 32 << 10;

/// For how long a client may be slower than the least rate.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The answer, which breaks off when it is taken too slowly. A short one is given at once.
pub(super) fn paced(body: Body, patience: Duration) -> Body {
    match body.size_hint().upper() {
        Some(length) if length <= PIECE as u64 => body,
        _ => Body::new(Paced { body, rest: Bytes::new(), given: None, patience }),
    }
}

struct Paced {
    body: Body,
    /// What is left of what came last of the body.
    rest: Bytes,
    /// When the last piece was given.
    given: Option<Duration>,
    /// For how long the client is waited for yet. Each piece adds the time that it takes at the
    /// least rate, whenever it is taken: the system takes many at once, and none for long then.
    patience: Duration,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Error;

    /// Is called when there is room for another piece.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(given) = self.given.take() {
            let waited = Disk.monotonic().saturating_sub(given);
            let late = || Error::new("the answer was not taken in time");
            self.patience = self.patience.checked_sub(waited).ok_or_else(late)?;
        }
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
        self.patience = self.patience.saturating_add(input::longest(length));
        self.given = Some(Disk.monotonic());
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

    use super::*;
    use crate::server::stream;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(future)
    }

    /// An answer was held for as long as its client took a byte of it now and then.
    #[test]
    fn an_answer_that_is_taken_too_slowly_breaks_off() {
        block_on(async {
            for (patience, is_whole) in [(Duration::ZERO, false), (PATIENCE, true)] {
                let (sender, body) = stream::body();
                sender.send(vec![b'x'; 80]).await.unwrap();
                sender.send(vec![b'x'; 80]).await.unwrap();
                let mut body = paced(body, patience);
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 80);
                // Twice as long as it may take.
                tokio::time::sleep(input::longest(80) * 2).await;
                assert_eq!(body.frame().await.unwrap().is_ok(), is_whole);
            }
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
        let mut body = paced(Body::from(answer), PATIENCE);
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
