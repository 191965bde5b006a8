//! Large records: an answer holds a few of them, whatever is asked for.

use axum::body::Body;
use axum::http::Method;
use http_body_util::BodyExt;
use runledger::{ErrorRecord, Event, Json, Run, RunError, Status};
use serde_json::Value;
use tower::ServiceExt;

use super::{Site, runtime};

/// A ledger with 20 events of 1 MiB, and among them one of 9 MiB.
fn site_with_large_events() -> Site {
    let site = Site::new();
    for number in 1..=20 {
        let mebibytes = if number == 12 { 9 } else { 1 };
        site.ledger.append(Event::new("x").message("x".repeat(mebibytes << 20))).unwrap();
    }
    site
}

/// A page held as many records as were asked for: a few requests at a time for a thousand each
/// took all memory.
#[test]
fn a_list_goes_on_where_there_is_enough() {
    let site = site_with_large_events();
    let admin = site.admin();
    for (order, limit) in [("newest", 1000), ("oldest", 1000), ("oldest", 20)] {
        let path = format!("/v1/events?limit={limit}&order={order}");
        let (mut seqs, mut pages, mut cursor) = (Vec::new(), 0, Value::Null);
        loop {
            let answer = match cursor.as_str() {
                Some(cursor) => admin.get(&format!("{path}&cursor={cursor}")),
                None => admin.get(&path),
            };
            assert!(answer.body.len() < 18 << 20, "{path}: {}", answer.body.len());
            let page = answer.expect(200);
            let items = page["items"].as_array().unwrap();
            seqs.extend(items.iter().map(|item| item["seq"].as_u64().unwrap()));
            cursor = page["next"].clone();
            pages += 1;
            if cursor.is_null() {
                break;
            }
        }
        if order == "newest" {
            seqs.reverse();
        }
        assert_eq!(seqs, (1..=20).collect::<Vec<_>>(), "{path}");
        assert!(pages >= 3, "{path}: {pages}");
    }
}

/// The older lists go on by an offset, and held a thousand records of any length. Who steps by the
/// limit misses none of them.
#[test]
fn an_older_list_asks_for_a_smaller_limit() {
    let site = Site::new();
    let json = || Json::parse(format!("\"{}\"", "x".repeat(1 << 20))).unwrap();
    for number in 1..=20 {
        let error = RunError::new("x".repeat(1 << 20));
        let run = Run::new(format!("r{number}"), "job", Status::Failed).unwrap();
        site.ledger.append(run.metadata(json()).error(error)).unwrap();
        site.ledger.append(Event::new("x").payload(json())).unwrap();
        site.ledger.append(ErrorRecord::new("x", "x".repeat(1 << 20))).unwrap();
    }
    let admin = site.admin();
    let lists = ["/api/automations/ledger", "/workflows/job/logs", "/api/events", "/api/errors"];
    for path in lists {
        let refused = admin.get(&format!("{path}?limit=1000"));
        assert_eq!(refused.problem(400), ("invalid-value".into(), "limit".into()), "{path}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        let most = detail.split_whitespace().find_map(|word| word.parse::<usize>().ok()).unwrap();
        assert!((2..=9).contains(&most), "{detail}");
        let mut rows = 0;
        for offset in (0..20).step_by(most) {
            let page = admin.get(&format!("{path}?limit={most}&offset={offset}")).expect(200);
            rows += page["items"].as_array().unwrap().len();
        }
        assert_eq!(rows, 20, "{path}");
    }
}

#[test]
fn an_export_is_made_a_few_records_at_a_time() {
    let site = site_with_large_events();
    for path in ["/v1/export", "/v1/export?format=csv&kind=event"] {
        let request = site.admin().request(Method::GET, path).body(Body::empty()).unwrap();
        let text = runtime().block_on(async {
            let mut body = site.router.clone().oneshot(request).await.unwrap().into_body();
            let mut text = Vec::new();
            while let Some(frame) = body.frame().await {
                let piece = frame.unwrap().into_data().unwrap();
                assert!(piece.len() < 18 << 20, "{path}: {}", piece.len());
                text.extend_from_slice(&piece);
            }
            String::from_utf8(text).unwrap()
        });
        let seq = |line: &str| -> u64 {
            let digits = line.trim_start_matches("{\"seq\":");
            digits.split(|it: char| !it.is_ascii_digit()).next().unwrap().parse().unwrap()
        };
        let lines = text.lines().skip(usize::from(path.contains("csv")));
        assert!(lines.map(seq).eq(1..=20), "{path}");
    }
}
