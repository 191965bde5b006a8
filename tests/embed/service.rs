//! A service with axum, whose spans `tower-http` makes.

use axum::body::Body as HttpBody;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use axum::{Router, extract::Path};
use runledger::embed::{LedgerLayer, Recorder};
use runledger::{Body, Durability, Kind, Status};
use tower::ServiceExt;
use tower_http::trace::TraceLayer;
use tracing::info;
use tracing_subscriber::layer::SubscriberExt;

use super::{events, found, ledger};

async fn booking(Path(id): Path<u32>) -> Result<String, StatusCode> {
    tokio::task::yield_now().await;
    info!(name: "booking.read", booking = id);
    match id {
        0 => Err(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Ok(format!("booking {id}")),
    }
}

#[test]
fn each_request_is_a_run_with_what_its_handler_says() {
    let (ledger, _, _dir) = ledger();
    let (recorder, guard) = Recorder::queue().durability(Durability::Os).start(&ledger).unwrap();
    let layer = LedgerLayer::new(recorder).run_target("tower_http::trace::make_span");
    let app = Router::new().route("/bookings/{id}", get(booking)).layer(TraceLayer::new_for_http());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        runtime.block_on(async {
            let ask = |id: u32| {
                let request = Request::get(format!("/bookings/{id}")).body(HttpBody::empty());
                app.clone().oneshot(request.unwrap())
            };
            let (one, none, two) = tokio::join!(ask(1), ask(0), ask(2));
            assert_eq!(one.unwrap().status(), StatusCode::OK);
            assert_eq!(none.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
            drop(two);
        });
    });
    drop(guard);
    let runs = found(ledger.query().kind(Kind::Run));
    assert_eq!(runs.len(), 3);
    for record in runs {
        let Body::Run(run) = record.body else { panic!("a run") };
        let metadata: serde_json::Value = run.metadata.unwrap().to_value().unwrap();
        let failed = metadata["uri"] == "/bookings/0";
        assert_eq!(run.status, if failed { Status::Failed } else { Status::Success });
        let of_run = |event: &&runledger::Event<'_>| event.run_id.as_ref() == Some(&run.run_id);
        let of_handler: Vec<_> = events(&ledger)
            .iter()
            .filter(of_run)
            .filter(|event| event.event_type == "booking.read")
            .map(|event| event.payload.as_ref().unwrap().to_string())
            .collect();
        let id = metadata["uri"].as_str().unwrap().trim_start_matches("/bookings/").to_owned();
        assert_eq!(of_handler, [format!(r#"{{"booking":{id}}}"#)]);
    }
}
