//! A response that is written down once, to be sent many times.
//!
//! What differs from request to request (the id, the timing, the date) is put between its two halves.
//! Knows nothing of who sends it.

use bytes::Bytes;
use hyper::header::CONTENT_LENGTH;

use super::reply::Response;
use super::request_context::PREPARED_HEADERS;

/// A response as bytes. Its clones share them.
#[derive(Clone, Debug)]
pub struct SerializedResponse {
    bytes: Bytes,
    head_bytes: usize,
}

impl SerializedResponse {
    /// Writes a response down. Its body must be in memory, as all bodies of handlers are.
    pub fn new(response: Response) -> SerializedResponse {
        let (parts, body) = response.into_parts();
        let body = body.into_inner().unwrap_or_default();
        let mut bytes = Vec::with_capacity(256 + body.len());
        let reason = parts.status.canonical_reason().unwrap_or("");
        bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).as_bytes());
        for (name, value) in &parts.headers {
            header(&mut bytes, name.as_str(), value.as_bytes());
        }
        header(&mut bytes, CONTENT_LENGTH.as_str(), body.len().to_string().as_bytes());
        bytes.extend_from_slice(PREPARED_HEADERS);
        let head_bytes = bytes.len();
        bytes.extend_from_slice(&body);
        SerializedResponse { bytes: bytes.into(), head_bytes }
    }

    /// The status line and the headers, up to where they differ from request to request.
    pub fn head(&self) -> &[u8] {
        &self.bytes[..self.head_bytes]
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The body.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.head_bytes..)
    }

    /// The body, borrowed.
    pub fn body_bytes(&self) -> &[u8] {
        &self.bytes[self.head_bytes..]
    }
}

/// Writes one header line.
pub fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
