//! What a client can be told is wrong, and the one table from each of these to its HTTP status.
//!
//! Handlers return these errors and know no status; [`crate::http::reply::problem`] shows them. It
//! knows nothing of what the server tells itself: other errors become one of these where they end.

use hyper::StatusCode;

/// How long a client should wait before it tries again after an error that passes, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// The same where room comes back as what was decided a day ago is forgotten, in seconds.
const RETRY_WITHOUT_ROOM_AFTER_S: u32 = 3600;

/// An error as a client sees it. The texts are the details for people to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request cannot be understood.
    #[error("{0}")]
    Malformed(String),
    /// No such path, whatever the method.
    #[error("there is nothing at this path")]
    UnknownPath,
    /// The path is right, but the thing that it names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The path is right, but not with this method.
    #[error("this path answers only to {allow}")]
    MethodNotAllowed {
        /// The methods that are allowed, in the form of the `Allow` header: `GET, PUT`.
        allow: &'static str,
    },
    /// The stock does not allow it.
    #[error("{0}")]
    SoldOut(String),
    /// It does not agree with what is there.
    #[error("{0}")]
    Conflict(String),
    /// It is meant for another node than this one.
    #[error("{0}")]
    Misdirected(String),
    /// The body is longer than the server reads.
    #[error("the body may have at most {limit_bytes} bytes")]
    BodyTooLarge {
        /// The longest body that is read.
        limit_bytes: usize,
    },
    /// The request line and the headers are longer than the server reads, or more in number.
    #[error("the request line and the headers are longer, or the headers more, than this server reads")]
    HeaderTooLarge,
    /// The request asks for something before its body that the server does not do.
    #[error("{0}")]
    ExpectationFailed(String),
    /// The request is sent in a way that the server does not know.
    #[error("{0}")]
    NotImplemented(String),
    /// The body is of a kind that is not understood here.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// Well formed, but with a value that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The `Idempotency-Key` was used before, for another request.
    #[error("{0}")]
    KeyReused(String),
    /// The `Idempotency-Key` is not known, but may be among those that are forgotten. Nothing was done.
    #[error("{0}")]
    KeyExpired(String),
    /// The client did not send its request in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// More is asked than can be done now. Nothing was done.
    #[error("{0}")]
    Overloaded(String),
    /// It could not be remembered, as all is that is decided under a client's key. Nothing was done.
    #[error("too much was refused or changed within a day under the keys of clients")]
    NoRoom,
    /// It cannot be done now. Nothing was done.
    #[error("{0}")]
    Unavailable(String),
    /// It may have been done or not, or may still be. Never to be taken for a failure.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// The server is at fault.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// The status that tells a program what kind of error it is.
    pub fn status(&self) -> StatusCode {
        self.entry().0
    }

    /// The name of the kind of error, which ends its problem type.
    pub fn slug(&self) -> &'static str {
        self.entry().1
    }

    /// The kind of error in words, the same for all errors of the kind.
    pub fn title(&self) -> &'static str {
        self.entry().2
    }

    /// After how many seconds the same request may succeed; nothing where waiting alone does not help.
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            ApiError::Overloaded(_) | ApiError::Unavailable(_) | ApiError::KeyExpired(_) => Some(RETRY_AFTER_S),
            ApiError::NoRoom => Some(RETRY_WITHOUT_ROOM_AFTER_S),
            _ => None,
        }
    }

    fn entry(&self) -> (StatusCode, &'static str, &'static str) {
        use ApiError::*;
        match self {
            Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "The request is malformed"),
            UnknownPath => (StatusCode::NOT_FOUND, "unknown-path", "Unknown path"),
            NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            MethodNotAllowed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed here")
            }
            SoldOut(_) => (StatusCode::CONFLICT, "sold-out", "Sold out"),
            Conflict(_) => (StatusCode::CONFLICT, "conflict", "Conflict with what is there"),
            Misdirected(_) => (StatusCode::MISDIRECTED_REQUEST, "misdirected", "Meant for another node"),
            BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            HeaderTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header-too-large", "The header is too large")
            }
            ExpectationFailed(_) => {
                (StatusCode::EXPECTATION_FAILED, "expectation-failed", "The expectation cannot be met")
            }
            NotImplemented(_) => {
                (StatusCode::NOT_IMPLEMENTED, "not-implemented", "The request's form is not known here")
            }
            UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body's media type is not supported")
            }
            Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "A value is invalid"),
            KeyReused(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The Idempotency-Key belongs to another request")
            }
            KeyExpired(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "key-expired",
                "Whether the key is new cannot be told yet: this attempt changed nothing",
            ),
            RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request-timeout", "The request took too long to arrive"),
            Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too busy: this attempt changed nothing"),
            NoRoom => (
                StatusCode::SERVICE_UNAVAILABLE,
                "no-room",
                "It could not be remembered under this key: this attempt changed nothing",
            ),
            Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible now: this attempt changed nothing")
            }
            OutcomeUnknown(_) => (
                StatusCode::GATEWAY_TIMEOUT,
                "outcome-unknown",
                "It may or may not have been done: ask again with the same Idempotency-Key",
            ),
            Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certainty::Certainty;

    #[test]
    fn only_errors_after_which_nothing_was_done_invite_to_try_again_later() {
        assert_eq!(ApiError::Overloaded(String::new()).retry_after_s(), Some(1));
        assert_eq!(ApiError::Unavailable(String::new()).retry_after_s(), Some(1));
        assert_eq!(ApiError::NoRoom.retry_after_s(), Some(3600));
        assert_eq!(ApiError::OutcomeUnknown(String::new()).retry_after_s(), None);
        assert_eq!(ApiError::SoldOut(String::new()).retry_after_s(), None);
    }

    /// An error of each kind, and what its status must say of the request.
    fn kinds() -> Vec<(ApiError, Certainty)> {
        use ApiError::*;
        use Certainty::{Decided, NotDone, Unknown};
        let text = String::new;
        let kinds = vec![
            (Malformed(text()), Decided),
            (UnknownPath, Decided),
            (NotFound(text()), Decided),
            (MethodNotAllowed { allow: "GET" }, Decided),
            (SoldOut(text()), Decided),
            (Conflict(text()), Decided),
            (BodyTooLarge { limit_bytes: 1 }, Decided),
            (UnsupportedMediaType(text()), Decided),
            (Invalid(text()), Decided),
            (KeyReused(text()), Decided),
            (KeyExpired(text()), NotDone),
            (Misdirected(text()), NotDone),
            (RequestTimeout, NotDone),
            (Overloaded(text()), NotDone),
            (NoRoom, NotDone),
            (Unavailable(text()), NotDone),
            (OutcomeUnknown(text()), Unknown),
            (Internal(text()), Unknown),
            (HeaderTooLarge, Decided),
            (ExpectationFailed(text()), Decided),
            (NotImplemented(text()), Unknown),
        ];
        // A new kind must be entered above.
        for (kind, _) in &kinds {
            match kind {
                Malformed(_) | UnknownPath | NotFound(_) | MethodNotAllowed { .. } | SoldOut(_) | Conflict(_) => {}
                BodyTooLarge { .. } | UnsupportedMediaType(_) | Invalid(_) | KeyReused(_) | KeyExpired(_) => {}
                RequestTimeout | Overloaded(_) | NoRoom | Unavailable(_) | OutcomeUnknown(_) | Internal(_) => {}
                HeaderTooLarge | ExpectationFailed(_) | NotImplemented(_) | Misdirected(_) => {}
            }
        }
        kinds
    }

    #[test]
    fn each_status_says_whether_the_request_may_have_been_carried_out() {
        for (kind, certainty) in kinds() {
            assert_eq!(Certainty::of_status(kind.status()), certainty, "{kind:?}");
        }
    }

    #[test]
    fn an_unknown_outcome_shares_its_status_with_no_other_error() {
        let of_unknown = |(kind, _): &(ApiError, Certainty)| kind.status() == StatusCode::GATEWAY_TIMEOUT;
        let kinds: Vec<_> = kinds().into_iter().filter(of_unknown).collect();
        assert!(matches!(kinds[..], [(ApiError::OutcomeUnknown(_), Certainty::Unknown)]), "{kinds:?}");
    }
}
