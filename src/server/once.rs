//! Requests that a client may send again without being done twice: `Idempotency-Key`.
//!
//! What was answered is kept in memory for a day, for each user by itself. All of it is bounded in
//! bytes: when it is too much, the oldest goes of whoever has the most, so that nobody's requests
//! are forgotten for another's. It does not outlive the server: a client that cannot tell whether
//! its append was done when the server went down has to look.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;

use crate::server::access;
use crate::server::app::App;
use crate::server::input;
use crate::server::problem::{Kind, Problem};
use crate::storage::{Disk, Storage};

/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// For how long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How many bytes of answers and their keys are kept.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// What an entry takes besides its key and its answer, about, with what the room of an answer is
/// rounded up by.
const ENTRY: usize = 1 << 10;

const NAME: HeaderName = HeaderName::from_static("idempotency-key");

/// Whose key it is, and which.
type Owner = (String, String);

/// The answers that are kept.
#[derive(Default)]
pub(super) struct Answers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    users: HashMap<String, Own>,
    bytes: usize,
}

/// Those of one user, by their keys.
#[derive(Default)]
struct Own {
    entries: HashMap<String, Entry>,
    /// Those that are answered, the oldest first.
    order: VecDeque<(String, Duration)>,
    bytes: usize,
}

struct Entry {
    /// The hash of the request: a key stands for one request alone.
    request: [u8; 32],
    /// None while it is worked on.
    answer: Option<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What is known of a request.
enum Known {
    Nothing,
    AtWork,
    Another,
    Done(Answer),
}

impl Answers {
    /// What is known of this request; if nothing, it counts as worked on from now on.
    fn begin(&self, owner: &Owner, request: [u8; 32]) -> Known {
        let (user, key) = owner;
        let mut kept = self.0.lock();
        kept.forget_old(user, Disk.monotonic());
        let own = kept.users.entry(user.clone()).or_default();
        match own.entries.get(key) {
            Some(entry) if entry.request != request => Known::Another,
            Some(Entry { answer: Some(answer), .. }) => Known::Done(answer.clone()),
            Some(_) => Known::AtWork,
            None => {
                own.entries.insert(key.clone(), Entry { request, answer: None });
                Known::Nothing
            }
        }
    }

    /// Keeps the answer; without one the request may be tried again.
    fn end(&self, (user, key): Owner, answer: Option<Answer>) {
        let mut kept = self.0.lock();
        let Some(own) = kept.users.get_mut(&user) else { return };
        match (answer, own.entries.get_mut(&key)) {
            (Some(answer), Some(entry)) => {
                let bytes = ENTRY + key.len() + answer.body.len();
                entry.answer = Some(answer);
                own.bytes += bytes;
                own.order.push_back((key, Disk.monotonic()));
                kept.bytes += bytes;
                kept.forget_most();
            }
            _ => drop(own.entries.remove(&key)),
        }
    }

    /// Drops what is too old, whoever's it is.
    pub(super) fn tidy(&self) {
        let mut kept = self.0.lock();
        let users: Vec<_> = kept.users.keys().cloned().collect();
        users.iter().for_each(|user| kept.forget_old(user, Disk.monotonic()));
        kept.users.retain(|_, own| !own.entries.is_empty());
    }
}

impl Kept {
    /// Drops what is too old of this user.
    fn forget_old(&mut self, user: &str, now: Duration) {
        let Some(own) = self.users.get_mut(user) else { return };
        while own.order.front().is_some_and(|(_, since)| now.saturating_sub(*since) > KEPT) {
            self.bytes = self.bytes.saturating_sub(own.forget_first());
        }
    }

    /// Drops what is too much: of who has the most, but nobody's last answer while another has
    /// more than one. That may have come just now, and its request may be sent again.
    fn forget_most(&mut self) {
        while self.bytes > MAX_BYTES {
            let several = self.users.values_mut().filter(|own| own.order.len() > 1);
            let own = match several.max_by_key(|own| own.bytes) {
                Some(own) => own,
                None => {
                    let since = |own: &&mut Own| own.order.front().map(|(_, since)| *since);
                    let any = self.users.values_mut().filter(|own| !own.order.is_empty());
                    let Some(oldest) = any.min_by_key(since) else { return };
                    oldest
                }
            };
            self.bytes = self.bytes.saturating_sub(own.forget_first());
        }
    }
}

impl Own {
    /// Drops the oldest answer, and gives how many bytes it was.
    fn forget_first(&mut self) -> usize {
        let Some((key, _)) = self.order.pop_front() else { return 0 };
        let Some(Entry { answer: Some(answer), .. }) = self.entries.remove(&key) else { return 0 };
        let bytes = ENTRY + key.len() + answer.body.len();
        self.bytes = self.bytes.saturating_sub(bytes);
        bytes
    }
}

/// Gives a request that has a key to its handler once, and its answer each time.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(NAME) {
        return next.run(request).await;
    }
    match try_once(app, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn try_once(app: App, request: Request, next: Next) -> Result<Response, Problem> {
    let key = key(request.headers())?;
    // Who is not let in learns nothing of what others were answered.
    let access = app.gate().admit(request.method(), request.headers())?;
    let owner = (access.name().to_owned(), key);
    let (parts, body) = request.into_parts();
    let held = input::whole(&app, body, app.config().max_bulk_bytes).await?;
    let mut hash = blake3::Hasher::new();
    // The query has no line feed, and the body comes last: what is hashed is told apart.
    hash.update(parts.uri.to_string().as_bytes()).update(b"\n").update(&held.bytes);
    // An answer is for one who may do the same.
    hash.update(&[access.scopes()]);
    let known = app.answers().begin(&owner, *hash.finalize().as_bytes());
    if !matches!(known, Known::Nothing) {
        // It comes to no handler, which would do that.
        access::count(&app, &parts.extensions, &access)?;
    }
    match known {
        Known::Done(answer) => return Ok(answer.again()),
        Known::AtWork => {
            let detail = "the first request with this key is still at work";
            return Err(Problem::new(Kind::AtWork, detail).field("Idempotency-Key").retry_after(1));
        }
        Known::Another => {
            let detail = "another request had this key: take a new one for each";
            return Err(Problem::new(Kind::KeyTaken, detail).field("Idempotency-Key"));
        }
        Known::Nothing => {}
    }
    let request = Request::from_parts(parts, Body::from(held.bytes.clone()));
    // It is done to its end and noted also when the client goes away meanwhile, as one does that
    // will send it again.
    let work = tokio::spawn(async move {
        let pending = Pending { app, owner: Some(owner) };
        let (parts, body) = next.run(request).await.into_parts();
        drop(held);
        let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else {
            return Problem::new(Kind::Internal, "the answer broke off").into_response();
        };
        // What was refused may be tried again, unless a part of it was done.
        let refusal = parts.extensions.get::<Problem>();
        let is_done = parts.status.is_success() || refusal.is_some_and(Problem::is_after_a_part);
        let (status, headers) = (parts.status, parts.headers.clone());
        pending.end(is_done.then(|| Answer { status, headers, body: body.clone() }));
        // With what the layers above are to know of it.
        Response::from_parts(parts, Body::from(body))
    });
    work.await.map_err(|_| Problem::new(Kind::Internal, "the request failed half-way"))
}

fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(NAME).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    let is_key = |text: &&str| (1..=MAX_KEY).contains(&text.len());
    value.filter(is_key).map(str::to_owned).ok_or_else(|| {
        let detail = format!("Idempotency-Key is to be 1 to {MAX_KEY} characters of ASCII, once");
        Problem::new(Kind::Invalid, detail).field("Idempotency-Key")
    })
}

/// A request at work: when it comes to nothing, it may be tried again.
struct Pending {
    app: App,
    owner: Option<Owner>,
}

impl Pending {
    fn end(mut self, answer: Option<Answer>) {
        if let Some(owner) = self.owner.take() {
            self.app.answers().end(owner, answer);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take() {
            self.app.answers().end(owner, None);
        }
    }
}

impl Answer {
    fn again(mut self) -> Response {
        let yes = HeaderValue::from_static("true");
        self.headers.insert(HeaderName::from_static("idempotency-replayed"), yes);
        (self.status, self.headers, self.body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answers: &Answers, user: &str, key: &str, body: Bytes) {
        let owner = (user.to_owned(), key.to_owned());
        assert!(matches!(answers.begin(&owner, [0; 32]), Known::Nothing), "{user} {key}");
        let (status, headers) = (StatusCode::OK, HeaderMap::new());
        answers.end(owner, Some(Answer { status, headers, body }));
    }

    fn is_known(answers: &Answers, user: &str, key: &str) -> bool {
        let owner = (user.to_owned(), key.to_owned());
        matches!(answers.begin(&owner, [0; 32]), Known::Done(_))
    }

    /// The oldest of all answers went: with a few bulks one user had what others had sent before
    /// done once more when they sent it again.
    #[test]
    fn nobody_is_forgotten_for_another() {
        let answers = Answers::default();
        answered(&answers, "ann", "k", Bytes::from_static(b"{}"));
        let large = Bytes::from(vec![0; 1 << 20]);
        for number in 0..100 {
            answered(&answers, "bob", &number.to_string(), large.clone());
        }
        assert!(is_known(&answers, "ann", "k"));
        assert!(!is_known(&answers, "bob", "0") && is_known(&answers, "bob", "99"));
        let kept = (0..100).filter(|number| is_known(&answers, "bob", &number.to_string()));
        assert_eq!(kept.count(), 63);
        answers.tidy();
        assert!(is_known(&answers, "ann", "k"));
    }

    /// The answer that was the largest went as it came, and its request was done again each time,
    /// for as long as those of many others stayed.
    #[test]
    fn an_answer_is_kept_that_came_just_now() {
        let answers = Answers::default();
        let large = |bytes| Bytes::from(vec![0; bytes]);
        for number in 0..110 {
            answered(&answers, &format!("user {number}"), "k", large(600 << 10));
        }
        answered(&answers, "ann", "k", large(1 << 20));
        assert!(is_known(&answers, "ann", "k"));
        assert!(!is_known(&answers, "user 0", "k") && is_known(&answers, "user 109", "k"));
    }
}
