//! An answer of the catalog, and what a customer sees of it.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};

use crate::http::reply::{self, Response};
use crate::protocol::request::{SERVED_BY, stale};

/// How an answer came about, in the words of RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The same in one word, for people with curl.
const CACHE_HIT: HeaderName = HeaderName::from_static("x-cache-hit");

/// An answer that can be given again.
#[derive(Clone, Debug)]
pub struct CachedResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its media type.
    pub media_type: HeaderValue,
    /// Its body.
    pub body: Bytes,
    /// Who gave it.
    pub served_by: HeaderValue,
}

impl CachedResponse {
    /// The answer as it comes from the cache.
    pub fn hit(self) -> Response {
        self.respond("bazar; hit", true)
    }

    /// The answer as it comes from the catalog. `is_stale` if it may be behind.
    pub fn miss(self, cache_status: &'static str, is_stale: bool) -> Response {
        let response = self.respond(cache_status, false);
        if is_stale { stale(response) } else { response }
    }

    fn respond(self, cache_status: &'static str, is_hit: bool) -> Response {
        let mut response = reply::content(self.status, "", self.body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.media_type);
        headers.insert(CACHE_STATUS, HeaderValue::from_static(cache_status));
        headers.insert(CACHE_HIT, HeaderValue::from_static(if is_hit { "true" } else { "false" }));
        headers.insert(SERVED_BY, self.served_by);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
