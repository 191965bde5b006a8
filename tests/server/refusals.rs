//! What is refused, and that the server goes on.

use axum::body::Body;
use axum::http::{Method, Request};
use runledger::Event;

use super::{Site, runtime};

#[test]
fn query_words_are_checked_by_name() {
    let site = Site::new();
    let ann = site.user("ann");
    for (query, kind, field) in [
        ("sttus=failed", "unknown-parameter", "sttus"),
        ("Status=failed", "unknown-parameter", "Status"),
        ("status[]=failed", "unknown-parameter", "status[]"),
        ("status=broken", "invalid-value", "status"),
        ("status=failed&status=broken", "invalid-value", "status"),
        ("limit=0", "invalid-value", "limit"),
        ("limit=1001", "invalid-value", "limit"),
        ("limit=-1", "invalid-value", "limit"),
        ("limit=1.5", "invalid-value", "limit"),
        ("limit=99999999999999999999999", "invalid-value", "limit"),
        ("limit=1&limit=2", "invalid-value", "limit"),
        ("offset=100001", "invalid-value", "offset"),
        ("cursor=x", "invalid-value", "cursor"),
        ("cursor=o80000000000000010000000000000002", "invalid-value", "cursor"),
        ("order=sideways", "invalid-value", "order"),
        ("since=yesterday", "invalid-value", "since"),
        ("until=2026-13-01T00:00:00Z", "invalid-value", "until"),
        ("subject=no-colon", "invalid-value", "subject"),
    ] {
        let refused = ann.get(&format!("/v1/runs?{query}"));
        assert_eq!(refused.problem(400), (kind.into(), field.into()), "{query}");
    }
    let long = format!("/v1/runs?user={}", "x".repeat(129));
    assert_eq!(ann.get(&long).problem(400).0, "invalid-value");
    ann.get("/v1/runs?text=%00%ff%25&user=%F0%9F%92%A9").expect(200);
}

#[test]
fn bodies_are_checked_by_key() {
    let site = Site::with(|config| config.max_body_bytes = 1000);
    let ann = site.user("ann");
    let deep = format!(r#"{{"type":"x","payload":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for (path, body, status, field) in [
        ("/v1/events", r#"{"typ":"x"}"#, 400, "typ"),
        ("/v1/events", r#"{"type":"x","type":"y"}"#, 400, "type"),
        ("/v1/events", r#"{"type":7}"#, 400, "type"),
        ("/v1/events", r#"{"type":""}"#, 400, "type"),
        ("/v1/events", r#"{"type":"x","ts":"now"}"#, 400, "ts"),
        ("/v1/events", r#"{"kind":"error","type":"x","message":"m"}"#, 400, "kind"),
        ("/v1/events", r#"{"type":"x","status":"failed"}"#, 400, "status"),
        ("/v1/events", "[]", 400, ""),
        ("/v1/events", "{", 400, ""),
        ("/v1/events", "", 400, ""),
        ("/v1/events", &deep, 400, "payload"),
        ("/v1/events", &format!(r#"{{"type":"{}"}}"#, "x".repeat(1000)), 413, ""),
        ("/v1/runs", r#"{"type":"x","status":"running"}"#, 400, "run_id"),
        ("/v1/runs", r#"{"type":"x","run_id":"r"}"#, 400, "status"),
        ("/v1/runs", r#"{"type":"x","run_id":"r","status":"abandoned"}"#, 400, "status"),
        ("/v1/errors", r#"{"type":"x"}"#, 400, "message"),
        ("/v1/runs/r/start", r#"{"type":"x","lease_s":-1}"#, 400, "lease_s"),
        ("/v1/runs/r/start", r#"{"type":"x"} x"#, 400, ""),
    ] {
        let refused = ann.post(path, body);
        assert_eq!(refused.problem(status).1, field, "{path} {body}: {}", refused.text());
    }
    assert_eq!(site.ledger.query().count().unwrap(), 0);
}

/// A page of another site can have a browser send forms, not JSON.
#[test]
fn a_body_has_to_say_that_it_is_json() {
    let site = Site::new();
    let ann = site.user("ann");
    for media in ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let request = ann.request(Method::POST, "/v1/events").header("content-type", media);
        let refused = site.send(request.body(Body::from(r#"{"type":"x"}"#)).unwrap());
        assert_eq!(refused.problem(415).0, "unsupported-media-type", "{media}");
    }
    let request = ann.request(Method::POST, "/v1/events");
    let request = request.header("content-type", "Application/JSON; charset=utf-8");
    site.send(request.body(Body::from(r#"{"type":"x"}"#)).unwrap()).expect(201);
}

/// A small body that grows beyond the limit when it is decompressed.
#[test]
fn a_compressed_body_is_bounded_by_what_it_becomes() {
    let site = Site::new();
    let ann = site.user("ann");
    let send = |encoding: &str, body: Vec<u8>| {
        let request = ann.request(Method::POST, "/v1/events");
        let request = request.header("content-type", "application/json");
        site.send(request.header("content-encoding", encoding).body(Body::from(body)).unwrap())
    };
    let gzip = |text: &[u8]| {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    };
    send("gzip", gzip(br#"{"type":"x"}"#)).expect(201);
    let bomb = gzip(&vec![b' '; 100 << 20]);
    assert!(bomb.len() < 200_000);
    assert_eq!(send("gzip", bomb).problem(413).0, "too-large");
    assert_eq!(send("gzip", b"no gzip".to_vec()).problem(400).0, "invalid-body");
    assert_eq!(send("br", b"x".to_vec()).problem(415).0, "unsupported-media-type");
}

/// A frame of zstd that looks back as far as this power of two, and holds this text as it is.
fn zstd_frame(window: u8, text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap() << 3 | 1;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (window - 10) << 3];
    frame.extend(&length.to_le_bytes()[..3]);
    frame.extend(text);
    frame
}

/// What a body looks back over is held for it beside all bounds: 64 MiB for each bulk of a few KiB,
/// which the sender chose.
#[test]
fn a_body_of_zstd_looks_back_over_8_mib_at_the_most() {
    let site = Site::new();
    let ann = site.user("ann");
    let send = |body: Vec<u8>| {
        let request = ann.request(Method::POST, "/v1/events");
        let request = request.header("content-type", "application/json");
        site.send(request.header("content-encoding", "zstd").body(Body::from(body)).unwrap())
    };
    let event = br#"{"type":"x"}"#;
    for window in [24, 27] {
        let refused = send(zstd_frame(window, event));
        assert_eq!(refused.problem(400).0, "invalid-body", "{window}");
        let second = [zstd_frame(10, b" "), zstd_frame(window, event)].concat();
        assert_eq!(send(second).problem(400).0, "invalid-body", "{window}");
    }
    send(zstd_frame(23, event)).expect(201);
    send([zstd_frame(10, &event[..5]), zstd_frame(23, &event[5..])].concat()).expect(201);
    let long = format!(r#"{{"type":"x","message":"{}"}}"#, "x".repeat(100_000));
    for level in [1, 19] {
        let packed = zstd::stream::encode_all(long.as_bytes(), level).unwrap();
        send(packed.clone()).expect(201);
        let cut = packed[..packed.len() - 1].to_vec();
        assert_eq!(send(cut).problem(400).0, "invalid-body");
    }
    let bomb = zstd::stream::encode_all(&vec![b' '; 100 << 20][..], 3).unwrap();
    assert_eq!(send(bomb).problem(413).0, "too-large");
    assert_eq!(send(b"no zstd".to_vec()).problem(400).0, "invalid-body");
    // Behind a frame there is nothing but another one, and a body may be none.
    let more = [zstd_frame(10, event), b"x".to_vec()].concat();
    assert_eq!(send(more).problem(400).0, "invalid-body");
    let none = ann.request(Method::POST, "/v1/traces").header("content-encoding", "zstd");
    let none = none.header("content-type", "application/x-protobuf").body(Body::empty());
    assert_eq!(site.send(none.unwrap()).status, 200);
    let twice = ann.request(Method::POST, "/v1/events").header("content-type", "application/json");
    let twice = twice.header("content-encoding", "zstd").header("content-encoding", "gzip");
    let refused = site.send(twice.body(Body::from("x")).unwrap());
    assert!([400, 415].contains(&refused.status.as_u16()), "{refused:?}");
}

#[test]
fn answers_are_compressed_when_the_client_takes_that() {
    let site = Site::new();
    for _ in 0..50 {
        site.ledger.append(Event::new("a-type-of-event")).unwrap();
    }
    let admin = site.admin();
    for (accept, encoding) in [("gzip", "gzip"), ("zstd", "zstd"), ("identity", ""), ("br", "")] {
        // The one is made at once, and the other piece by piece: what compresses that asks for
        // more behind its end.
        for path in ["/v1/events", "/v1/export"] {
            let request = admin.request(Method::GET, path).header("accept-encoding", accept);
            let answer = site.send(request.body(Body::empty()).unwrap());
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-encoding"), encoding, "{accept}");
        }
    }
}

#[test]
fn what_is_not_there_is_a_problem_too() {
    let site = Site::new();
    for path in ["/v1", "/v1/", "/v1/runs/", "/v2/runs", "/v1/events/x", "/v1/events/-1"] {
        let refused = site.admin().get(path);
        assert!(refused.status.is_client_error(), "{path}: {refused:?}");
        refused.problem(refused.status.as_u16());
    }
    let put = site.admin().ask(&Method::PUT, "/v1/runs", Some("{}"));
    assert_eq!(put.problem(405).0, "method-not-allowed");
    assert!(put.header("allow").contains("POST"), "{put:?}");
}

#[test]
fn every_answer_has_the_headers_that_keep_a_browser_from_harm() {
    let site = Site::new();
    for path in ["/livez", "/v1/runs", "/nowhere", "/openapi.json"] {
        let answer = site.stranger().get(path);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(answer.header(name), value, "{name} of {path}");
        }
        assert!(answer.header("access-control-allow-origin").is_empty());
        assert!(!answer.header("cache-control").is_empty());
    }
}

/// Where no token is asked for, another host's name is no way in.
#[test]
fn without_tokens_the_host_is_looked_at() {
    let site = Site::with(|config| config.auth = runledger::server::Auth::Off);
    let ask = |host: &str| {
        let request = Request::get("/v1/runs").header("host", host).body(Body::empty()).unwrap();
        site.send(request)
    };
    for host in ["localhost", "localhost:7878", "127.0.0.1:7878", "[::1]:7878", "[::1]"] {
        ask(host).expect(200);
    }
    for host in ["evil.example", "evil.example:7878", "localhost.evil.example", "127.0.0.1.x"] {
        assert_eq!(ask(host).problem(403).0, "wrong-host", "{host}");
    }
}

/// Where no token is asked for, any page could have a browser send a form without a body, which is
/// not asked for its type, and drop every segment with it.
#[test]
fn without_tokens_a_page_of_another_site_changes_nothing() {
    let site = Site::with(|config| {
        config.auth = runledger::server::Auth::Off;
        config.cors = vec!["https://good.example".to_owned()];
    });
    let ask = |method: Method, path: &str, sec_fetch_site: &str, origin: &str| {
        let mut request = site.stranger().request(method, path);
        request.headers_mut().unwrap().insert("host", "localhost:7878".parse().unwrap());
        for (name, value) in [("sec-fetch-site", sec_fetch_site), ("origin", origin)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        // As a form says it.
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        site.send(request.body(Body::empty()).unwrap())
    };
    let clean = "/v1/retention/cleanup?days=0";
    for (sec_fetch_site, origin) in [
        ("cross-site", "https://evil.example"),
        ("cross-site", "null"),
        ("cross-site", ""),
        ("same-site", "http://localhost:3000"),
        // By browsers that do not say where they are.
        ("", "https://evil.example"),
        ("", "https://good.example.evil"),
        ("", "http://localhost:3000"),
        ("", "null"),
    ] {
        site.ledger.append(Event::new("kept")).unwrap();
        for (method, path) in [(Method::POST, clean), (Method::DELETE, "/logs/cleanup?days=0")] {
            let refused = ask(method, path, sec_fetch_site, origin);
            let told = format!("{sec_fetch_site} {origin} {path}: {}", refused.text());
            assert_eq!(refused.status, 403, "{told}");
            assert_eq!(refused.problem(403).0, "foreign-origin", "{told}");
        }
        // What changes nothing is not shown to that page by the browser.
        ask(Method::GET, "/v1/events", sec_fetch_site, origin).expect(200);
    }
    assert_eq!(site.ledger.query().count().unwrap(), 8);
    for (sec_fetch_site, origin) in [
        // By no browser.
        ("", ""),
        ("none", ""),
        ("same-origin", "http://localhost:7878"),
        // By a page that tells no referrer.
        ("same-origin", "null"),
        ("", "http://localhost:7878"),
        ("cross-site", "https://good.example"),
        ("", "https://good.example"),
    ] {
        ask(Method::POST, clean, sec_fetch_site, origin).expect(200);
    }
    // A token is shown by no browser that was not told to.
    let site = Site::new();
    let request = site.admin().request(Method::POST, clean).header("sec-fetch-site", "cross-site");
    site.send(request.body(Body::empty()).unwrap()).expect(200);
}

/// Where the files lie is told to nobody but who may see everything.
#[test]
fn errors_tell_no_paths() {
    let site = Site::new();
    let home = site.folder.path().to_str().unwrap().to_owned();
    site.ledger.append(Event::new("x").user_id(runledger::Id::new("ann").unwrap())).unwrap();
    // The index knows the record before it is damaged.
    site.admin().get("/v1/events").expect(200);
    let segment = site.folder.path().join("ledger/streams/events");
    for entry in std::fs::read_dir(segment).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100..].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&path, bytes).unwrap();
    }
    let refused = site.user("ann").get("/v1/events/1");
    assert_eq!(refused.problem(500).0, "internal");
    assert!(!refused.text().contains(&home) && !refused.text().contains("seg"), "{refused:?}");
    assert!(site.admin().get("/v1/events/1").text().contains(&home));
    // A list leaves it out, and says so.
    let page = site.user("ann").get("/v1/events").expect(200);
    assert_eq!((page["items"].as_array().unwrap().len(), &page["damaged"]), (0, &1.into()));
}

/// One request that panics is answered, and the next one is served.
#[test]
fn a_panic_is_one_requests_affair() {
    let site = Site::new();
    let route = axum::routing::get(|| async {
        if true {
            panic!("on purpose")
        }
    });
    let router = site.app.layered(axum::Router::new().route("/panic", route));
    let send = |path: &str| {
        runtime().block_on(async {
            let request = Request::get(path).body(Body::empty()).unwrap();
            tower::ServiceExt::oneshot(router.clone(), request).await.unwrap()
        })
    };
    let answer = send("/panic");
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(send("/livez").status(), 404);
}
