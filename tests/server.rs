//! The REST server: most of it through the router, in this process and without a socket.

mod access;
mod access_log;
mod bulk;
mod damaged;
mod document;
mod follow;
mod insight;
mod isolation;
mod jwks;
mod large;
mod once;
mod otlp;
mod page;
#[cfg(feature = "cli")]
mod process;
mod records;
mod refusals;
mod replaced;
mod tokens;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use runledger::server::{App, Auth, Config, Minted, Rates, Scope, Tokens, mint};
use runledger::{Id, Ledger};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const SECRET: &[u8] = b"a secret for tests, of more than 32 bytes";

/// The media type of answers without an end.
const EVENTS: &str = "text/event-stream";

/// A server over a ledger of its own.
struct Site {
    folder: TempDir,
    ledger: Ledger,
    app: App,
    router: Router,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// All requests of the tests are served by one runtime.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

impl Site {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::over(change, |folder| Ledger::open(folder.join("ledger")).unwrap())
    }

    /// A server over a ledger that is opened, in this folder or elsewhere.
    fn over(change: impl FnOnce(&mut Config), open: impl FnOnce(&Path) -> Ledger) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, SECRET).unwrap();
        let mut config = Config::new(Auth::Secret { file, tokens: Tokens::default() });
        // Tests ask as fast as they can.
        config.rates = Rates { per_address: 0, per_user: 0, cleanups: 0 };
        change(&mut config);
        let ledger = open(folder.path());
        let app = App::new(ledger.clone(), config).unwrap();
        let router = app.router();
        Self { folder, ledger, app, router }
    }

    fn secret_file(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    /// A token of this user with these scopes and projects.
    fn token(&self, user: &str, scopes: &[Scope], projects: &[&str]) -> String {
        let user = Id::new(user.to_owned()).unwrap();
        let projects: Vec<_> =
            projects.iter().map(|id| Id::new((*id).to_owned()).unwrap()).collect();
        let mut minted = Minted::new(&user);
        minted.scopes = scopes;
        minted.projects = &projects;
        mint(&self.secret_file(), &minted).unwrap()
    }

    /// One who reads and writes as this user.
    fn user(&self, name: &str) -> Client<'_> {
        let token = self.token(name, &[Scope::Read, Scope::Write], &[]);
        Client { site: self, token: Some(token) }
    }

    /// One who may do everything.
    fn admin(&self) -> Client<'_> {
        Client { site: self, token: Some(self.token("root", &[Scope::Admin], &[])) }
    }

    /// One who shows this token.
    fn bearer(&self, token: impl Into<String>) -> Client<'_> {
        Client { site: self, token: Some(token.into()) }
    }

    /// One without a token.
    fn stranger(&self) -> Client<'_> {
        Client { site: self, token: None }
    }

    fn send(&self, request: Request<Body>) -> Answer {
        runtime().block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let follows = parts.headers.get("content-type").is_some_and(|it| it == EVENTS);
            let body = match follows {
                // It has no end: its first piece is enough.
                true => {
                    let mut body = body;
                    let frame = body.frame().await.unwrap().unwrap();
                    frame.into_data().unwrap().to_vec()
                }
                false => body.collect().await.unwrap().to_bytes().to_vec(),
            };
            Answer { status: parts.status, headers: parts.headers, body }
        })
    }
}

/// One who asks.
struct Client<'s> {
    site: &'s Site,
    token: Option<String>,
}

impl Client<'_> {
    fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.site.send(self.request(Method::GET, path).body(Body::empty()).unwrap())
    }

    fn post(&self, path: &str, json: &str) -> Answer {
        self.ask(&Method::POST, path, Some(json))
    }

    /// Any request; one that has a body says that it is JSON, or lines of it.
    fn ask(&self, method: &Method, path: &str, json: Option<&str>) -> Answer {
        let request = self.request(method.clone(), path);
        let media = match path.starts_with("/v1/bulk") {
            true => "application/x-ndjson",
            false => "application/json",
        };
        self.site.send(match json {
            Some(json) => {
                request.header("content-type", media).body(Body::from(json.to_owned())).unwrap()
            }
            None => request.body(Body::empty()).unwrap(),
        })
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of an answer with this status.
    #[track_caller]
    fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self.json()
    }

    /// The end of the problem's type and the field at fault.
    #[track_caller]
    fn problem(&self, status: u16) -> (String, String) {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        let name = problem["type"].as_str().unwrap().strip_prefix("urn:runledger:problem:");
        let field = problem["field"].as_str().unwrap_or_default();
        (name.unwrap().to_owned(), field.to_owned())
    }
}
