//! What RFC 9110 and RFC 9112 ask of every request, beyond what hyper sees to.
//!
//! Knows no path. The fast path takes only what passes here as well, so both give the same answers.

use hyper::header::{EXPECT, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Version};

use crate::error::ApiError;

/// Checks a request's head.
///
/// # Errors
/// [`ApiError::Malformed`] if it does not say which host it is for, or says it wrongly, or asks for no path;
/// [`ApiError::NotImplemented`] if its body is encoded for transfer in another way than by chunks;
/// [`ApiError::ExpectationFailed`] if it expects anything but `100-continue`.
pub fn check(head: &Parts) -> Result<(), ApiError> {
    let malformed = |what: &str| Err(ApiError::Malformed(what.to_owned()));
    if head.uri.scheme().is_none() && head.uri.authority().is_some() && head.method != Method::CONNECT {
        return malformed("the request's target is an authority, which only CONNECT may name");
    }
    let mut hosts = 0;
    // Headers are few: to look at each costs less than to look for three.
    for (name, value) in &head.headers {
        let says_only = |known: &[u8]| value.as_bytes().trim_ascii().eq_ignore_ascii_case(known);
        match *name {
            HOST => {
                hosts += 1;
                match is_host(value.as_bytes()) {
                    _ if hosts > 1 => return malformed("there are several headers Host"),
                    true => {}
                    false => return malformed("the header Host names no host"),
                }
            }
            TRANSFER_ENCODING if !says_only(b"chunked") => {
                let what = "bodies may come in chunks, and in no other transfer encoding";
                return Err(ApiError::NotImplemented(what.to_owned()));
            }
            EXPECT if !says_only(b"100-continue") => {
                let what = "the header Expect may say 100-continue, and nothing else";
                return Err(ApiError::ExpectationFailed(what.to_owned()));
            }
            _ => {}
        }
    }
    if hosts == 0 && head.version >= Version::HTTP_11 {
        return malformed("the header Host is missing");
    }
    Ok(())
}

/// Whether `value` is a host, perhaps with a port: what the header `Host` may say. It may say nothing.
pub fn is_host(value: &[u8]) -> bool {
    let name = match value.iter().rposition(|byte| *byte == b':') {
        Some(colon) if value[colon + 1..].iter().all(u8::is_ascii_digit) => &value[..colon],
        _ => value,
    };
    match name {
        [b'[', address @ .., b']'] => address.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte)),
        _ => name.iter().all(|byte| IN_HOST[usize::from(*byte)]),
    }
}

/// Whether `target` is a path, perhaps with a query, of which nothing is left to be decided: each part of the server
/// takes it for the same.
pub fn is_plain_target(target: &str) -> bool {
    target.starts_with('/') && target.bytes().all(|byte| IN_TARGET[usize::from(byte)])
}

const IN_HOST: [bool; 256] = table(b"-._~!$&'()*+,;=%");
const IN_TARGET: [bool; 256] = table(b"-._~!$&'()*+,;=%:@/?");

/// Letters, digits and `others`.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut position = 0;
    while position < others.len() {
        table[others[position] as usize] = true;
        position += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in ["", "shop", "shop.example:9000", "127.0.0.1:9000", "[::1]", "[::1]:9000", "xn--bcher-kva.example:"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for text in ["two words", "::1", "user@shop", "shop/path", "shop:port", "a:1:2", "bücher", "[::1", "<", "a,b c"]
        {
            assert!(!is_host(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_plain_target_starts_with_a_slash_and_holds_nothing_odd() {
        for target in ["/", "/info/1", "/search/a%20b?limit=1&after=2", "/search/o'brien,(x)"] {
            assert!(is_plain_target(target), "{target}");
        }
        for target in ["", "*", "info/1", "/search/c#", "/a?lim<t", "/ü", "http://shop/info/1"] {
            assert!(!is_plain_target(target), "{target}");
        }
    }
}
