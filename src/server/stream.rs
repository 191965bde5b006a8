//! Answers that are sent piece by piece: what is made waits for what the client takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

/// How many pieces may wait for a client.
const WAITING: usize = 2;

/// How long a client may take none of them before it is given up. Long, as the system takes
/// megabytes at once, and none for long then: at which pace an answer is to be taken is said by
/// [`Paced`](crate::server::pace::Paced).
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// Where the pieces are put. An answer whose end is not said breaks off, so that the client does
/// not take it for whole.
pub(super) struct Sender {
    pieces: mpsc::Sender<Bytes>,
    end: oneshot::Sender<()>,
}

/// The client is gone, or takes nothing.
#[derive(Debug)]
pub(super) struct Gone;

impl Sender {
    /// Sends a piece once the client has room for it.
    pub(super) async fn send(&self, piece: Vec<u8>) -> Result<(), Gone> {
        self.pieces.send_timeout(piece.into(), PATIENCE).await.map_err(|_| Gone)
    }

    /// Ends the answer, which is whole.
    pub(super) fn end(self) {
        // Before the pieces end, as they are dropped after it.
        let _ = self.end.send(());
    }

    /// Returns when the client is gone.
    pub(super) async fn gone(&self) {
        self.pieces.closed().await;
    }
}

/// A body, and where its pieces are put.
pub(super) fn body() -> (Sender, Body) {
    let (pieces, waiting) = mpsc::channel(WAITING);
    let (end, said) = oneshot::channel();
    (Sender { pieces, end }, Body::from_stream(Pieces { waiting, said, is_whole: false }))
}

struct Pieces {
    waiting: mpsc::Receiver<Bytes>,
    /// That the pieces are all.
    said: oneshot::Receiver<()>,
    /// True once that was heard: who compresses asks behind the end.
    is_whole: bool,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(piece) = ready!(self.waiting.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(piece)));
        }
        self.is_whole = self.is_whole || self.said.try_recv().is_ok();
        let broken_off = || Err(io::Error::other("the answer was broken off"));
        Poll::Ready((!self.is_whole).then(broken_off))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that took nothing of an export for half a minute, and then went on, was given what
    /// had waited and an end as that of a whole answer.
    #[test]
    fn an_answer_is_whole_only_when_its_end_was_said() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for is_ended in [true, false] {
            let (sender, body) = body();
            let taken = runtime.block_on(async {
                sender.send(b"a piece".to_vec()).await.unwrap();
                match is_ended {
                    true => sender.end(),
                    false => drop(sender),
                }
                axum::body::to_bytes(body, 100).await
            });
            assert_eq!(taken.is_ok(), is_ended, "{taken:?}");
        }
    }
}
