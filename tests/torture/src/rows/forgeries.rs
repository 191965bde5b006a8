//! Forged tokens (row 19 of the reliability scorecard): none is let in anywhere.

use std::collections::BTreeMap;
use std::io;

use ed25519_compact::{KeyPair, SecretKey};
use runledger::{Json, Result};
use serde::Deserialize;

use crate::ground::Ground;
use crate::real::server::{self, Client, Server};
use crate::real::tokens::{base64, hs256, now, unsigned, with_secret};

const SECRET: &[u8] = b"a secret for tests, of more than 32 bytes";

/// The public keys, and the private one of `d`: nothing but tests trusts them.
const JWKS: &str = include_str!("../../../fixtures/keys/jwks.json");
const PRIVATE: &str = include_str!("../../../fixtures/keys/ed.pem");
const PUBLIC_RSA: &str = include_str!("../../../fixtures/keys/rsa-public.pem");

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Every algorithm that a token may name, and some that none may.
const ALGORITHMS: [&str; 16] = [
    r#""none""#,
    r#""None""#,
    r#""NONE""#,
    r#""nOnE""#,
    r#""""#,
    "null",
    "7",
    r#"["HS256"]"#,
    r#""HS384""#,
    r#""HS512""#,
    r#""hs256""#,
    r#""HS256 ""#,
    r#""RS256""#,
    r#""PS256""#,
    r#""ES256""#,
    r#""EdDSA""#,
];

/// A token, and what is wrong with it.
type Forgery = (String, String);

/// An operation of the server's document.
struct Operation {
    method: String,
    path: String,
}

#[derive(Deserialize)]
struct Document {
    paths: BTreeMap<String, BTreeMap<String, Described>>,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    security: Vec<BTreeMap<String, Vec<String>>>,
}

/// Against a server with a secret that signs and verifies.
pub(crate) fn with_a_secret(ground: &Ground) -> Result<()> {
    let good = with_secret(HEADER, &claims(&[]), SECRET);
    let forged = of_secret(&good);
    let args = ["--secret-file", "keys", "--issuer", "us", "--audience", "ledger"];
    try_all(ground, SECRET, &args, &good, &forged);
    Ok(())
}

/// Against a server with public keys.
pub(crate) fn with_public_keys(ground: &Ground) -> Result<()> {
    let key = SecretKey::from_pem(PRIVATE).unwrap();
    let sign = |header: &str, claims: &str, key: &SecretKey| {
        let signed = unsigned(header, claims);
        let signature = base64(&*key.sign(&signed, None));
        format!("{signed}.{signature}")
    };
    let good = sign(r#"{"alg":"EdDSA","kid":"d"}"#, &claims(&[]), &key);
    let forged = of_public_keys(
        &good,
        |header, claims| sign(header, claims, &key),
        |header| {
            let other = KeyPair::from_seed(ed25519_compact::Seed::new([7; 32])).sk;
            sign(header, &claims(&[]), &other)
        },
    );
    let args = ["--jwks-file", "keys", "--issuer", "us", "--audience", "ledger"];
    try_all(ground, JWKS.as_bytes(), &args, &good, &forged);
    Ok(())
}

/// Claims that count for an hour, with others in the place of some; `""` leaves one out.
fn claims(other: &[(&str, &str)]) -> String {
    let exp = (now() + 3600).to_string();
    let good = [
        ("sub", r#""ann""#),
        ("exp", &exp),
        ("scope", r#""read write cleanup admin""#),
        ("iss", r#""us""#),
        ("aud", r#""ledger""#),
    ];
    let kept = good.iter().filter(|(name, _)| other.iter().all(|(key, _)| key != name));
    let all = kept.chain(other).filter(|(_, value)| !value.is_empty());
    let all: Vec<_> = all.map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", all.join(","))
}

/// Claims that count for nobody, for nothing yet, or no more.
fn bad_claims() -> Vec<String> {
    let now = now();
    let (past, future) = (now - 7, now + 20);
    let long = format!("\"{}\"", "x".repeat(129));
    let long_list = format!("[{long}]");
    let values: &[(&str, &[&str])] = &[
        (
            "exp",
            &[
                "",
                "null",
                "true",
                r#""9999999999""#,
                r#""""#,
                "-1",
                "0",
                "-1e300",
                "1.5",
                "[]",
                "{}",
                "[9999999999]",
                "-9223372036854775808",
                &past.to_string(),
            ],
        ),
        ("nbf", &[&future.to_string(), "9223372036854775807", "1e300", r#""0""#, "[]", "true"]),
        ("iss", &["", "null", r#""them""#, r#"["us"]"#, r#""us ""#, r#""US""#, r#""""#, "7"]),
        ("aud", &["", "null", r#""other""#, "[]", "{}", r#"[["ledger"]]"#, r#""ledger2""#]),
        ("sub", &["", "null", r#""""#, "7", r#"["ann"]"#, "{}", "true", &long]),
        ("projects", &[r#""p""#, "[7]", "{}", &long_list]),
        ("scope", &["7", "{}", "[7]"]),
    ];
    let mut all: Vec<_> = values
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| claims(&[(name, value)])))
        .collect();
    let good = claims(&[]);
    // Of two that differ, neither.
    for twice in [format!("\"exp\":{past}"), r#""sub":"bob""#.into(), r#""iss":"them""#.into()] {
        all.push(format!("{},{twice}}}", good.trim_end_matches('}')));
        all.push(format!("{{{twice},{}", good.trim_start_matches('{')));
    }
    all.extend([
        "".into(),
        "null".into(),
        "[]".into(),
        format!("[{good}]"),
        format!("{good}{good}"),
    ]);
    all.push(format!("{good} x"));
    all.push("[".repeat(2000));
    all
}

/// The same token with something else in it, that its signature does not cover.
fn altered(good: &str) -> Vec<String> {
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let mut all: Vec<String> = [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "a.b.c".into(),
        signed.into(),
        format!("{signed}."),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{good}A"),
        format!("{good},{good}"),
        good.replace('.', ".."),
        good.to_uppercase(),
        good.replace('.', ","),
        good.replace('.', "%2e"),
        format!("{header}.{payload}{signature}"),
        format!("{payload}.{header}.{signature}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}.!!!!"),
        format!("{}.{payload}.{signature}.{signature}.{signature}", header),
        format!("{header}.{}.{signature}", base64(claims(&[("sub", "\"bob\"")]).as_bytes())),
        "x".repeat(8000),
        "x".repeat(9000),
        ".".repeat(8000),
        format!("{good}{}", "A".repeat(7000)),
        "9".repeat(31 << 10),
    ]
    .into();
    all.extend(
        (0..signature.len()).step_by(7).map(|end| format!("{signed}.{}", &signature[..end])),
    );
    // The last digits of a part have bits that say nothing.
    for at in (0..good.len() - 2).step_by(11) {
        let mut bytes = good.as_bytes().to_vec();
        if bytes[at] != b'.' && bytes[at + 1] != b'.' {
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            all.push(String::from_utf8(bytes).unwrap());
        }
    }
    all
}

/// Headers that ask for what is not done: extensions, and keys that the token brings along.
fn bad_headers(algorithm: &str) -> Vec<String> {
    let more = [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""b64":false,"crit":["b64"]"#,
        r#""zip":"DEF""#,
        r#""enc":"A128GCM""#,
    ];
    more.iter().map(|more| format!(r#"{{"alg":"{algorithm}",{more}}}"#)).collect()
}

fn of_secret(good: &str) -> Vec<Forgery> {
    let named = |name: &str, token| (name.to_owned(), token);
    let claims = claims(&[]);
    let mut all: Vec<Forgery> = Vec::new();
    for algorithm in ALGORITHMS {
        let header = format!(r#"{{"alg":{algorithm},"typ":"JWT"}}"#);
        let signed = unsigned(&header, &claims);
        all.push(named(&header, format!("{signed}.")));
        all.push(named(&header, format!("{signed}.{}", hs256(&signed, SECRET))));
    }
    let own = base64(b"the attacker's own key, as long as any");
    for (header, secret) in [
        (HEADER.to_owned(), &b""[..]),
        (HEADER.into(), b"secret"),
        (HEADER.into(), &SECRET[1..]),
        (HEADER.into(), b"a secret for tests, of more than 32 bytes\n"),
        (HEADER.into(), &[0; 32]),
        (
            format!(r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{own}"}}}}"#),
            b"the attacker's own key, as long as any",
        ),
        (r#"{"alg":"HS256","jku":"http://127.0.0.1:1/keys"}"#.into(), b"x"),
        (r#"{"alg":"HS256","x5u":"file:///dev/null"}"#.into(), b""),
        (r#"{"alg":"HS256","x5c":["AA=="]}"#.into(), b"\0"),
        (r#"{"alg":"HS256","kid":"../../../../dev/null"}"#.into(), b""),
        (r#"{"alg":"HS256","kid":"/proc/self/cmdline"}"#.into(), b""),
        (r#"{"alg":"HS256","kid":"' union select 'x' --"}"#.into(), b"x"),
        (r#"{"alg":"HS256","kid":"|echo x"}"#.into(), b"x"),
    ] {
        all.push(named(&format!("{header} by another key"), with_secret(&header, &claims, secret)));
    }
    let twice = r#"{"alg":"none","alg":"HS256"}"#.to_owned();
    let broken =
        ["[]".to_owned(), "null".into(), String::new(), "{}".into(), r#"{"typ":"JWT"}"#.into()];
    for header in bad_headers("HS256").into_iter().chain(broken).chain([twice]) {
        all.push(named(&header, with_secret(&header, &claims, SECRET)));
    }
    all.extend(bad_claims().into_iter().map(|bad| {
        let token = with_secret(HEADER, &bad, SECRET);
        (bad, token)
    }));
    all.extend(altered(good).into_iter().map(|token| (format!("altered: {token}"), token)));
    all
}

fn of_public_keys(
    good: &str,
    sign: impl Fn(&str, &str) -> String,
    by_another: impl Fn(&str) -> String,
) -> Vec<Forgery> {
    let claims = claims(&[]);
    let mut all: Vec<Forgery> = Vec::new();
    // What everyone knows is no secret.
    let known = [PUBLIC_RSA, PUBLIC_RSA.trim_end(), JWKS, JWKS.trim_end(), ""];
    for algorithm in ["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"] {
        for id in [r#","kid":"r""#, r#","kid":"e""#, r#","kid":"d""#, r#","kid":"x""#, ""] {
            let header = format!(r#"{{"alg":"{algorithm}"{id}}}"#);
            for secret in known {
                let token = with_secret(&header, &claims, secret.as_bytes());
                all.push((format!("{header} signed with what is public"), token));
            }
            for length in [0, 32, 64, 256] {
                let signature = base64(&vec![0; length]);
                let token = format!("{}.{signature}", unsigned(&header, &claims));
                all.push((format!("{header} signed with {length} zeros"), token));
            }
        }
    }
    for algorithm in ALGORITHMS.iter().filter(|it| **it != r#""EdDSA""#) {
        let header = format!(r#"{{"alg":{algorithm},"kid":"d"}}"#);
        all.push((format!("{header} signed by EdDSA"), sign(&header, &claims)));
    }
    let public = base64(&*KeyPair::from_seed(ed25519_compact::Seed::new([7; 32])).pk);
    for header in [
        r#"{"alg":"EdDSA","kid":"d"}"#.to_owned(),
        r#"{"alg":"EdDSA"}"#.into(),
        r#"{"alg":"EdDSA","jku":"http://127.0.0.1:1/keys"}"#.into(),
        format!(r#"{{"alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{public}"}}}}"#),
    ] {
        all.push((format!("{header} by another key"), by_another(&header)));
    }
    for id in ["r", "e", "", "D", "d ", "x"] {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{id}"}}"#);
        all.push((header.clone(), sign(&header, &claims)));
    }
    for header in bad_headers("EdDSA") {
        all.push((header.clone(), sign(&header, &claims)));
    }
    all.extend(bad_claims().into_iter().map(|bad| {
        let token = sign(r#"{"alg":"EdDSA","kid":"d"}"#, &bad);
        (bad, token)
    }));
    all.extend(altered(good).into_iter().map(|token| (format!("altered: {token}"), token)));
    all
}

/// Each forgery at each operation; and the good token, which is let in, or nothing were shown.
fn try_all(ground: &Ground, keys: &[u8], args: &[&str], good: &str, forged: &[Forgery]) {
    let program = match server::program() {
        Ok(program) => program,
        Err(reason) => return ground.skip(forged.len() as u64, reason),
    };
    let server = Server::start(&program, &[("keys", keys)], args);
    let operations = operations(&server);
    for operation in &operations {
        // The answer of one of them has no end.
        let mut client = server.connect().unwrap();
        ask(&mut client, operation, good).unwrap();
        let status = client.hear_head().unwrap().unwrap().0;
        assert!(
            status != 401,
            "the good token is refused at {} {}",
            operation.method,
            operation.path
        );
    }
    ground.note(format!("{} tokens at {} operations", forged.len(), operations.len()));
    ground.numbered_cases(forged.len() as u64, |number, _| {
        let (what, token) = &forged[usize::try_from(number).unwrap()];
        let mut client = server.connect().unwrap();
        for operation in &operations {
            let status = status(&mut client, operation, token).or_else(|_| {
                // The server may close a connection after what it cannot read.
                client = server.connect()?;
                status(&mut client, operation, token)
            });
            let Operation { method, path } = operation;
            // Headers that are too long are not looked into.
            let is_refused = matches!(status, Ok(401 | 431));
            let brief: String = what.chars().take(200).collect();
            assert!(is_refused, "{method} {path} answers {status:?} to {brief}");
        }
        Ok(operations.len() as u64)
    });
}

/// The operations that need a token.
fn operations(server: &Server) -> Vec<Operation> {
    let mut client = server.connect().unwrap();
    client.say(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let answer = client.hear().unwrap().unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let document: Document = Json::parse(text).unwrap().to_value().unwrap();
    let mut all = Vec::new();
    for (path, item) in document.paths {
        for (method, described) in item {
            if !described.security.is_empty() {
                all.push(Operation { method: method.to_uppercase(), path: filled(&path) });
            }
        }
    }
    assert!(all.len() >= 20, "the document has only {} operations", all.len());
    all
}

/// The path with a value in the place of each parameter.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn status(client: &mut Client, operation: &Operation, token: &str) -> io::Result<u16> {
    ask(client, operation, token)?;
    let answer = client.hear()?;
    answer.map(|answer| answer.status).ok_or_else(|| io::Error::other("no answer"))
}

fn ask(client: &mut Client, operation: &Operation, token: &str) -> io::Result<()> {
    let Operation { method, path } = operation;
    client.say(
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        .as_bytes(),
    )
}
