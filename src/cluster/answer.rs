//! What a group is asked, and what an answer says: about a write, and how good it is for a read.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};

use crate::certainty::{Certain, Certainty};
use crate::error::ApiError;
use crate::http::client::{Reply, Request};
use crate::http::reply;
use crate::http::server::X_REQUEST_ID;
use crate::protocol::request::CONSISTENCY;
use crate::replica::WriteError;

/// A request that can be sent more than once.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The path and query.
    pub path: String,
    /// Headers that go along.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Ask {
    /// A GET.
    pub fn get(path: String) -> Ask {
        Ask { method: Method::GET, path, headers: Vec::new(), body: Bytes::new() }
    }

    /// A POST that may be repeated without harm.
    pub fn post(path: String, body: Bytes) -> Ask {
        Ask { method: Method::POST, path, headers: Vec::new(), body }
    }

    /// The same, as a part of what the request of this id asks for.
    pub fn under(mut self, request_id: Option<HeaderValue>) -> Ask {
        self.headers.extend(request_id.map(|id| (X_REQUEST_ID, id)));
        self
    }

    pub(super) fn request(&self) -> Request {
        let request = Request::new(self.method.clone(), self.path.clone(), self.body.clone());
        self.headers.iter().fold(request, |request, (name, value)| request.header(name.clone(), value.clone()))
    }
}

/// An answer and who gave it.
pub struct Answered<A = Reply> {
    /// The replica's name.
    pub by: String,
    /// What it answered.
    pub reply: A,
}

impl Certain for Reply {
    fn certainty(&self) -> Certainty {
        let for_all = [ApiError::Overloaded(String::new()).slug(), ApiError::NoRoom.slug()];
        let is_overload = || reply::problem_slug(&self.body).is_none_or(|slug| for_all.contains(&&*slug));
        match Certainty::of_status(self.status) {
            Certainty::NotDone if is_overload() => Certainty::Overloaded,
            certainty => certainty,
        }
    }
}

/// Why a reply holds no answer to a write.
pub fn no_answer(reply: &Reply) -> WriteError {
    let what = format!("{}: {}", reply.status, reply::problem_detail(&reply.body).trim_end());
    match reply.certainty() {
        Certainty::NotDone => WriteError::Unavailable(what),
        Certainty::Overloaded => WriteError::Overloaded(what),
        Certainty::Decided | Certainty::Unknown => WriteError::Unknown(what),
    }
}

/// How good an answer to a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It says only why there is none.
    Excuse,
    /// It may be behind.
    Stale,
    /// It is current.
    Current,
}

impl Answered {
    pub(super) fn rank(&self) -> Rank {
        match self.reply.headers.contains_key(CONSISTENCY) {
            _ if self.reply.status.is_server_error() => Rank::Excuse,
            true => Rank::Stale,
            false => Rank::Current,
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn what_is_passed_on_of_a_refusal_names_no_path_between_nodes() {
        let body =
            r#"{"type":"/problems/unavailable","title":"Not now","detail":"no leader","instance":"/internal/x"}"#;
        let (status, headers) = (StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new());
        let refusal = no_answer(&Reply { status, headers, body: body.into() });
        assert_eq!(refusal, WriteError::Unavailable("503 Service Unavailable: no leader".to_owned()));
    }
}
