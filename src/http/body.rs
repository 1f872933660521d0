//! Reads request bodies, with an end to their size and to the wait for them.
//!
//! Knows no message: what a body must say is the type that it is read into.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::{self, Body, Frame, SizeHint};
use hyper::header::CONTENT_TYPE;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use super::budget::{self, Budget, Taken, UNIT_BYTES, UNSENT, UNSENT_BY_CUSTOMERS};
use super::io_timeout::IoTimeout;
use crate::error::ApiError;

/// What a connection holds while a body on it is not whole, in bytes, besides the body: what was read and is not taken yet.
const CONNECTION_BUFFERS_BYTES: usize = 128 << 10;

/// A request's body as its handler gets it: whole, or as it comes.
pub type Incoming = Either<Full<Bytes>, Arriving>;

/// A body as it comes. While more of it is waited for, the connection's [`IoTimeout`] knows that its peer has the turn.
pub struct Arriving {
    body: body::Incoming,
    io_timeout: Arc<IoTimeout>,
}

impl Arriving {
    /// Tells `io_timeout` of waits for `body`.
    pub(super) fn new(body: body::Incoming, io_timeout: Arc<IoTimeout>) -> Arriving {
        Arriving { body, io_timeout }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Pending => self.io_timeout.awaits_body(),
            Poll::Ready(_) => self.io_timeout.has_body(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.io_timeout.has_body();
    }
}

/// Reads a body whose request is handled only once it is there.
///
/// # Errors
/// As [`read`].
pub async fn gather(body: Arriving, limit_bytes: usize, deadline: Duration) -> Result<Incoming, ApiError> {
    match body.is_end_stream() {
        true => Ok(Either::Left(Full::default())),
        false => read(Either::Right(body), limit_bytes, deadline).await.map(|whole| Either::Left(Full::new(whole))),
    }
}

/// Reads a whole body.
///
/// # Errors
/// [`ApiError::BodyTooLarge`] if it is, or is announced to be, longer than `limit_bytes`;
/// [`ApiError::RequestTimeout`] if it is not there after `deadline`; [`ApiError::Malformed`] if the
/// client breaks off; [`ApiError::Overloaded`] if too much is on its way already.
pub async fn read(body: Incoming, limit_bytes: usize, deadline: Duration) -> Result<Bytes, ApiError> {
    within(body, limit_bytes, deadline, async |body| collect(body, &UNSENT_BY_CUSTOMERS).await).await
}

/// Reads a whole body that another node sends, within what all of them have sent so far of others, and count until nobody
/// holds them any more.
///
/// # Errors
/// As [`read`].
pub async fn read_from_node(body: Incoming, limit_bytes: usize, deadline: Duration) -> Result<Bytes, ApiError> {
    within(body, limit_bytes, deadline, async |body| collect(body, &UNSENT).await).await
}

async fn within(
    body: Incoming,
    limit_bytes: usize,
    deadline: Duration,
    collect: impl AsyncFnOnce(Limited<Incoming>) -> Result<Bytes, Broken>,
) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(ApiError::BodyTooLarge { limit_bytes });
    }
    let mut whole = std::pin::pin!(collect(Limited::new(body, limit_bytes)));
    // Most are short and here already: they need no timer.
    let read = match futures_util::poll!(&mut whole) {
        Poll::Ready(read) => Ok(read),
        Poll::Pending => tokio::time::timeout(deadline, whole).await,
    };
    match read {
        Err(_) => Err(ApiError::RequestTimeout),
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(Broken::Refused(error))) => Err(error),
        Ok(Err(Broken::Off(error))) if error.is::<LengthLimitError>() => Err(ApiError::BodyTooLarge { limit_bytes }),
        Ok(Err(Broken::Off(_))) => {
            Err(ApiError::Malformed("the body broke off, or is not encoded as its header says".to_owned()))
        }
    }
}

/// Why a body is not there.
enum Broken {
    Off(Box<dyn Error + Send + Sync>),
    Refused(ApiError),
}

/// Reads a body into one piece. What is not whole at the first look is copied, for a frame keeps all that was read together
/// with it, and counted, with what its connection holds besides.
async fn collect(mut body: Limited<Incoming>, budget: &'static Budget) -> Result<Bytes, Broken> {
    let Some(mut first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    let (mut whole, mut counted): (BytesMut, Vec<Taken>) = (BytesMut::new(), Vec::new());
    let second = {
        let mut second = std::pin::pin!(next(&mut body));
        match futures_util::poll!(&mut second) {
            Poll::Ready(second) => second?,
            Poll::Pending => {
                counted.push(budget.take(first.len() + CONNECTION_BUFFERS_BYTES).map_err(Broken::Refused)?);
                whole.extend_from_slice(&std::mem::take(&mut first));
                second.await?
            }
        }
    };
    let Some(mut more) = second else {
        return Ok(if whole.is_empty() { first } else { budget::attach(counted, whole.freeze()) });
    };
    whole.extend_from_slice(&std::mem::take(&mut first));
    let mut uncounted_bytes = 0;
    loop {
        uncounted_bytes += more.len();
        if uncounted_bytes >= UNIT_BYTES {
            counted.push(budget.take(uncounted_bytes).map_err(Broken::Refused)?);
            uncounted_bytes = 0;
        }
        whole.extend_from_slice(&more);
        match next(&mut body).await? {
            Some(another) => more = another,
            None => return Ok(budget::attach(counted, whole.freeze())),
        }
    }
}

/// The next piece that is data.
async fn next(body: &mut Limited<Incoming>) -> Result<Option<Bytes>, Broken> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Broken::Off)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads a value from a JSON object. A body without a `Content-Type` is taken for JSON.
///
/// # Errors
/// [`ApiError::UnsupportedMediaType`] if the body claims to be something else;
/// [`ApiError::Malformed`] if it is not JSON; [`ApiError::Invalid`] if it is, but not such a value.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    if let Some(media_type) = headers.get(CONTENT_TYPE) {
        let essence = media_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        if !essence.trim_ascii().eq_ignore_ascii_case(b"application/json") {
            return Err(ApiError::UnsupportedMediaType(format!(
                "the body is {}: send JSON with the header Content-Type: application/json",
                String::from_utf8_lossy(essence)
            )));
        }
    }
    // serde would take the fields of a struct from an array too, by their positions, and call the struct by its name.
    if !body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Err(ApiError::Invalid("the body has a wrong value: it is not an object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => ApiError::Invalid(format!("the body has a wrong value: {error}")),
        Category::Syntax | Category::Eof | Category::Io => {
            ApiError::Malformed(format!("the body is not JSON: {error}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Change {
        price: u64,
    }

    fn parse(media_type: Option<&'static str>, body: &str) -> Result<Change, ApiError> {
        let headers = media_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value)));
        json(&headers.into_iter().collect(), body.as_bytes())
    }

    #[test]
    fn json_is_read_with_its_media_type_or_without_any() {
        for media_type in [None, Some("application/json"), Some("Application/JSON ; charset=utf-8")] {
            assert_eq!(parse(media_type, r#"{"price":65}"#), Ok(Change { price: 65 }));
        }
    }

    #[test]
    fn another_media_type_is_refused_with_the_right_one() {
        let refusal = parse(Some("application/x-www-form-urlencoded"), r#"{"price":65}"#);
        assert!(matches!(&refusal, Err(ApiError::UnsupportedMediaType(hint)) if hint.contains("application/json")));
    }

    #[test]
    fn broken_json_is_malformed_and_says_where() {
        for body in ["", "{\"price\":", "{\"price\":65}}", "price=65"] {
            assert!(
                matches!(parse(None, body), Err(ApiError::Malformed(detail)) if detail.contains("line 1 column")),
                "{body}"
            );
        }
    }

    #[test]
    fn json_of_another_shape_is_invalid() {
        for body in ["{}", "[]", "[65]", r#"{"price":"65"}"#, r#"{"price":-1}"#] {
            assert!(matches!(parse(None, body), Err(ApiError::Invalid(_))), "{body}");
        }
    }
}
