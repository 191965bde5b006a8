//! Tokens signed with private keys, and the document with the public ones.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use runledger::server::{App, Auth, Config, Tokens};
use serde_json::{Value, json};

use super::follow::{Stream, append};
use super::{Client, Site};

/// A key of tests/fixtures/keys, which nothing but these tests trusts.
fn key(algorithm: Algorithm) -> EncodingKey {
    let pem = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys");
        std::fs::read(folder.join(name)).unwrap()
    };
    match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(&pem("rsa.pem")),
        Algorithm::RS384 => EncodingKey::from_rsa_pem(&pem("rsa-weak.pem")),
        Algorithm::ES256 => EncodingKey::from_ec_pem(&pem("ec.pem")),
        _ => EncodingKey::from_ed_pem(&pem("ed.pem")),
    }
    .unwrap()
}

/// The public half, with this name.
fn public(algorithm: Algorithm, id: Option<&str>) -> Value {
    let mut jwk = Jwk::from_encoding_key(&key(algorithm), algorithm).unwrap();
    jwk.common.key_id = id.map(str::to_owned);
    serde_json::to_value(jwk).unwrap()
}

fn document(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn site(keys: &[Value]) -> Site {
    let keys = document(keys);
    Site::with(|config| {
        let Auth::Secret { file, .. } = &config.auth else { unreachable!() };
        let file = file.with_file_name("jwks.json");
        std::fs::write(&file, keys).unwrap();
        config.auth = Auth::Jwks { file, tokens: Tokens::default() };
    })
}

fn token(algorithm: Algorithm, id: Option<&str>) -> String {
    let claims = json!({"sub": "ann", "exp": 9_999_999_999_u64, "scope": "read"});
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &claims, &key(algorithm)).unwrap()
}

fn status(client: &Client<'_>) -> u16 {
    client.get("/v1/runs").status.as_u16()
}

const ALL: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

#[test]
fn each_algorithm_is_taken_with_its_own_key() {
    let named = |algorithm: &Algorithm| format!("{algorithm:?}");
    let keys: Vec<_> = ALL.iter().map(|it| public(*it, Some(&named(it)))).collect();
    let site = site(&keys);
    for algorithm in ALL {
        for (id, expected) in [
            (Some(named(&algorithm)), 200),
            (None, 200),
            (Some("other".to_owned()), 401),
            (Some(String::new()), 401),
        ] {
            let client = site.bearer(token(algorithm, id.as_deref()));
            assert_eq!(status(&client), expected, "{algorithm:?} {id:?}");
        }
        for other in ALL.iter().filter(|other| **other != algorithm) {
            let client = site.bearer(token(algorithm, Some(&named(other))));
            assert_eq!(status(&client), 401, "{algorithm:?} by the key of {other:?}");
        }
    }
}

/// The public key of an RSA pair, known to all, is not taken for the secret of HS256.
#[test]
fn a_public_key_is_no_secret() {
    let public = public(Algorithm::RS256, Some("k"));
    let site = site(std::slice::from_ref(&public));
    let claims = json!({"sub": "ann", "exp": 9_999_999_999_u64, "scope": "admin"});
    let modulus = public["n"].as_str().unwrap();
    let pem = std::fs::read("tests/fixtures/keys/rsa.pem").unwrap();
    for secret in [modulus.as_bytes(), public.to_string().as_bytes(), &pem, b""] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some("k".to_owned()), ..Header::new(algorithm) };
            let forged = encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(status(&site.bearer(forged)), 401);
        }
    }
    // Nor is another algorithm taken with the same key.
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let header = Header { kid: Some("k".to_owned()), ..Header::new(algorithm) };
        let other = encode(&header, &claims, &key(Algorithm::RS256)).unwrap();
        assert_eq!(status(&site.bearer(other)), 401, "{algorithm:?}");
    }
    // And a server with a secret takes none that is signed with a private key.
    let with_secret = Site::new();
    for algorithm in ALL {
        assert_eq!(status(&with_secret.bearer(token(algorithm, None))), 401);
    }
}

#[test]
fn documents_that_cannot_be_trusted_are_refused() {
    let good = public(Algorithm::ES256, Some("k"));
    let change = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed
    };
    let secret = json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"});
    let weak = public(Algorithm::RS384, Some("k"));
    for (keys, said) in [
        (document(&[]), "no key in it"),
        (document(std::slice::from_ref(&secret)), "is a secret"),
        (document(&[good.clone(), secret]), "is a secret"),
        (document(&[weak]), "fewer than 2048 bits"),
        (document(&[good.clone(), good.clone()]), "two keys"),
        (document(&[change("use", json!("enc"))]), "no key in it"),
        (document(&[change("alg", json!("ES384"))]), "no key in it"),
        (document(&[change("crv", json!("P-384"))]), "no key in it"),
        ("{}".to_owned(), "no JWKS document"),
        ("no json".to_owned(), "no JWKS document"),
        (String::new(), "no JWKS document"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, &keys).unwrap();
        let ledger = runledger::Ledger::open(folder.path().join("ledger")).unwrap();
        let auth = Auth::Jwks { file, tokens: Tokens::default() };
        let refused = App::new(ledger, Config::new(auth)).map(drop).unwrap_err().to_string();
        assert!(refused.contains(said), "{keys}: {refused}");
    }
}

/// A key that is taken out of the document opens nothing any more; a document that is broken
/// meanwhile changes nothing.
#[test]
fn the_document_is_read_anew() {
    let site = site(&[public(Algorithm::ES256, Some("old"))]);
    let file = site.folder.path().join("jwks.json");
    let old = token(Algorithm::ES256, Some("old"));
    let new = token(Algorithm::EdDSA, Some("new"));
    std::fs::write(&file, "half a docu").unwrap();
    site.app.tidy();
    assert_eq!((status(&site.bearer(&old)), status(&site.bearer(&new))), (200, 401));
    std::fs::write(&file, document(&[public(Algorithm::EdDSA, Some("new"))])).unwrap();
    site.app.tidy();
    assert_eq!((status(&site.bearer(&old)), status(&site.bearer(&new))), (401, 200));
}

/// A new key beside the others, as they are turned over, ended the answers of all who followed.
#[test]
fn only_who_came_by_a_key_that_is_gone_follows_no_longer() {
    let [rsa, ec, ed] = ALL.map(|it| public(it, Some(&format!("{it:?}"))));
    let site = site(&[rsa.clone(), ec]);
    let follow = |algorithm: Algorithm| {
        let token = token(algorithm, Some(&format!("{algorithm:?}")));
        Stream::open(&site.bearer(token), "/v1/tail", None)
    };
    let (mut stays, mut goes) = (follow(Algorithm::RS256), follow(Algorithm::ES256));
    std::fs::write(site.folder.path().join("jwks.json"), document(&[ed, rsa])).unwrap();
    site.app.tidy();
    append(&site, "ann", 1);
    assert_eq!(goes.records(1), [0_u64; 0]);
    assert_eq!(stays.records(1), [1]);
    let mut comes = follow(Algorithm::EdDSA);
    append(&site, "ann", 1);
    assert_eq!(comes.records(1), [2]);
}
