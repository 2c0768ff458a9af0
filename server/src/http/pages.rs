//! The pages, as they were built into the binary.

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::RustEmbed;

use super::Fault;

#[derive(RustEmbed)]
#[folder = "../web-client/dist"]
struct Dist;

const MISSING: &str = "<!doctype html><meta charset=utf-8><title>Odori</title>\
<body style='font:16px/1.5 system-ui;max-width:40em;margin:4em auto;padding:0 1em'>\
<h1>The pages are not in this binary</h1>\
<p>It was built before them. Build the pages, then the binary again:</p>\
<pre>cd web-client &amp;&amp; npm ci &amp;&amp; npm run build\ncd .. &amp;&amp; cargo build --release -p odori-server</pre>\
<p>The programming interface works without them: see <code>server/API.md</code>.</p>";

fn page(name: &str) -> Response {
    match Dist::get(name) {
        Some(file) => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CACHE_CONTROL, "no-cache"),
                (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'self'"),
            ];
            (headers, file.data).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, Html(MISSING)).into_response(),
    }
}

pub async fn studio() -> Response {
    page("studio.html")
}

pub async fn overlay() -> Response {
    page("overlay.html")
}

/// Whatever else the pages' build put beside them.
pub async fn other(uri: axum::http::Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    let kind = match path.rsplit('.').next() {
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("html") => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    };
    match Dist::get(path) {
        Some(file) => ([(header::CONTENT_TYPE, kind)], file.data).into_response(),
        None => Fault(StatusCode::NOT_FOUND, "there is nothing at this address".into()).into_response(),
    }
}
