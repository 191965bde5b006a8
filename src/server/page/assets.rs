//! The files that all pages share. Their place names what is in them, so that a browser never asks
//! for one again.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::server::problem::{Kind, Problem};

struct Asset {
    name: &'static str,
    media: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset { name: "page.css", media: "text/css; charset=utf-8", text: CSS },
    Asset { name: "page.js", media: "text/javascript; charset=utf-8", text: SCRIPT },
    Asset { name: "icon.svg", media: "image/svg+xml", text: include_str!("static/icon.svg") },
];

/// How the pages look.
pub(super) const CSS: &str = include_str!("static/page.css");

const SCRIPT: &str = include_str!("static/page.js");

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = blake3::Hasher::new();
    for asset in &ASSETS {
        hash.update(asset.text.as_bytes());
    }
    hash.finalize().to_hex().as_str().chars().take(16).collect()
});

/// Where an asset is.
pub(super) fn place(name: &str) -> String {
    format!("/static/{}/{name}", *VERSION)
}

pub(super) async fn get(Path((version, name)): Path<(String, String)>) -> Response {
    let asset = ASSETS.iter().find(|asset| asset.name == name && version == *VERSION);
    let Some(asset) = asset else {
        return Problem::new(Kind::NoRoute, "there is no such file").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.media)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (StatusCode::OK, headers, asset.text).into_response()
}
