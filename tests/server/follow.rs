//! Following the ledger.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use runledger::{Event, Id};
use tower::ServiceExt;

use super::{Client, EVENTS, Site, runtime};

/// An answer that goes on.
pub(super) struct Stream {
    body: Body,
    text: String,
}

impl Stream {
    pub(super) fn open(client: &Client<'_>, path: &str, last: Option<&str>) -> Self {
        let mut request: Request<Body> =
            client.request(Method::GET, path).body(Body::empty()).unwrap();
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.parse().unwrap());
        }
        Self::begin(client.site, request)
    }

    fn begin(site: &Site, request: Request<Body>) -> Self {
        runtime().block_on(async {
            let response = site.router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], EVENTS);
            Self { body: response.into_body(), text: String::new() }
        })
    }

    /// Reads until there are so many records, and gives their numbers.
    pub(super) fn records(&mut self, count: usize) -> Vec<u64> {
        runtime().block_on(async {
            while self.numbers().len() < count {
                let next = tokio::time::timeout(Duration::from_secs(30), self.body.frame());
                let Some(frame) = next.await.expect("nothing came") else { break };
                let piece = frame.unwrap().into_data().unwrap();
                self.text.push_str(std::str::from_utf8(&piece).unwrap());
            }
        });
        self.numbers()
    }

    fn numbers(&self) -> Vec<u64> {
        let events = self.text.split("\n\n").filter(|event| event.contains("\ndata: "));
        let id = |event: &str| event.strip_prefix("id: ")?.lines().next()?.parse().ok();
        events.map(|event| id(event).unwrap()).collect()
    }
}

/// As many large records as were asked for came as one piece, and others waited behind it.
#[test]
fn large_records_come_a_few_at_a_time() {
    let site = Site::new();
    for _ in 0..20 {
        site.ledger.append(Event::new("x").message("x".repeat(1 << 20))).unwrap();
    }
    for path in ["/v1/tail?last=1000", "/v1/tail?after=0"] {
        let first = site.admin().get(path).body.len();
        assert!((8 << 20..10 << 20).contains(&first), "{path}: {first}");
        let mut stream = Stream::open(&site.admin(), path, None);
        assert_eq!(stream.records(20), (1..=20).collect::<Vec<_>>(), "{path}");
    }
}

pub(super) fn append(site: &Site, user: &str, count: usize) {
    for _ in 0..count {
        let event = Event::new("x").user_id(Id::new(user.to_owned()).unwrap());
        site.ledger.append(event.message("two\nlines")).unwrap();
    }
}

#[test]
fn what_comes_is_sent_and_a_cut_is_gone_on_from() {
    let site = Site::new();
    append(&site, "ann", 5);
    append(&site, "bob", 5);
    let ann = site.user("ann");
    let mut stream = Stream::open(&ann, "/v1/tail?last=2", None);
    assert_eq!(stream.records(2), [4, 5]);
    append(&site, "bob", 1);
    append(&site, "ann", 2);
    assert_eq!(stream.records(4), [4, 5, 12, 13]);
    assert!(stream.text.contains("event: event\ndata: {\"seq\":12,"), "{}", stream.text);
    drop(stream);
    append(&site, "ann", 1200);
    let mut again = Stream::open(&ann, "/v1/tail", Some("12"));
    assert_eq!(again.records(1201), (13..=1213).collect::<Vec<_>>());
    let mut after = Stream::open(&ann, "/v1/tail?after=1211&type=x", None);
    assert_eq!(after.records(2), [1212, 1213]);
    for wrong in ["x", "-1", "1.5", "99999999999999999999999"] {
        let request = ann.request(Method::GET, "/v1/tail").header("last-event-id", wrong);
        let refused = site.send(request.body(Body::empty()).unwrap());
        assert_eq!(refused.problem(400).1, "Last-Event-ID", "{wrong}");
    }
    assert_eq!(ann.get("/v1/tail?last=1001").problem(400).1, "last");
}

/// Several threads append to several streams of the ledger: nothing is missed, twice or out of
/// order.
#[test]
fn nothing_is_missed_while_many_append() {
    const EACH: usize = 400;
    let site = Site::new();
    let mut stream = Stream::open(&site.admin(), "/v1/tail", Some("0"));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let ledger = site.ledger.clone();
            scope.spawn(move || {
                for _ in 0..EACH {
                    match number % 2 {
                        0 => ledger.append(Event::new("x")).unwrap(),
                        _ => ledger.append(runledger::ErrorRecord::new("e", "m")).unwrap(),
                    };
                }
            });
        }
        let seen = stream.records(4 * EACH);
        assert_eq!(seen, (1..=4 * EACH as u64).collect::<Vec<_>>());
    });
}

/// For a text all records were read before the answer began; one that was damaged ended it, and
/// whoever came back ended there again.
#[test]
fn a_tail_with_a_text_passes_a_damaged_record() {
    let site = Site::new();
    let append = |message: &str| site.ledger.append(Event::new("x").message(message)).unwrap();
    append("needle");
    append("damaged");
    append("hay");
    // The index knows the record before it is damaged.
    site.admin().get("/v1/events").expect(200);
    let events = fs::read_dir(site.folder.path().join("ledger/streams/events")).unwrap();
    let segment = events.map(|entry| entry.unwrap().path()).next().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(7).position(|window| window == b"damaged").unwrap();
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&[0xff; 7], at as u64).unwrap();
    let admin = site.admin();
    let mut begun = Stream::open(&admin, "/v1/tail?text=needle", None);
    let mut again = Stream::open(&admin, "/v1/tail?text=needle&after=0", None);
    assert_eq!(again.records(2), [1, 2]);
    assert!(again.text.contains("id: 2\nevent: damaged\n"), "{}", again.text);
    append("needle");
    assert_eq!((begun.records(1), again.records(3)), (vec![4], vec![1, 2, 4]));
    let too_long = format!("/v1/tail?trace={}", "t".repeat(129));
    assert_eq!(admin.get(&too_long).status, 400, "it is said before the answer begins");
}

/// Only so many follow at a time, and a place is given back when one goes.
#[test]
fn followers_are_bounded_and_end_with_the_server() {
    let site = Site::with(|config| config.followers = 2);
    let admin = site.admin();
    let first = Stream::open(&admin, "/v1/tail", None);
    let mut second = Stream::open(&admin, "/v1/tail", None);
    assert_eq!(admin.get("/v1/tail").problem(503).0, "unavailable");
    drop(first);
    let mut third = None;
    for _ in 0..100 {
        let answer = admin.get("/v1/tail");
        if answer.status == 200 {
            third = Some(answer);
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(third.is_some());
    site.app.stop();
    // The answer ends, rather than to wait for ever.
    assert_eq!(second.records(1), [0_u64; 0]);
}

/// A token that has expired is followed with no longer.
#[test]
fn a_token_that_expires_ends_the_answer() {
    let site = Site::new();
    let claims = serde_json::json!({"sub": "ann", "scope": "read",
        "exp": std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - 3.0});
    let key = jsonwebtoken::EncodingKey::from_secret(super::SECRET);
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let mut stream = Stream::open(&site.bearer(token), "/v1/tail", None);
    assert_eq!(stream.records(1), [0_u64; 0]);
}

/// A token cannot be taken back but by other keys, and these were asked for when the answer began
/// alone: who followed went on to be sent what came, until the token expired.
#[test]
fn keys_that_change_end_the_answer() {
    let site = Site::new();
    let ann = site.user("ann");
    let browser = site.browser_of("ann");
    let mut streams = [
        Stream::open(&ann, "/v1/tail", None),
        Stream::begin(&site, browser.request("/tail/stream").body(Body::empty()).unwrap()),
    ];
    std::fs::write(site.secret_file(), b"another secret, for those who are let in from now on")
        .unwrap();
    site.app.tidy();
    append(&site, "ann", 1);
    for stream in &mut streams {
        assert_eq!(stream.records(1), [0_u64; 0], "{}", stream.text);
    }
    assert_eq!(ann.get("/v1/tail").problem(401).0, "unauthenticated");
}

/// A file that was written anew with what it had ended every answer, as other keys do.
#[test]
fn a_secret_that_stays_ends_no_answer() {
    let site = Site::new();
    let mut stream = Stream::open(&site.user("ann"), "/v1/tail", None);
    std::fs::write(site.secret_file(), [super::SECRET, b"\n"].concat()).unwrap();
    site.app.tidy();
    append(&site, "ann", 1);
    assert_eq!(stream.records(1), [1]);
}
