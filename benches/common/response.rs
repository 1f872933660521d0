//! Where an HTTP/1.1 answer ends: its status and its length, and nothing else.
//!
//! A load generator that understood all of HTTP would measure itself. This one reads the status line and the three
//! header fields that say how long the answer is and whether the connection stays open. It takes bytes and knows no
//! sockets. Bodies that end with the connection are not understood: no server that is measured sends them.

use anyhow::{Context as _, Result, bail, ensure};

const HEAD_END: &[u8] = b"\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";

/// A head or a chunk's size line that is longer than this is not HTTP.
const LONGEST_HEAD_BYTES: usize = 64 * 1024;

/// A whole answer at the beginning of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Bytes of status line and header fields, with the empty line.
    pub head_bytes: usize,
    /// Bytes of all of it.
    pub total_bytes: usize,
    /// Whether the next request may use the same connection.
    pub keeps_open: bool,
    is_chunked: bool,
}

/// The answer that the buffer begins with, or nothing if its end has not arrived yet.
pub fn parse(buffer: &[u8]) -> Result<Option<Answer>> {
    let Some(end) = find(buffer, HEAD_END) else {
        ensure!(buffer.len() <= LONGEST_HEAD_BYTES, "an answer's head is longer than {LONGEST_HEAD_BYTES} bytes");
        return Ok(None);
    };
    let head_bytes = end + HEAD_END.len();
    let head = &buffer[..head_bytes];
    let status = parse_status(head)?;
    let is_chunked = header(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let has_no_body = matches!(status, 100..200 | 204 | 304);
    let total_bytes = if has_no_body {
        Some(head_bytes)
    } else if is_chunked {
        chunks_end(buffer, head_bytes)?
    } else {
        let length = header(head, "content-length").context("an answer has neither Content-Length nor chunks")?;
        let length: usize = length.parse().with_context(|| format!("{length:?} is no Content-Length"))?;
        Some(head_bytes + length).filter(|total_bytes| *total_bytes <= buffer.len())
    };
    let keeps_open = !header(head, "connection").is_some_and(|option| option.eq_ignore_ascii_case("close"));
    Ok(total_bytes.map(|total_bytes| Answer { status, head_bytes, total_bytes, keeps_open, is_chunked }))
}

impl Answer {
    /// The body of this answer, which `buffer` begins with.
    pub fn body(&self, buffer: &[u8]) -> Vec<u8> {
        if !self.is_chunked {
            return buffer[self.head_bytes..self.total_bytes].to_vec();
        }
        let mut body = Vec::new();
        let mut position = self.head_bytes;
        while let Ok(Some((start, size @ 1..))) = chunk(buffer, position) {
            body.extend_from_slice(&buffer[start..start + size]);
            position = start + size + LINE_END.len();
        }
        body
    }
}

/// The value of a header field in a head, whose name is given in any case.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let mut lines = head.split(|byte| *byte == b'\n').skip(1);
    let value = lines.find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        found.eq_ignore_ascii_case(name.as_bytes()).then_some(value.strip_prefix(b":")?)
    });
    std::str::from_utf8(value?).ok().map(str::trim)
}

fn parse_status(head: &[u8]) -> Result<u16> {
    let status = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match status {
        Some(status) => Ok(status),
        None => bail!("an answer begins with {:?}", String::from_utf8_lossy(&head[..head.len().min(40)])),
    }
}

/// Where the last chunk ends, trailer fields included.
fn chunks_end(buffer: &[u8], mut position: usize) -> Result<Option<usize>> {
    while let Some((start, size)) = chunk(buffer, position)? {
        if size == 0 {
            // The size line of the last chunk ends the trailer's empty line if there are no trailer fields.
            let trailer = start - LINE_END.len();
            return Ok(find(&buffer[trailer..], HEAD_END).map(|end| trailer + end + HEAD_END.len()));
        }
        position = start + size + LINE_END.len();
    }
    Ok(None)
}

/// Where the content of the chunk at `position` starts and its size, once its size line has arrived.
fn chunk(buffer: &[u8], position: usize) -> Result<Option<(usize, usize)>> {
    let Some(rest) = buffer.get(position..) else { return Ok(None) };
    let Some(end) = find(rest, LINE_END) else {
        ensure!(rest.len() <= LONGEST_HEAD_BYTES, "a chunk's size is longer than {LONGEST_HEAD_BYTES} bytes");
        return Ok(None);
    };
    let line = String::from_utf8_lossy(&rest[..end]);
    let size = line.split(';').next().unwrap_or_default().trim();
    let size = usize::from_str_radix(size, 16).with_context(|| format!("{size:?} is no size of a chunk"))?;
    Ok(Some((position + end + LINE_END.len(), size)))
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
