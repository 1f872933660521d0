//! Sends a write a second time if the catalog could not tell that its key is new.
//!
//! This frontend had then heard of too few decisions. The refusal tells how many there are, and nothing was done: so
//! the same write, with the new number, is as good as a first one.

use std::future::Future;

use crate::cluster::Answered;
use crate::error::ApiError;
use crate::http::client::Reply;
use crate::http::reply;
use crate::protocol::fence::{Decisions, Heard};
use crate::protocol::purchase::{PurchaseOutcome, PurchaseReply};
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::BodyExt;
    use hyper::StatusCode;

    use super::*;
    use crate::protocol::fence::DECISIONS;

    const NOW: Decisions = Decisions { ledger: 70, keyless: 3 };

    /// A catalog that tells a key that is new only from a sender that has heard of everything.
    async fn catalog(said: &Mutex<Vec<Decisions>>, heard: Decisions) -> Result<Answered<PurchaseOutcome>, WriteError> {
        said.lock().unwrap().push(heard);
        let reply = if heard == NOW { PurchaseReply::UnknownBook } else { PurchaseReply::KeyExpired { now: NOW } };
        Ok(Answered { by: "catalog-1".to_owned(), reply: Ok(reply) })
    }

    #[tokio::test]
    async fn a_write_whose_sender_had_heard_too_little_is_sent_once_more_with_what_there_is() {
        let (heard, said) = (Heard::default(), Mutex::default());
        for _ in 0..2 {
            let answered = send(&heard, |heard| catalog(&said, heard)).await.unwrap();
            assert!(matches!(answered.reply, Ok(PurchaseReply::UnknownBook)));
        }
        assert_eq!(*said.lock().unwrap(), [Decisions::default(), NOW, NOW]);
    }

    #[tokio::test]
    async fn a_write_is_sent_a_second_time_at_most() {
        let (heard, said) = (Heard::default(), Mutex::new(0));
        let refuse = |_| {
            *said.lock().unwrap() += 1;
            async { Ok(Answered { by: "catalog-1".to_owned(), reply: Ok(PurchaseReply::KeyExpired { now: NOW }) }) }
        };
        let answered: Answered<PurchaseOutcome> = send(&heard, refuse).await.unwrap();
        assert!(matches!(answered.reply, Ok(PurchaseReply::KeyExpired { .. })));
        assert_eq!(*said.lock().unwrap(), 2);
    }

    #[tokio::test]
    async fn only_the_refusal_of_a_key_says_that_it_may_be_sent_once_more() {
        for (error, expired) in
            [(ApiError::KeyExpired(String::new()), Some(NOW)), (ApiError::SoldOut(String::new()), None)]
        {
            let headers = [(DECISIONS, NOW.header())].into_iter().collect();
            let body = reply::problem(&error, "/books").into_body().collect().await.unwrap().to_bytes();
            let refusal = Reply { status: error.status(), headers, body };
            assert_eq!(refusal.expired(), expired);
            assert_eq!(Reply { status: StatusCode::OK, ..refusal }.expired(), None);
        }
    }
}
