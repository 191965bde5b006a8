//! An append that is awaited.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::embed::queue::Queue;
use crate::error::{Error, Result};
use crate::model::Body;
use crate::sync::Mutex;

/// What becomes of a record, for the one who waits for it.
#[derive(Debug, Default)]
pub(super) struct Outcome(Mutex<Answer>);

#[derive(Debug, Default)]
struct Answer {
    result: Option<Result<u64>>,
    waker: Option<Waker>,
}

impl Outcome {
    /// Says what has become of it, once.
    pub(super) fn set(&self, result: Result<u64>) {
        let waker = {
            let mut answer = self.0.lock();
            answer.result.get_or_insert(result);
            answer.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Result<u64>> {
        let mut answer = self.0.lock();
        match answer.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A record on its way, which [`Recorder::append`](crate::embed::Recorder::append) gives: it
/// resolves to the record's sequence number once the durability is reached.
///
/// Nothing is done before it is polled, but by a recorder in place. When it is dropped after that,
/// the record is appended all the same, or not: nobody hears of it.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Append(Step);

#[derive(Debug)]
enum Step {
    /// There was no room for it yet.
    Waits {
        queue: Arc<Queue>,
        body: Box<Body<'static>>,
        sync: bool,
        /// Where it waits in the queue, once it was polled.
        place: Option<u64>,
    },
    /// The writer has it.
    Sent(Arc<Outcome>),
    Done(Option<Result<u64>>),
}

impl Append {
    pub(super) fn queued(queue: Arc<Queue>, body: Body<'_>, sync: bool) -> Self {
        Self(Step::Waits { queue, body: Box::new(body.into_owned()), sync, place: None })
    }

    pub(super) const fn done(result: Result<u64>) -> Self {
        Self(Step::Done(Some(result)))
    }
}

impl Future for Append {
    type Output = Result<u64>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<u64>> {
        loop {
            match &mut self.0 {
                Step::Waits { queue, body, sync, place } => {
                    place.take().into_iter().for_each(|place| queue.leave(place));
                    let outcome = Arc::new(Outcome::default());
                    *place = queue.send(body, *sync, &outcome, context.waker());
                    if place.is_some() {
                        return Poll::Pending;
                    }
                    self.0 = Step::Sent(outcome);
                }
                Step::Sent(outcome) => {
                    let polled = outcome.poll(context);
                    if polled.is_ready() {
                        self.0 = Step::Done(None);
                    }
                    return polled;
                }
                // Who polls what is over has an error, and no panic.
                Step::Done(result) => {
                    return Poll::Ready(result.take().unwrap_or(Err(Error::Closed)));
                }
            }
        }
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        // Of those who give up there is no bound.
        if let Step::Waits { queue, place: Some(place), .. } = &self.0 {
            queue.leave(*place);
        }
    }
}

/// The same error for another one of those whom it concerns.
pub(super) fn same(err: &Error) -> Error {
    let again = |source: &io::Error| match source.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(source.kind(), source.to_string()),
    };
    match err {
        Error::NoSpace { path, source } => {
            Error::NoSpace { path: path.clone(), source: again(source) }
        }
        Error::Io { operation, path, source } => {
            Error::Io { operation, path: path.clone(), source: again(source) }
        }
        Error::Poisoned { path, cause } => {
            Error::Poisoned { path: path.clone(), cause: cause.clone() }
        }
        Error::Closed => Error::Closed,
        other => Error::Io {
            operation: "append to",
            path: PathBuf::from("the ledger"),
            source: io::Error::other(other.to_string()),
        },
    }
}
