//! Requests as bytes, written before a run.

use serde_json::Value;

/// A request, as `GET /info/7`, with a JSON body if there is one.
pub fn request(line: &str, body: Option<&Value>) -> Vec<u8> {
    request_with(line, &[], body)
}

/// A request with further header fields.
pub fn request_with(line: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Vec<u8> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut head = format!("{line} HTTP/1.1\r\nhost: bench\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += "content-type: application/json\r\n";
    }
    if !line.starts_with("GET ") {
        head += &format!("content-length: {}\r\n", body.len());
    }
    (head + "\r\n" + &body).into_bytes()
}
