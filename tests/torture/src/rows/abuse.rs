//! HTTP abuse (row 18 of the reliability scorecard): what no client should send, from many clients
//! at a time, beside one that behaves.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use runledger::Result;

use crate::ground::Ground;
use crate::real::server::{self, Client, Server};
use crate::real::tokens::{now, with_secret};
use crate::rng::Rng;

const SECRET: &[u8] = b"a secret for tests, of more than 32 bytes";

/// How many clients send what they should not, at a time.
const CLIENTS: u64 = 8;

/// How many connections never get to their end.
const SLOW: usize = 60;

/// How much memory the server may have besides its files, in bytes, whatever is sent: what it takes
/// bodies into, and as much again to work on them.
const MOST_MEMORY: u64 = 640 << 20;

/// Of a hundred requests of the client that behaves, 99 are answered within this.
const GOOD_ENOUGH: Duration = Duration::from_secs(1);

/// Routes that read, and the words that they take.
const READ: [&str; 12] = [
    "/v1/runs",
    "/v1/events",
    "/v1/errors",
    "/v1/groups",
    "/v1/count",
    "/v1/stats",
    "/v1/export",
    "/v1/values/type",
    "/v1/traces/1",
    "/api/automations/ledger",
    "/workflows/x/logs",
    "/api/errors",
];
const WORDS: [&str; 14] = [
    "status", "type", "limit", "offset", "cursor", "since", "until", "q", "user", "order",
    "format", "kind", "traceId", "days",
];

/// Routes that write, with the type of their bodies.
const WRITE: [(&str, &str); 9] = [
    ("/v1/runs", "application/json"),
    ("/v1/events", "application/json"),
    ("/v1/errors", "application/json"),
    ("/v1/bulk", "application/x-ndjson"),
    ("/v1/traces", "application/json"),
    ("/v1/logs", "application/json"),
    ("/v1/traces", "application/x-protobuf"),
    ("/v1/logs", "application/x-protobuf"),
    ("/v1/runs/r/finish", "application/json"),
];

/// A span without a name, in protobuf.
const MESSAGE: &[u8] = b"\x0a\x20\x12\x1e\x12\x1c\x0a\x10abcdefghijklmnop\x12\x08ijklmnop";

/// Bodies that are small when they are sent, and large when they are read.
struct Bombs {
    gzip: Vec<u8>,
    zstd: Vec<u8>,
}

impl Bombs {
    fn new() -> Self {
        let spans = b"{},".repeat(1 << 20);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..60 {
            gzip.write_all(&spans).unwrap();
        }
        let zeros = vec![b'\n'; 1 << 30];
        Self { gzip: gzip.finish().unwrap(), zstd: zstd::bulk::compress(&zeros, 1).unwrap() }
    }
}

/// What is known of the answers.
#[derive(Default)]
struct Met {
    statuses: Mutex<BTreeMap<u16, u64>>,
    /// How many connections ended without an answer.
    closed: AtomicU64,
}

/// All of it, at a time.
pub(crate) fn many_clients(ground: &Ground) -> Result<()> {
    let requests = ground.of(4_000, 100_000);
    let program = match server::program() {
        Ok(program) => program,
        Err(reason) => {
            ground.skip(requests, reason);
            return Ok(());
        }
    };
    let args = ["--secret-file", "keys", "--read-timeout-s", "5"];
    let server = Server::start(&program, &[("keys", SECRET)], &args);
    let claims = format!(r#"{{"sub":"ann","exp":{},"scope":"read write"}}"#, now() + 36_000);
    let token = with_secret(r#"{"alg":"HS256"}"#, &claims, SECRET);
    let (bombs, met, is_over) = (Bombs::new(), Met::default(), AtomicBool::new(false));
    let (before, begun) = (server.memory(), AtomicU64::new(0));
    let (most, latencies) = std::thread::scope(|scope| {
        let good = scope.spawn(|| behave(&server, &token, &is_over));
        let memory = scope.spawn(|| watch(&server, &is_over));
        let slow = scope.spawn(|| crawl(&server, &is_over));
        let clients = (0..CLIENTS).map(|client| {
            let mut rng = Rng::new(ground.seed.wrapping_mul(CLIENTS).wrapping_add(client));
            let (server, token, bombs, met, begun) = (&server, &token, &bombs, &met, &begun);
            scope.spawn(move || {
                while begun.load(Ordering::Relaxed) < requests {
                    let sent = abuse(server, token, bombs, met, &mut rng);
                    begun.fetch_add(sent, Ordering::Relaxed);
                    ground.tried(sent);
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        for client in clients {
            client.join().unwrap_or_else(|panic| ground.fail(crate::ground::message(&*panic)));
        }
        is_over.store(true, Ordering::Relaxed);
        slow.join().unwrap_or_else(|panic| ground.fail(crate::ground::message(&*panic)));
        (memory.join().unwrap(), good.join().unwrap())
    });
    judge(ground, &met, before, most, latencies);
    assert_eq!(server.stop(), Some(0), "the server does not end as it should");
    Ok(())
}

fn judge(ground: &Ground, met: &Met, before: u64, most: u64, mut latencies: Vec<Duration>) {
    let statuses = met.statuses.lock();
    ground.note(format!("answers: {statuses:?}, closed: {}", met.closed.load(Ordering::Relaxed)));
    // What was answered with 503 was told to wait.
    for (status, count) in statuses.iter().filter(|it| *it.0 >= 500 && *it.0 != 503) {
        ground.fail(format!("{count} answers of {status}"));
    }
    let mib = |bytes: u64| bytes >> 20;
    ground.note(format!("anonymous memory {} MiB, at most {}", mib(before), mib(most)));
    if most > MOST_MEMORY {
        ground.fail(format!("the server took {} MiB", mib(most)));
    }
    latencies.sort_unstable();
    let count = latencies.len();
    let p99 = latencies.get(count * 99 / 100).copied().unwrap_or(Duration::MAX);
    let p50 = latencies.get(count / 2).copied().unwrap_or(Duration::MAX);
    ground.note(format!("{count} requests of a good client: p50 {p50:.1?}, p99 {p99:.1?}"));
    if p99 > GOOD_ENOUGH {
        ground.fail(format!("a good client's p99 is {p99:?}"));
    }
}

/// A client that behaves: how long each of its requests took.
fn behave(server: &Server, token: &str, is_over: &AtomicBool) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut client = server.connect().unwrap();
    let event = r#"{"type":"good"}"#;
    let post = format!(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
        event.len()
    );
    let get = format!(
        "GET /v1/events?limit=10&type=good HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    while !is_over.load(Ordering::Relaxed) {
        for (request, expected) in [(&post, 201), (&get, 200)] {
            let begin = Instant::now();
            client.say(request.as_bytes()).unwrap();
            let answer = client.hear().unwrap().expect("the good client is cut off");
            latencies.push(begin.elapsed());
            assert_eq!(answer.status, expected, "{}", String::from_utf8_lossy(&answer.body));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    latencies
}

/// The most memory that the server is seen with.
fn watch(server: &Server, is_over: &AtomicBool) -> u64 {
    let mut most = 0;
    while !is_over.load(Ordering::Relaxed) {
        most = most.max(server.memory());
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

/// Clients that send a byte now and then, and begin again when they are cut off.
fn crawl(server: &Server, is_over: &AtomicBool) {
    let request = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n{";
    let mut slow: Vec<(Client, usize)> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        while slow.len() < SLOW {
            slow.push((server.connect().unwrap(), 0));
        }
        slow.retain_mut(|(client, at)| {
            let byte = request.get(*at..=*at).unwrap_or(b" ");
            *at += 1;
            client.say(byte).is_ok()
        });
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One act of abuse, and of how many requests it was.
fn abuse(server: &Server, token: &str, bombs: &Bombs, met: &Met, rng: &mut Rng) -> u64 {
    // Nobody waits for the rest of what was never whole.
    let mut is_whole = true;
    let (bytes, answers) = match rng.below(400) {
        0 => (compressed(token, bombs, rng), 1),
        1 => (huge(token, rng), 1),
        2..=20 => pipelined(token, rng),
        21..=200 => (hostile_words(token, rng), 1),
        201..=330 => (hostile_body(token, rng), 1),
        kind => {
            is_whole = false;
            (if kind < 370 { malformed(rng) } else { garbled(token, rng) }, 1)
        }
    };
    let Ok(mut client) = server.connect() else { return 0 };
    // Some go before they are done, and some before they are answered.
    let cut = if rng.below(10) == 0 { rng.below(bytes.len()) } else { bytes.len() };
    let is_said = client.say(&bytes[..cut]).is_ok();
    if cut < bytes.len() || rng.below(20) == 0 {
        return answers;
    }
    let _ = is_said && !is_whole && client.end().is_ok();
    for _ in 0..answers {
        match client.hear() {
            Ok(Some(answer)) => {
                let brief: String = String::from_utf8_lossy(&bytes).chars().take(300).collect();
                // One that waits in vain is told how long to wait, which is a limit and no fault.
                let is_told = answer.status == 503 && answer.head.contains("retry-after");
                assert!(
                    answer.status < 500 || is_told,
                    "{} to {brief:?}: {}",
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                );
                *met.statuses.lock().entry(answer.status).or_default() += 1;
            }
            _ => {
                met.closed.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
    answers
}

fn head(method: &str, path: &str, token: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n")
}

fn post(path: &str, media: &str, token: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let head = head("POST", path, token);
    let length = body.len();
    let head = format!("{head}Content-Type: {media}\r\n{more}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn compressed(token: &str, bombs: &Bombs, rng: &mut Rng) -> Vec<u8> {
    let (path, media) = WRITE[rng.below(WRITE.len())];
    let key = format!("Idempotency-Key: {}\r\n", rng.number());
    let key = if rng.below(3) == 0 { key.as_str() } else { "" };
    match rng.below(3) {
        0 => post(path, media, token, &format!("{key}Content-Encoding: zstd\r\n"), &bombs.zstd),
        1 => post(path, media, token, &format!("{key}Content-Encoding: gzip\r\n"), &bombs.gzip),
        // One in another.
        _ => post(path, media, token, "Content-Encoding: gzip, gzip\r\n", &bombs.gzip),
    }
}

/// More than any route takes, or said to be.
fn huge(token: &str, rng: &mut Rng) -> Vec<u8> {
    let (path, media) = WRITE[rng.below(WRITE.len())];
    match rng.below(3) {
        0 => post(path, media, token, "", &vec![b'['; 4 << 20]),
        1 => post(path, media, token, "", &b"\x0a\x02\x12\x00".repeat(2 << 20)),
        _ => {
            let length = ["99999999999", "18446744073709551615", "99999999999999999999999"];
            let length = length[rng.below(3)];
            let head = head("POST", path, token);
            format!("{head}Content-Type: {media}\r\nContent-Length: {length}\r\n\r\n[1").into()
        }
    }
}

/// Requests that do not wait for their answers.
fn pipelined(token: &str, rng: &mut Rng) -> (Vec<u8>, u64) {
    let count = 2 + rng.below(40) as u64;
    let mut all = Vec::new();
    for _ in 0..count {
        match rng.below(2) {
            0 => all.extend(hostile_words(token, rng)),
            _ => all.extend(post("/v1/events", "application/json", token, "", b"{\"type\":\"x\"}")),
        }
    }
    (all, count)
}

/// What is no HTTP, or nearly.
fn malformed(rng: &mut Rng) -> Vec<u8> {
    let long = "x".repeat(40 << 10);
    let many = "a: b\r\n".repeat(1000);
    let host = "Host: localhost\r\n";
    let event = format!("POST /v1/events HTTP/1.1\r\n{host}");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let forms = [
        "\r\n\r\n".to_owned(),
        "GET\r\n\r\n".into(),
        "GET /\r\n\r\n".into(),
        format!("GET / HTTP/9.9\r\n{host}\r\n"),
        format!("GET  /  HTTP/1.1\r\n{host}\r\n"),
        format!("get /livez http/1.1\r\n{host}\r\n"),
        format!("GET http://other.example/v1/runs HTTP/1.1\r\n{host}\r\n"),
        format!("CONNECT other.example:80 HTTP/1.1\r\n{host}\r\n"),
        format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"),
        format!("TRACE /v1/runs HTTP/1.1\r\n{host}\r\n"),
        format!("{long} / HTTP/1.1\r\n{host}\r\n"),
        format!("GET /{long} HTTP/1.1\r\n{host}\r\n"),
        format!("GET /%00%ff%2e%2e/..//..\\ HTTP/1.1\r\n{host}\r\n"),
        format!("GET /v1/runs/%ff%fe HTTP/1.1\r\n{host}\r\n"),
        format!("GET /v1/events/99999999999999999999 HTTP/1.1\r\n{host}\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "GET /livez HTTP/1.1\r\n\r\n".into(),
        format!("GET /livez HTTP/1.1\r\n{host}{host}\r\n"),
        format!("GET /livez HTTP/1.1\r\n{host}no colon\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\n{host}a: b\r\n c\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\n{host}a : b\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\n{host}a: \0\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\n{host}a: {long}\r\n\r\n"),
        format!("GET /livez HTTP/1.1\r\n{host}{many}\r\n"),
        format!("GET /livez HTTP/1.1\n{host}\n\n"),
        format!("{event}Content-Length: -1\r\n\r\n"),
        format!("{event}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        format!("{event}Content-Length: 5\r\n{chunked}0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        format!("{event}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("{event}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        format!("{event}{chunked}FFFFFFFFFFFFFFFFF\r\nx"),
        format!("{event}{chunked}-1\r\nx"),
        format!("{event}{chunked}1;{long}\r\nx\r\n0\r\n\r\n"),
        format!("{event}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"),
        format!("GET /v1/tail HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    ];
    match rng.below(forms.len() + 3) {
        at if at < forms.len() => forms[at].clone().into_bytes(),
        _ => (0..1 + rng.below(3000)).map(|_| rng.number().to_le_bytes()[0]).collect(),
    }
}

/// A value that no word and no key expects.
fn value(rng: &mut Rng) -> String {
    let values = [
        "",
        "-1",
        "0",
        "1e400",
        "NaN",
        "18446744073709551616",
        "9223372036854775807",
        "%00",
        "%ff",
        "%zz",
        "%",
        "'",
        "\"",
        "null",
        "[]",
        "{}",
        "../../etc/passwd",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "-9999-01-01T00:00:00Z",
        "1h",
        "-1h",
        "99999999999999d",
        "%F0%9F%92%A5",
        "%E2%80%AE",
        "a%0d%0ab:c",
        "true",
        "success",
        "failed",
        "asc",
        "csv",
        "run",
    ];
    match rng.below(values.len() + 2) {
        at if at < values.len() => values[at].to_owned(),
        at if at == values.len() => "x".repeat(rng.below(5000)),
        _ => (0..rng.below(40)).map(|_| format!("%{:02x}", rng.below(256))).collect(),
    }
}

fn hostile_words(token: &str, rng: &mut Rng) -> Vec<u8> {
    let mut path = READ[rng.below(READ.len())].to_owned();
    for at in 0..rng.below(8) {
        path.push(if at == 0 { '?' } else { '&' });
        let word = WORDS[rng.below(WORDS.len())];
        path += &format!("{word}={}", value(rng));
    }
    // A space ends the path, and was none of it.
    let path = path.replace(' ', "+");
    format!("{}\r\n", head("GET", &path, token)).into_bytes()
}

fn hostile_body(token: &str, rng: &mut Rng) -> Vec<u8> {
    let (path, media) = WRITE[rng.below(WRITE.len())];
    let text = value(rng);
    let (open, close) = ("[".repeat(50_000), "]".repeat(50_000));
    let deep = format!(r#"{{"arrayValue":{{"values":[{{"intValue":{text:?}}}]}}}}"#);
    let forms = [
        open.clone(),
        format!(r#"{{"type":"x","message":"m","payload":{open}{close}}}"#),
        format!(r#"{{"type":{text:?},"ts":{text:?},"run_id":{text:?},"status":{text:?}}}"#),
        r#"{"type":"x","type":"y","run_id":"r","status":"running"}"#.into(),
        format!(r#"{{"type":"x","run_id":"r","status":"running","attempt":{text}}}"#),
        r#"{"type":"\ud800","message":"\u0000","payload":1e999999}"#.into(),
        format!(r#"{{"kind":"event","type":"x","payload":{{"{text}":{text:?}}}}}"#),
        format!("{{\"kind\":\"event\",\"type\":\"x\"}}\n{text}\n{{}}\n\0\n"),
        "\n".repeat(200_000),
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":{text:?}}}]}}]}}]}}"#),
        format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{deep},
            "timeUnixNano":{text:?},"severityNumber":-2147483648}}]}}]}}]}}"#
        ),
        format!(r#"{{"resourceSpans":{open}"#),
        format!(r#"{{"status":"success","metadata":{text:?},"result":{{"a":"#),
    ];
    match rng.below(forms.len() + 4) {
        at if at < forms.len() => post(path, media, token, "", forms[at].as_bytes()),
        _ => {
            // Bytes that are nearly those of a message.
            let mut bytes = MESSAGE.to_vec();
            for _ in 0..rng.below(6) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.number().to_le_bytes()[0];
            }
            post(path, media, token, "", &bytes.repeat(1 + rng.below(3)))
        }
    }
}

/// A good request with wrong bytes in it.
fn garbled(token: &str, rng: &mut Rng) -> Vec<u8> {
    let body = br#"{"type":"x","run_id":"r","status":"running"}"#;
    let mut bytes = post("/v1/runs", "application/json", token, "", body);
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len());
        bytes[at] = rng.number().to_le_bytes()[0];
    }
    bytes
}
