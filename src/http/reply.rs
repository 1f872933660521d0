//! Responses: JSON, any other content, and errors as problem details (RFC 9457).
//!
//! A problem's type is the relative reference `/problems/` and the error's slug, as in
//! `/problems/sold-out`: it names the kind of error to programs and need not lead to a page. Knows no
//! request: what belongs on every response is the server's.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// What problem types begin with.
const PROBLEMS: &str = "/problems/";

/// A response's body: whole and in memory.
pub type Body = Full<Bytes>;

/// What a handler answers.
pub type Response = hyper::Response<Body>;

/// A response with a body of any media type.
pub fn content(status: StatusCode, media_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A response with a value as JSON; a problem if the value has no form in JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match to_line(value) {
        Ok(text) => json_bytes(status, text),
        Err(error) => problem(&ApiError::Internal(format!("the answer could not be written as JSON: {error}")), ""),
    }
}

/// A response with JSON that is already written.
pub fn json_bytes(status: StatusCode, text: Bytes) -> Response {
    content(status, "application/json", text)
}

/// An error as a problem document. `instance` is the path of the request that failed, empty if unknown.
pub fn problem(error: &ApiError, instance: &str) -> Response {
    #[derive(Serialize)]
    struct Problem<'a> {
        #[serde(rename = "type")]
        kind: String,
        title: &'a str,
        status: u16,
        detail: String,
        #[serde(skip_serializing_if = "str::is_empty")]
        instance: &'a str,
    }

    let status = error.status();
    let document = to_line(&Problem {
        kind: format!("{PROBLEMS}{}", error.slug()),
        title: error.title(),
        status: status.as_u16(),
        detail: error.to_string(),
        instance,
    })
    .expect("a struct of strings and a number has a form in JSON");

    let mut response = content(status, "application/problem+json", document);
    if let ApiError::MethodNotAllowed { allow } = error {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let ApiError::BodyTooLarge { .. } | ApiError::RequestTimeout = error {
        // What is left of the body is not read, so the connection cannot be used again.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(seconds) = error.retry_after_s() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Texts that are longer are not left in more memory than they need, in bytes: customers may hold many of them.
const MAX_LOOSE_BYTES: usize = 64 << 10;

/// A value as a line of JSON. Without the line's end, a terminal's prompt would stick to it.
fn to_line(value: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    Ok(if text.len() > MAX_LOOSE_BYTES { Bytes::copy_from_slice(&text) } else { text.into() })
}

/// The slug of the error that a problem document tells of; nothing if `document` is none.
pub fn problem_slug(document: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        #[serde(rename = "type")]
        kind: String,
    }

    let Problem { kind } = serde_json::from_slice(document).ok()?;
    kind.strip_prefix(PROBLEMS).map(str::to_owned)
}

/// What a problem document says of the very case; the whole text, if it is none.
pub fn problem_detail(document: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }

    match serde_json::from_slice(document) {
        Ok(Problem { detail }) => detail,
        Err(_) => String::from_utf8_lossy(document).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    async fn document(response: Response) -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn an_error_is_shown_as_a_problem_document() {
        let response = problem(&ApiError::SoldOut("book 7 is sold out".into()), "/purchase/7");
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let expected = json!({
            "type": "/problems/sold-out",
            "title": "Sold out",
            "status": 409,
            "detail": "book 7 is sold out",
            "instance": "/purchase/7",
        });
        assert_eq!(document(response).await, expected);
    }

    #[test]
    fn a_wrong_method_is_answered_with_the_right_ones() {
        let response = problem(&ApiError::MethodNotAllowed { allow: "GET, PUT" }, "/books");
        assert_eq!(response.headers()[ALLOW], "GET, PUT");
    }

    #[test]
    fn overload_tells_when_to_come_back() {
        let response = problem(&ApiError::Overloaded("the queue is full".into()), "/purchase/7");
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }

    #[test]
    fn a_value_without_a_form_in_json_is_an_internal_error() {
        let value = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(json(StatusCode::OK, &value).status(), 500);
    }
}
