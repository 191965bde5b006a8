//! Tokens that do not count, one by one; and key files that change.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use runledger::server::{App, Auth, Config, ConfigError, Scope, Tokens};
use serde_json::{Value, json};

use super::{SECRET, Site};

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Claims of ann that count for an hour.
fn claims() -> Value {
    json!({"sub": "ann", "exp": now() + 3600, "scope": "read write"})
}

fn signed(header: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn hs256(claims: &Value) -> String {
    signed(&Header::new(Algorithm::HS256), claims, SECRET)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0_u32;
        (0..3).for_each(|at| bits = bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

/// The token with another header, and the signature that it had.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", base64(header.to_string().as_bytes()))
}

#[test]
fn times_issuers_and_audiences_are_checked() {
    let site = Site::with(|config| {
        if let Auth::Secret { tokens, .. } = &mut config.auth {
            let named = |name: &str| Some(name.to_owned());
            *tokens = Tokens { issuer: named("us"), audience: named("ledger") };
        }
    });
    let good = json!({"sub": "ann", "exp": now() + 3600, "scope": "read", "iss": "us",
        "aud": "ledger"});
    let status = |change: Value| {
        let mut claims = good.clone();
        for (key, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
                value => claims[key] = value.clone(),
            }
        }
        site.bearer(hs256(&claims)).get("/v1/events").status.as_u16()
    };
    for (change, expected) in [
        (json!({}), 200),
        (json!({"exp": now() - 3}), 200),
        (json!({"exp": now() - 7}), 401),
        (json!({"exp": null}), 401),
        (json!({"exp": "9999999999"}), 401),
        (json!({"exp": 1e300}), 200),
        (json!({"exp": i64::MAX}), 200),
        (json!({"exp": -1}), 401),
        (json!({"exp": i64::MIN}), 401),
        (json!({"nbf": now() + 3}), 200),
        (json!({"nbf": now() + 20}), 401),
        (json!({"nbf": i64::MAX}), 401),
        (json!({"nbf": "x"}), 401),
        (json!({"iss": null}), 401),
        (json!({"iss": "them"}), 401),
        (json!({"iss": ["us"]}), 401),
        (json!({"iss": "us "}), 401),
        (json!({"aud": null}), 401),
        (json!({"aud": "other"}), 401),
        (json!({"aud": ["other", "ledger"]}), 200),
        (json!({"aud": []}), 401),
        (json!({"sub": null}), 401),
        (json!({"sub": ""}), 401),
        (json!({"sub": 7}), 401),
        (json!({"sub": "x".repeat(129)}), 401),
        (json!({"projects": ["x".repeat(129)]}), 401),
        (json!({"projects": "p"}), 401),
        (json!({"scope": null}), 403),
        (json!({"scope": "READ"}), 403),
        (json!({"scope": "reader"}), 403),
        (json!({"scope": "other read"}), 200),
        (json!({"scope": ["read"]}), 200),
        (json!({"scope": ["read write"]}), 403),
    ] {
        assert_eq!(status(change.clone()), expected, "{change}");
    }
}

/// The token with another character in one place: each bit that is signed counts, and each of the
/// signature. The last character of a part has bits that do not.
fn altered(token: &str) -> Vec<String> {
    let bytes = token.as_bytes();
    let mut altered = Vec::new();
    for at in (0..bytes.len()).filter(|at| bytes[*at] != b'.') {
        let mut changed = bytes.to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        if bytes.get(at + 1).is_some_and(|next| *next != b'.') {
            altered.push(String::from_utf8(changed).unwrap());
        }
    }
    altered
}

#[test]
fn forged_tokens_are_refused() {
    let site = Site::new();
    let good = hs256(&claims());
    site.bearer(&good).get("/v1/events").expect(200);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let payload = head.split_once('.').unwrap().1;
    let mut forged = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA"] {
        for end in ["", signature] {
            let header = base64(json!({"alg": alg, "typ": "JWT"}).to_string().as_bytes());
            forged.push(format!("{header}.{payload}.{end}"));
        }
    }
    let other = |algorithm| signed(&Header::new(algorithm), &claims(), SECRET);
    forged.extend([other(Algorithm::HS384), other(Algorithm::HS512)]);
    for secret in
        [&b""[..], b"secret", &SECRET[1..], b"a secret for tests, of more than 32 bytes\n"]
    {
        forged.push(signed(&Header::new(Algorithm::HS256), &claims(), secret));
    }
    for more in [
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"zip": "DEF"}),
        json!({"b64": false, "crit": ["b64"]}),
        json!({"jku": "http://evil.example/keys"}),
        json!({"kid": "../../dev/null"}),
        json!({"kid": "' or 1=1 --"}),
        json!({"jwk": {"kty": "oct", "k": "AA"}}),
    ] {
        let mut header = json!({"alg": "HS256"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        forged.push(with_header(&good, &header));
    }
    forged.extend([
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        head.to_owned(),
        format!("{head}."),
        format!("{head}.{signature}."),
        format!("{head}.{signature}.x"),
        format!("{head}.{signature}A"),
        format!("{head}.{signature}="),
        format!("{good} {good}"),
        good.replace('.', ","),
        good.to_uppercase(),
        "x".repeat(9000),
        format!("{}.{payload}.{signature}", base64(b"{\"alg\":\"HS256\",\"alg\":\"none\"}")),
        format!("{}.{payload}.{signature}", base64(b"[]")),
        format!("{}.{}.{signature}", good.split('.').next().unwrap(), base64(b"{}")),
    ]);
    forged.extend(altered(&good));
    assert!(forged.len() > 150, "only {} forgeries", forged.len());
    for token in forged {
        let refused = site.bearer(&token).get("/v1/events");
        assert_eq!(refused.problem(401).0, "unauthenticated", "{token}");
        // What is wrong is said without the token, its claims or the key.
        assert!(!refused.text().contains("secret") && !refused.text().contains("ann"));
    }
}

#[test]
fn the_header_is_one_and_names_its_scheme() {
    let site = Site::new();
    let token = hs256(&claims());
    let send = |values: &[String]| {
        let mut request = site.stranger().request(axum::http::Method::GET, "/v1/events");
        for value in values {
            request = request.header("authorization", value);
        }
        site.send(request.body(axum::body::Body::empty()).unwrap()).status.as_u16()
    };
    for (values, status) in [
        (vec![format!("Bearer {token}")], 200),
        (vec![format!("bearer {token}")], 200),
        (vec![format!("Basic {token}")], 401),
        (vec![token.clone()], 401),
        (vec![format!("Bearer{token}")], 401),
        (vec!["Bearer ".to_owned()], 401),
        (vec![format!("Bearer {token}"), format!("Bearer {token}")], 401),
        (vec!["Bearer x".to_owned(), format!("Bearer {token}")], 401),
    ] {
        assert_eq!(send(&values), status, "{values:?}");
    }
    // A token in the address would stand in every log.
    let query = site.stranger().get(&format!("/v1/events?access_token={token}"));
    assert_eq!(query.status, 401);
}

#[test]
fn a_secret_that_is_too_short_is_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let ledger = runledger::Ledger::open(folder.path().join("ledger")).unwrap();
    for (secret, taken) in [(31, false), (32, true)] {
        std::fs::write(&file, [vec![b'x'; secret], b"\n".to_vec()].concat()).unwrap();
        let auth = Auth::Secret { file: file.clone(), tokens: Tokens::default() };
        let app = App::new(ledger.clone(), Config::new(auth));
        assert_eq!(app.is_ok(), taken, "{secret}");
        if let Err(err) = app {
            assert!(matches!(err, ConfigError::Keys { .. }));
            assert!(err.to_string().contains("openssl rand"), "{err}");
        }
    }
}

/// A new secret counts from the next look on; a file that is broken meanwhile changes nothing.
#[test]
fn the_keys_are_read_anew_when_their_file_changes() {
    let site = Site::new();
    let old = site.token("ann", &[Scope::Read], &[]);
    let status = |token: &str| site.bearer(token).get("/v1/events").status.as_u16();
    std::fs::write(site.secret_file(), "short").unwrap();
    site.app.tidy();
    assert_eq!(status(&old), 200);
    std::fs::write(site.secret_file(), [b'n'; 40]).unwrap();
    let new = site.token("ann", &[Scope::Read], &[]);
    assert_eq!(status(&new), 401);
    site.app.tidy();
    assert_eq!((status(&old), status(&new)), (401, 200));
}
