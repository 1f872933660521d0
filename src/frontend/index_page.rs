//! What stands at `/`: where the shop's paths are, for people with a browser and for programs.

use bytes::Bytes;
use hyper::header::ACCEPT;
use hyper::{HeaderMap, StatusCode};
use serde_json::json;

use crate::http::reply::{self, Response};

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Bazar</title>
<h1>Bazar</h1>
<p>This is the API of an online bookstore. Its answers are JSON.
<ul>
<li><code>GET /search/<i>topic</i></code>: the books of a topic, such as <a href="/search/theory">/search/theory</a>
<li><code>GET /info/<i>number</i></code>: a book, such as <a href="/info/1">/info/1</a>
<li><code>POST /purchase/<i>number</i></code>: buys a book
<li><a href="/orders">/orders</a>: what was bought
<li><a href="/cluster">/cluster</a>, <a href="/cache-stats">/cache-stats</a>, <a href="/ready">/ready</a>: how the shop is
</ul>
</html>
"#;

/// The page, if the client wants one to look at; else the same as JSON.
pub fn welcome(headers: &HeaderMap) -> Response {
    let wants_page = headers.get_all(ACCEPT).iter().any(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        value.windows(9).any(|word| word == b"text/html")
    });
    if wants_page {
        return reply::content(StatusCode::OK, "text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()));
    }
    let links = json!({
        "search": "/search/{topic}",
        "book": "/info/{id}",
        "purchase": "/purchase/{id}",
        "orders": "/orders",
        "cluster": "/cluster",
        "cache": "/cache-stats",
        "health": "/health",
        "ready": "/ready",
    });
    reply::json(StatusCode::OK, &json!({ "name": "bazar", "links": links }))
}
