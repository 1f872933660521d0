//! Sends a write a second time if the catalog could not tell that its key is new.
//!
//! This frontend had then heard of too few decisions. The refusal tells how many there are, and nothing was done: so
//! the same write, with the new number, is as good as a first one.

use std::future::Future;

use crate::cluster::Answered;
use crate::error::ApiError;
use crate::fence::{Decisions, Heard};
use crate::http::client::Reply;
use crate::http::reply;
use crate::purchase::{PurchaseOutcome, PurchaseReply};
use crate::replica::WriteError;

/// An answer that may be this refusal.
pub trait MayBeExpired {
    /// How many decisions there are, if the key could not be told from one that is forgotten.
    fn expired(&self) -> Option<Decisions>;
}

impl MayBeExpired for PurchaseOutcome {
    fn expired(&self) -> Option<Decisions> {
        match self {
            Ok(PurchaseReply::KeyExpired { now }) => Some(*now),
            _ => None,
        }
    }
}

impl MayBeExpired for Reply {
    fn expired(&self) -> Option<Decisions> {
        let expired = ApiError::KeyExpired(String::new());
        let is_expired = self.status == expired.status()
            && reply::problem_slug(&self.body).is_some_and(|slug| slug == expired.slug());
        is_expired.then(|| Decisions::of(&self.headers)).flatten()
    }
}

/// Has `send` send a write, with the number of decisions that its sender has heard of.
///
/// # Errors
/// Those of `send`, which must not bring the refusal of a change as an answer if an earlier attempt may have been carried
/// out. (Of a purchase it may: what was sold is in the order servers' list.)
pub async fn send<A: MayBeExpired, F: Future<Output = Result<Answered<A>, WriteError>>>(
    heard: &Heard,
    send: impl Fn(Decisions) -> F,
) -> Result<Answered<A>, WriteError> {
    let answered = send(heard.so_far()).await?;
    match answered.reply.expired() {
        None => Ok(answered),
        Some(now) => {
            heard.replace(now);
            send(now).await
        }
    }
}
