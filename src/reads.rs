//! A replica's state, as requests may see it: only together with how fresh it is.
//!
//! The handlers of a role have no other way to the state, so whatever they answer from it, found or not found, carries
//! the mark of an answer that may be behind. What only the leader may do is no read, and does not come here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::ApiError;
use crate::http::reply::{self, Response};
use crate::lists::Lists;
use crate::protocol::request::{Page, stale};
use crate::replica::{Application, Freshness, Replica};

/// The state of a replica, for reading.
pub struct Reads<M> {
    replica: Replica,
    application: Arc<M>,
    may_answer_stale: bool,
    lists: Lists,
}

impl<M: Application> Reads<M> {
    /// The state that `replica` keeps in `machine`. `may_answer_stale`: whether reads are answered, and marked, while
    /// the group has no majority. Nobody waits for a list's turn longer than `patience`.
    pub fn new(replica: Replica, application: Arc<M>, may_answer_stale: bool, patience: Duration) -> Reads<M> {
        Reads { replica, application, may_answer_stale, lists: Lists::new(patience) }
    }

    /// Answers the request for `path` from the state, once that shows every write acknowledged before the call.
    ///
    /// `respond` is given the state and what the leader [observed](crate::replica::LeaderService::observe) of
    /// `question`: nothing if the state may be behind, in which case its answer is marked, an error's too.
    ///
    /// # Errors
    /// If nothing may be answered from the state now.
    pub async fn answer(
        &self,
        path: &str,
        question: Bytes,
        respond: impl FnOnce(&M, &Bytes) -> Result<Response, ApiError>,
    ) -> Result<Response, ApiError> {
        let observed = match self.replica.wait_until_current(question).await? {
            Freshness::Current(observed) => Some(observed),
            Freshness::Stale if !self.may_answer_stale => {
                return Err(self.no_majority("and this shop is set to refuse answers that may be stale"));
            }
            Freshness::Stale => match self.application.unfinished() {
                Some(reason) => return Err(ApiError::Unavailable(reason.to_owned())),
                None => None,
            },
        };
        let is_stale = observed.is_none();
        let response = respond(&self.application, &observed.unwrap_or_default());
        let response = response.unwrap_or_else(|error| reply::problem(&error, path));
        Ok(if is_stale { stale(response) } else { response })
    }

    /// As [`answer`](Self::answer), with a page of a list, once it is its turn.
    ///
    /// # Errors
    /// As there; and if its turn does not come.
    pub async fn list(
        &self,
        page: &Page,
        path: &str,
        question: Bytes,
        respond: impl FnOnce(&M, &Bytes) -> Result<Response, ApiError>,
    ) -> Result<Response, ApiError> {
        let _turn = self.lists.turn(page).await?;
        self.answer(path, question, respond).await
    }

    /// Reads what is of use only if the state shows every write acknowledged before the call.
    ///
    /// # Errors
    /// If it may not.
    pub async fn current<T>(&self, read: impl FnOnce(&M) -> T) -> Result<T, ApiError> {
        match self.replica.wait_until_current(Bytes::new()).await? {
            Freshness::Current(_) => Ok(read(&self.application)),
            Freshness::Stale => Err(self.no_majority("so its newest decisions cannot be told")),
        }
    }

    fn no_majority(&self, consequence: &str) -> ApiError {
        ApiError::Unavailable(format!("the {} group has no majority, {consequence}", self.replica.group_name()))
    }
}
