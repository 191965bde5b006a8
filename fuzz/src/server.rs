//! The server: whatever the words of a query, a token or the telemetry in a body are, it answers,
//! and no answer is a fault of its own.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use runledger::server::{App, Auth, Config, Rates, Tokens};
use runledger::{ErrorRecord, Event, Options, Run, Status};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::memory::Memory;

const SECRET: &[u8] = b"a secret for tests, of more than 32 bytes";

/// Routes that have words.
const ROUTES: [&str; 12] = [
    "/v1/runs",
    "/v1/events",
    "/v1/errors",
    "/v1/groups",
    "/v1/count",
    "/v1/stats",
    "/v1/export",
    "/v1/values/type",
    "/v1/traces/t",
    "/api/automations/ledger",
    "/workflows/job/logs",
    "/api/errors",
];

/// The longest input that is tried.
const LONGEST: usize = 4000;

struct Site {
    runtime: Runtime,
    router: Router,
    good: String,
}

static SITE: LazyLock<Site> = LazyLock::new(site);

fn site() -> Site {
    let file = std::env::temp_dir().join(format!("runledger-fuzz-{}", std::process::id()));
    std::fs::write(&file, SECRET).expect("a file for the secret");
    let options = Options::new().background(false).storage(Arc::new(Memory::default()));
    let ledger = options.open("/ledger").expect("a ledger");
    let run = Run::new("r", "job", Status::Running).expect("a valid run");
    ledger.append(run).expect("an append");
    ledger.append(Event::new("a,b").message("Needle")).expect("an append");
    ledger.append(ErrorRecord::new("oops", "x")).expect("an append");
    let mut config = Config::new(Auth::Secret { file: file.clone(), tokens: Tokens::default() });
    config.rates = Rates { per_address: 0, per_user: 0, cleanups: 0 };
    let router = App::new(ledger, config).expect("a service").router();
    // The keys are read, and nobody looks at the file again.
    let _ = std::fs::remove_file(file);
    let claims = br#"{"sub":"ann","exp":9999999999,"scope":"admin"}"#;
    let good = signed(br#"{"alg":"HS256"}"#, claims);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    Site { runtime, router, good }
}

/// A token with these in it, whatever they are, signed as it should be.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    format!("{signed}.{signature}")
}

/// The status and the body of the answer, which says what is wrong where anything is.
fn ask(request: Request<Body>) -> (u16, Vec<u8>) {
    let answer = SITE.router.clone().oneshot(request);
    let (status, body) = SITE.runtime.block_on(async {
        let answer = answer.await.expect("a router answers");
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.expect("a body").to_bytes().to_vec())
    });
    assert!(status < 500, "{status}: {}", String::from_utf8_lossy(&body));
    if status >= 400 {
        let problem: Value = serde_json::from_slice(&body).expect("a problem is JSON");
        let name = problem["type"].as_str().unwrap_or_default();
        assert!(name.starts_with("urn:runledger:problem:"), "{problem}");
        assert_eq!(problem["status"], status);
    }
    (status, body)
}

fn get(path: &str, token: &HeaderValue) -> (u16, Vec<u8>) {
    let request = Request::get(path).header("host", "localhost").header("authorization", token);
    match request.body(Body::empty()) {
        Ok(request) => ask(request),
        // No server could be asked this.
        Err(_) => (400, Vec::new()),
    }
}

/// A byte for the route, and the rest for its words.
pub fn words(data: &[u8]) {
    let Some((route, query)) = data.split_first() else { return };
    let mut path = format!("{}?", ROUTES[usize::from(*route) % ROUTES.len()]);
    for byte in query.iter().take(LONGEST) {
        match byte {
            b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                path += &format!("%{byte:02x}");
            }
            0x21..0x7f => path.push(char::from(*byte)),
            _ => path += &format!("%{byte:02x}"),
        }
    }
    let token = HeaderValue::try_from(format!("Bearer {}", SITE.good)).expect("a header");
    let (status, _) = get(&path, &token);
    assert!([200, 400, 404].contains(&status), "{status} to {path}");
}

/// A token as it is; and its first line as a header with the rest as claims, signed.
pub fn token(data: &[u8]) {
    let data = &data[..data.len().min(LONGEST)];
    if let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", data].concat()) {
        assert_eq!(get("/v1/runs", &value).0, 401);
    }
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let value = HeaderValue::try_from(format!("Bearer {}", signed(header, claims)));
    let (status, _) = get("/v1/runs", &value.expect("a header"));
    if status != 401 {
        // What is let in says who it is and until when, and asks for nothing else.
        let header: Value = serde_json::from_slice(header).expect("a header is JSON");
        let claims: Value = serde_json::from_slice(claims).expect("claims are JSON");
        assert_eq!(header["alg"], "HS256");
        assert!(header.get("crit").is_none_or(Value::is_null), "{header}");
        assert!(claims["sub"].as_str().is_some_and(|sub| (1..=128).contains(&sub.len())));
        assert!(claims["exp"].as_f64().is_some_and(|exp| exp > 1.7e9), "{claims}");
        assert!([200, 403].contains(&status), "{status}");
    }
}

/// A byte for the route and the encoding, and the rest for the body.
pub fn otlp(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let path = ["/v1/traces", "/v1/logs"][usize::from(kind & 1)];
    let media = ["application/x-protobuf", "application/json"][usize::from(kind >> 1 & 1)];
    let token = format!("Bearer {}", SITE.good);
    let request = Request::post(path).header("authorization", token).header("content-type", media);
    let request = request.body(Body::from(body.to_vec())).expect("a request");
    let (status, _) = ask(request);
    assert!([200, 400, 413].contains(&status), "{status}");
}
