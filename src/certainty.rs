//! Did it happen? What is known of a request, in the same words on every layer.

use hyper::StatusCode;

/// What is known of a request that was sent or was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It was decided; the answer says how.
    Decided,
    /// It was certainly not done. Another server, or this one later, may do it.
    NotDone,
    /// It was certainly not done: there is too much to do or to remember, which asking others would not change, or
    /// make worse.
    Overloaded,
    /// It may have been done, or may still be.
    Unknown,
}

impl Certainty {
    /// What this status says, whoever answered. Only what cannot follow an attempt is certain.
    pub fn of_status(status: StatusCode) -> Certainty {
        match status {
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE => Certainty::NotDone,
            _ if status.is_success() || status.is_client_error() => Certainty::Decided,
            _ => Certainty::Unknown,
        }
    }

    /// Whether it was certainly not done, and may be asked for anew.
    pub fn is_not_done(self) -> bool {
        match self {
            Certainty::NotDone | Certainty::Overloaded => true,
            Certainty::Decided | Certainty::Unknown => false,
        }
    }
}

/// What says whether a request was carried out: an answer, or why there is none.
pub trait Certain {
    /// What it says.
    fn certainty(&self) -> Certainty;
}

impl<T, E: Certain> Certain for Result<T, E> {
    fn certainty(&self) -> Certainty {
        self.as_ref().map_or_else(Certain::certainty, |_| Certainty::Decided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_no_node_gives_leaves_the_outcome_open() {
        assert_eq!(Certainty::of_status(StatusCode::CREATED), Certainty::Decided);
        for strange in [StatusCode::BAD_GATEWAY, StatusCode::FOUND, StatusCode::CONTINUE] {
            assert_eq!(Certainty::of_status(strange), Certainty::Unknown);
        }
    }
}
