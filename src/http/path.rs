//! Takes apart what a request names: the segments of its path and the numbers in its query.
//!
//! Segments are percent-decoded one by one, so an encoded slash stays inside its segment. A first
//! segment `api` is dropped: every path also answers below `/api`. One slash at the end means nothing;
//! other empty segments are segments. Knows no route.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// A path, decoded.
#[derive(Default)]
pub struct Path<'a>(Vec<Cow<'a, str>>);

impl<'a> Path<'a> {
    /// Decodes a path as it stands in the request line, without its query.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] where the percent-encoding is broken or does not encode UTF-8; [`ApiError::UnknownPath`] for
    /// another spelling of `/internal/…`, by which a proxy that keeps customers from such paths would be passed.
    pub fn parse(path: &'a str) -> Result<Self, ApiError> {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return Ok(Path(Vec::new()));
        }
        let mut segments = inner.split('/').peekable();
        segments.next_if_eq(&"api");
        let segments = segments.map(decode).collect::<Result<Vec<_>, _>>()?;
        match segments.first() {
            Some(first) if first == "internal" && !path.starts_with("/internal/") => Err(ApiError::UnknownPath),
            _ => Ok(Path(segments)),
        }
    }

    /// The segment at `position`; nothing if there are fewer.
    pub fn segment(&self, position: usize) -> &str {
        self.0.get(position).map_or("", AsRef::as_ref)
    }

    /// The segments, to be matched: `match path.segments()[..] { ["info", id] => …, _ => … }`.
    pub fn segments(&self) -> Vec<&str> {
        self.0.iter().map(AsRef::as_ref).collect()
    }
}

/// A query string. Parameters that nobody asks for are ignored; of one that is repeated, the first counts.
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Takes the query as it stands in the request line, if there is one.
    pub fn parse(query: Option<&'a str>) -> Self {
        Query(query.unwrap_or(""))
    }

    /// The parameter `name` as a number, or `default` where it is missing.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if it is no number, [`ApiError::Invalid`] if it is outside `range`.
    pub fn number(&self, name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, ApiError> {
        let mut parameters = self.0.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        let Some((_, text)) = parameters.find(|(candidate, _)| *candidate == name) else {
            return Ok(default);
        };
        let value = number(text).map_err(|error| ApiError::Malformed(format!("parameter {name}: {error}")))?;
        if range.contains(&value) {
            Ok(value)
        } else {
            let (least, most) = range.into_inner();
            Err(ApiError::Invalid(format!("parameter {name} is a number from {least} to {most}")))
        }
    }
}

/// A number as it stands in a path, such as an id: decimal digits alone.
///
/// # Errors
/// [`ApiError::Malformed`] if it is anything else, or more than 64 bits hold.
pub fn number(text: &str) -> Result<u64, ApiError> {
    // `parse` alone would take a leading plus.
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_digits.then(|| text.parse()) {
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => Err(ApiError::Malformed(format!("{text} is too great a number"))),
        None => Err(ApiError::Malformed(format!("{text:?} is not a whole number"))),
    }
}

fn decode(segment: &str) -> Result<Cow<'_, str>, ApiError> {
    // The decoder passes a broken escape on as it is; two clients would then name one thing differently.
    let is_escape = |tail: &str| tail.len() >= 2 && tail.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let broken = !segment.split('%').skip(1).all(is_escape);
    if broken {
        return Err(ApiError::Malformed(format!("{segment:?} has a % that is not followed by two hexadecimal digits")));
    }
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| ApiError::Malformed(format!("{segment:?} does not decode to UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        Path::parse(path).unwrap().segments().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_path_is_matched_by_its_segments() {
        let path = Path::parse("/info/7").unwrap();
        let id = match path.segments()[..] {
            ["info", id] => id,
            _ => panic!("no match"),
        };
        assert_eq!(number(id), Ok(7));
    }

    #[test]
    fn the_root_has_no_segments() {
        for path in ["/", "", "/api", "/api/"] {
            assert!(segments(path).is_empty(), "{path}");
        }
    }

    #[test]
    fn one_leading_api_is_dropped_and_only_whole() {
        assert_eq!(segments("/api/info/7"), ["info", "7"]);
        assert_eq!(segments("/api/api/7"), ["api", "7"]);
        assert_eq!(segments("/apiary/7"), ["apiary", "7"]);
        assert_eq!(segments("/search/api"), ["search", "api"]);
    }

    #[test]
    fn one_slash_at_the_end_means_nothing() {
        assert_eq!(segments("/info/7/"), ["info", "7"]);
        assert_eq!(segments("/info/7//"), ["info", "7", ""]);
        assert_eq!(segments("/info//7"), ["info", "", "7"]);
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        assert_eq!(segments("/search/distributed%20systems"), ["search", "distributed systems"]);
        assert_eq!(segments("/search/input%2Foutput"), ["search", "input/output"]);
        assert_eq!(segments("/search/%D8%B4%D8%B9%D8%B1"), ["search", "شعر"]);
        assert_eq!(segments("/search/a+b"), ["search", "a+b"]);
    }

    #[test]
    fn broken_encoding_is_malformed() {
        for path in ["/a%", "/a%2", "/a%zz", "/a%%20", "/a%+1", "/a%FF"] {
            assert!(matches!(Path::parse(path), Err(ApiError::Malformed(_))), "{path}");
        }
    }

    #[test]
    fn what_nodes_say_to_each_other_has_one_spelling() {
        assert_eq!(segments("/internal/cache/announce"), ["internal", "cache", "announce"]);
        assert_eq!(segments("/search/internal"), ["search", "internal"]);
        for path in ["/api/internal/cache", "/%69nternal/cache", "/api/%69nternal/cache", "internal/cache", "/internal"]
        {
            assert_eq!(Path::parse(path).err(), Some(ApiError::UnknownPath), "{path}");
        }
    }

    #[test]
    fn a_number_is_digits_alone() {
        assert_eq!(number("0"), Ok(0));
        assert_eq!(number("18446744073709551615"), Ok(u64::MAX));
        for text in ["", "-1", "+1", "1.0", "seven", " 1", "18446744073709551616"] {
            assert!(matches!(number(text), Err(ApiError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_a_number_in_its_range_or_its_default() {
        let query = Query::parse(Some("after=5&limit=20&limit=30&other=x&flag"));
        assert_eq!(query.number("limit", 10, 1..=100), Ok(20));
        assert_eq!(query.number("after", 0, 0..=u64::MAX), Ok(5));
        assert_eq!(query.number("missing", 10, 1..=100), Ok(10));
        assert_eq!(Query::parse(None).number("limit", 10, 1..=100), Ok(10));
        assert!(matches!(query.number("limit", 10, 1..=19), Err(ApiError::Invalid(_))));
        assert!(matches!(query.number("other", 10, 1..=100), Err(ApiError::Malformed(_))));
        assert!(matches!(query.number("flag", 10, 1..=100), Err(ApiError::Malformed(_))));
    }
}
