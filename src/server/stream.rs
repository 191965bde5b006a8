//! Answers that are sent piece by piece: what is made waits for what the client takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

/// How many pieces may wait for a client.
const WAITING: usize = 4;

/// How long a client may take none of them before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the pieces are put.
pub(super) struct Sender(mpsc::Sender<io::Result<Bytes>>);

/// The client is gone, or takes nothing.
#[derive(Debug)]
pub(super) struct Gone;

impl Sender {
    /// Sends a piece once the client has room for it.
    pub(super) async fn send(&self, piece: Vec<u8>) -> Result<(), Gone> {
        self.put(Ok(piece.into())).await
    }

    /// Breaks the answer off, so that the client does not take it for whole.
    pub(super) async fn break_off(&self) -> Result<(), Gone> {
        self.put(Err(io::Error::other("the answer was broken off"))).await
    }

    /// Returns when the client is gone.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }

    async fn put(&self, piece: io::Result<Bytes>) -> Result<(), Gone> {
        self.0.send_timeout(piece, PATIENCE).await.map_err(|_| Gone)
    }
}

/// A body, and where its pieces are put.
pub(super) fn body() -> (Sender, Body) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Sender(sender), Body::from_stream(Pieces(receiver)))
}

struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}
