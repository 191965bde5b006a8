//! Many lines at a time, and everything out again.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Method;
use runledger::{Event, Kind, Options, Order};
use serde_json::{Value, json};
use torture::disk::{Fault, OpKind, SimDisk};

use super::{Answer, Site};

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_line_has_its_own_result() {
    let site = Site::new();
    let ann = site.user("ann");
    let body = [
        r#"{"kind":"run","type":"backup","run_id":"r","status":"running"}"#,
        r#"{"kind":"event","type":"x","run_id":"r","payload":{"n": 1.50}}"#,
        "",
        r#"{"kind":"event","typ":"x"}"#,
        "no json",
        r#"{"type":"x"}"#,
        r#"{"kind":"event","type":"x","user_id":"bob"}"#,
        "{\"kind\":\"error\",\"type\":\"x\",\"message\":\"m\"}\r",
        r#"{"kind":"run","type":"backup","run_id":"r","status":"success"}"#,
        r#"{"kind":"run","type":"backup","run_id":"r","status":"failed"}"#,
    ];
    let results = lines(&ann.post("/v1/bulk?durability=sync", &body.join("\n")));
    // There is no such word here.
    assert!(results.iter().all(|it| !it.to_string().contains("lenient")));
    let told: Vec<_> = results
        .iter()
        .map(|it| {
            let name = it["problem"]["type"].as_str().map(|name| name.rsplit(':').next().unwrap());
            (
                it["line"].as_u64().unwrap(),
                it["seq"].as_u64(),
                name,
                it["problem"]["field"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, Some(1), None, None),
            (2, Some(2), None, None),
            (4, None, Some("invalid-body"), Some("typ")),
            (5, None, Some("invalid-body"), None),
            (6, None, Some("invalid-body"), Some("kind")),
            (7, None, Some("not-yours"), Some("user_id")),
            (8, Some(3), None, None),
            (9, Some(4), None, None),
            (10, None, Some("run-transition"), Some("status")),
        ]
    );
    assert_eq!(ann.get("/v1/runs/r").expect(200)["status"], "success");
    assert!(ann.get("/v1/events/2").text().contains(r#"{"n": 1.50}"#));
}

/// Lines are cut where they end, wherever the pieces do.
#[test]
fn many_lines_are_taken_in_order() {
    let site = Site::new();
    let ann = site.user("ann");
    let text = "x".repeat(300);
    let body: String = (0..5000)
        .map(|n| format!("{{\"kind\":\"event\",\"type\":\"t{n}\",\"message\":\"{text}\"}}\n"))
        .collect();
    let results = lines(&ann.post("/v1/bulk", &body));
    assert_eq!(results.len(), 5000);
    for (line, result) in (1_u64..).zip(&results) {
        assert_eq!(*result, json!({"line": line, "seq": line}));
    }
    let seventh = ann.get("/v1/events/7").expect(200);
    assert_eq!((&seventh["type"], &seventh["user_id"]), (&json!("t6"), &json!("ann")));
}

#[test]
fn a_bulk_is_bounded_and_says_what_was_done() {
    let site = Site::with(|config| config.max_bulk_bytes = 1 << 20);
    let ann = site.user("ann");
    let line =
        format!("{{\"kind\":\"event\",\"type\":\"x\",\"message\":\"{}\"}}\n", "x".repeat(999));
    // Piece by piece, as it comes over a wire.
    let pieces = std::iter::repeat_n(Bytes::from(line), 2000).map(|line| Some(Ok(line)));
    let refused = send(&site, pieces);
    assert_eq!(refused.problem(413).0, "too-large");
    let kept = site.ledger.query().kind(Kind::Event).count().unwrap();
    assert!(kept > 0 && kept < 2000);
    assert!(
        refused.text().contains(&format!("{kept} records were appended")),
        "{}",
        refused.text()
    );

    let many = ann.post("/v1/bulk", &"\n".repeat(100_001));
    assert_eq!(many.problem(413).0, "too-large");
    let form = ann.request(Method::POST, "/v1/bulk").header("content-type", "application/json");
    assert_eq!(
        site.send(form.body(Body::from("{}")).unwrap()).problem(415).0,
        "unsupported-media-type"
    );
}

/// A body that comes piece by piece. After `None` nothing comes any more, and no end.
struct Pieces<I>(I);

impl<I: Iterator<Item = Option<io::Result<Bytes>>> + Unpin> futures_core::Stream for Pieces<I> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.next() {
            Some(Some(piece)) => Poll::Ready(Some(piece)),
            Some(None) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// What a bulk of ann's is answered whose body comes as these pieces.
fn send<I>(site: &Site, pieces: I) -> Answer
where
    I: Iterator<Item = Option<io::Result<Bytes>>> + Send + Unpin + 'static,
{
    send_as(site, "os", pieces)
}

fn send_as<I>(site: &Site, durability: &str, pieces: I) -> Answer
where
    I: Iterator<Item = Option<io::Result<Bytes>>> + Send + Unpin + 'static,
{
    let ann = site.user("ann");
    let request = ann.request(Method::POST, &format!("/v1/bulk?durability={durability}"));
    let request = request.header("content-type", "application/x-ndjson");
    site.send(request.body(Body::from_stream(Pieces(pieces))).unwrap())
}

/// An event of about 1,000 bytes on a line.
fn event(number: usize) -> Bytes {
    let text = "x".repeat(950);
    format!("{{\"kind\":\"event\",\"type\":\"t{number}\",\"message\":\"{text}\"}}\n").into()
}

/// That the answer tells of as many records as there are, and that they are the first of the lines.
fn only_the_first(site: &Site, refused: &Answer) -> usize {
    let page =
        site.ledger.query().kind(Kind::Event).order(Order::Seq).limit(10_000).fetch().unwrap();
    let (kept, text) = (page.len(), refused.text());
    for (number, record) in page.records().enumerate() {
        assert_eq!(record.unwrap().body.type_name(), format!("t{number}"));
    }
    let told = format!("of the {kept} lines before, {kept} records were appended");
    assert!(text.contains(&told), "{told}: {text}");
    kept
}

#[test]
fn a_bulk_that_breaks_off_tells_what_was_done() {
    let site = Site::new();
    let lines = (0..2000).map(|number| Some(Ok(event(number))));
    let broken = || Some(Err(io::Error::other("reset")));
    let refused = send(&site, lines.chain(std::iter::once_with(broken)));
    assert_eq!(refused.problem(400).0, "invalid-body");
    let kept = only_the_first(&site, &refused);
    assert!(kept > 1500 && kept < 2000, "{kept}");
}

#[test]
fn a_bulk_that_stops_to_come_tells_what_was_done() {
    let site = Site::with(|config| config.read_timeout = Duration::from_millis(300));
    let lines = (0..1000).map(|number| Some(Ok(event(number))));
    let refused = send(&site, lines.chain(std::iter::repeat_with(|| None)));
    assert_eq!(refused.problem(408).0, "too-slow");
    assert!(only_the_first(&site, &refused) > 500);
}

/// A body that comes at a steady pace: a piece each tenth of a second.
struct Steady {
    pieces: VecDeque<Bytes>,
    tick: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Steady {
    fn body(pieces: impl IntoIterator<Item = Bytes>) -> Body {
        Body::from_stream(Self { pieces: pieces.into_iter().collect(), tick: None })
    }
}

impl futures_core::Stream for Steady {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let sleep = || Box::pin(tokio::time::sleep(Duration::from_millis(100)));
        if self.tick.get_or_insert_with(sleep).as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.tick = None;
        Poll::Ready(self.pieces.pop_front().map(Ok))
    }
}

/// Each piece had its time and there was no end to them: a byte now and then held a connection for
/// ever.
#[test]
fn a_bulk_that_trickles_is_refused() {
    let site = Site::with(|config| config.read_timeout = Duration::from_secs(1));
    let request = site.user("ann").request(Method::POST, "/v1/bulk");
    let request = request.header("content-type", "application/x-ndjson");
    let trickle = std::iter::repeat_n(Bytes::from_static(b"x"), 50);
    let refused = site.send(request.body(Steady::body(trickle)).unwrap());
    assert_eq!(refused.problem(408).0, "too-slow");
}

/// What came fast paid for what came late: four bodies that had sent nearly all at once held the
/// room of all bodies for hours with a byte now and then.
#[test]
fn a_bulk_that_trickles_after_it_came_fast_is_refused() {
    let site = Site::with(|config| config.read_timeout = Duration::from_secs(1));
    let request = site.user("ann").request(Method::POST, "/v1/bulk");
    let request = request.header("content-type", "application/x-ndjson");
    let fast = Bytes::from(event(1).repeat(70));
    let trickle = std::iter::repeat_n(Bytes::from_static(b"x"), 50);
    let body = Steady::body(std::iter::once(fast).chain(trickle));
    let refused = site.send(request.body(body).unwrap());
    assert_eq!(refused.problem(408).0, "too-slow");
}

/// With a key, and where a body is one piece of JSON or of telemetry, the whole had to come in the
/// time of a piece, however long it was.
#[test]
fn a_long_body_may_take_its_time() {
    let site = Site::with(|config| config.read_timeout = Duration::from_secs(1));
    let request = site.user("ann").request(Method::POST, "/v1/bulk").header("idempotency-key", "k");
    let request = request.header("content-type", "application/x-ndjson");
    let pieces = std::iter::repeat_n(Bytes::from(event(1).repeat(20)), 15);
    let taken = site.send(request.body(Steady::body(pieces)).unwrap());
    assert_eq!(lines(&taken).len(), 300);
}

/// Parts are read side by side: none that comes after one that failed may be appended.
#[test]
fn a_bulk_whose_ledger_closes_tells_what_was_done() {
    let site = Site::new();
    let ledger = site.ledger.clone();
    let lines = (0..3000).map(move |number| {
        if number == 1500 {
            // What was begun may end, or be the first that fails.
            ledger.close().unwrap();
        }
        Some(Ok(event(number)))
    });
    let refused = send(&site, lines);
    assert_eq!(refused.problem(503).0, "unavailable");
    assert!(refused.text().contains(" records were appended"), "{}", refused.text());
    assert!(!refused.text().contains("what came before"), "{}", refused.text());
}

/// All lines were appended, and then their sync failed without a word of them: who had sent them
/// sent them again.
#[test]
fn a_bulk_whose_sync_fails_tells_what_was_done() {
    let disk = SimDisk::new(1);
    let options = Options::new().storage(disk.storage()).background(false);
    let site = Site::over(|_| {}, |_| options.open("/ledger").unwrap());
    let ledger = site.ledger.clone();
    // One part, to the byte.
    let count = (128_usize << 10).div_ceil(event(0).len());
    let lines = (0..count).map(|_| Some(Ok(event(0))));
    let fail = move || {
        while ledger.query().count().unwrap() < count as u64 {
            std::thread::yield_now();
        }
        disk.set_faults(|op| (op.kind == OpKind::Sync).then_some(Fault::Io));
        Some(Ok(Bytes::new()))
    };
    let refused = send_as(&site, "sync", lines.chain(std::iter::once_with(fail)));
    let told = format!("of the {count} lines before, {count} records were appended");
    assert!(refused.text().contains(&told), "{}", refused.text());
    assert!(refused.status.is_server_error(), "{}", refused.status);
    // Who sends it again when it is told to would append it twice.
    assert_eq!(refused.header("retry-after"), "");
}

/// What is wrong with a line is told of that line, in whichever part of the body it comes; and a
/// run that begins in one goes on in another.
#[test]
fn lines_are_counted_through_all_parts() {
    let site = Site::new();
    let state = |status: &str| {
        let run = r#""kind":"run","type":"backup","run_id":"r""#;
        Bytes::from(format!("{{{run},\"status\":\"{status}\"}}\n"))
    };
    // Longer than a part by itself.
    let long = format!("{{\"kind\":\"event\",\"type\":\"{}\"}}\n", "x".repeat(400_000));
    let lines: Vec<_> = (1..=2000)
        .map(|line| match line {
            2 => state("running"),
            3 | 700 | 1999 => Bytes::from_static(b"{\"kind\":\"event\",\"typ\":\"x\"}\r\n"),
            800 => Bytes::from_static(b"\n"),
            900 => long.clone().into(),
            1500 => state("success"),
            1600 => state("failed"),
            _ => event(line),
        })
        .collect();
    let whole = lines.concat();
    // Cut anywhere but at the ends of lines.
    let pieces: Vec<_> =
        whole.chunks(77_777).map(|piece| Some(Ok(Bytes::copy_from_slice(piece)))).collect();
    let results = self::lines(&send(&site, pieces.into_iter()));
    let told: Vec<_> = results.iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert!(told.iter().copied().eq((1..=2000).filter(|line| *line != 800)));
    let refused: Vec<_> = results.iter().filter(|it| it["seq"].is_null()).collect();
    let lines: Vec<_> = refused.iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [3, 700, 900, 1600, 1999]);
    let seqs = results.iter().filter_map(|it| it["seq"].as_u64());
    assert!(seqs.eq(1..=1994));
    assert_eq!(site.user("ann").get("/v1/runs/r").expect(200)["status"], "success");
}

/// A bulk held what it had of its longest line beside what all other bodies were held to: as many
/// clients as there may be, each with a line without an end, were the end of the memory.
#[test]
fn lines_without_an_end_take_of_the_room_of_all_bodies() {
    let site = Site::with(|config| config.max_bulk_bytes = 1 << 30);
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let refused = send(&site, std::iter::repeat_n(piece, 321).map(|piece| Some(Ok(piece))));
    assert_eq!(refused.problem(503).0, "unavailable");
    // It is given back.
    assert_eq!(lines(&send(&site, [Some(Ok(event(1)))].into_iter())).len(), 1);
}

#[test]
fn an_export_holds_every_record_once() {
    let site = Site::new();
    for number in 0..2500 {
        site.ledger.append(Event::new(format!("t{}", number % 3))).unwrap();
    }
    let admin = site.admin();
    let all = lines(&admin.get("/v1/export"));
    let seqs: Vec<_> = all.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=2500).collect::<Vec<_>>());
    assert_eq!(lines(&admin.get("/v1/export?type=t1")).len(), 833);
    assert_eq!(lines(&site.user("ann").get("/v1/export")).len(), 0);
}

#[test]
fn values_that_a_spreadsheet_would_execute_are_text() {
    let site = Site::new();
    let ann = site.user("ann");
    let line = r#"{"type":"=cmd()","message":"+1,\"a\"","payload":{"a":1}}"#;
    ann.post("/v1/events", line).expect(201);
    let csv = ann.get("/v1/export?format=csv&kind=event");
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(csv.header("content-disposition").starts_with("attachment"));
    let text = csv.text();
    let (head, row) = text.split_once('\n').unwrap();
    assert!(head.starts_with("seq,ts,severity,type,"), "{head}");
    assert!(row.contains(",'=cmd(),") && row.contains("\"'+1,\"\"a\"\"\""), "{row}");
    for question in ["", "&kind=run&kind=event"] {
        let refused = ann.get(&format!("/v1/export?format=csv{question}"));
        assert_eq!(refused.problem(400).1, "kind");
    }
}
