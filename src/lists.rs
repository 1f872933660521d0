//! How many lists a node asks for, or makes, at once.
//!
//! A list may be thousands of times as long as a book. Were as many under way as there are customers who want one, a node
//! would be busy with nothing else meanwhile, and they would take as much memory as they like. So the rest wait here, where
//! they cost nothing and are in nobody's way. Those of few items and of many wait apart, for most of the former are short.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ApiError;
use crate::protocol::request::Page;

/// Lists of few items that are under way at once, at most. While they are written, all else waits.
const SHORT_LISTS: usize = 64;

/// Lists of many items that are under way at once, at most.
const LONG_LISTS: usize = 32;

/// Lists of either kind that may wait, at most. A customer who has left may leave a question behind, so connections bound no queue.
const WAITING_LISTS: usize = 4096;

/// A node's lists.
pub struct Lists {
    short: Queue,
    long: Queue,
    patience: Duration,
}

/// Lists of one kind.
struct Queue {
    turns: Semaphore,
    places: Semaphore,
}

impl Queue {
    fn of(turns: usize) -> Queue {
        Queue { turns: Semaphore::new(turns), places: Semaphore::new(WAITING_LISTS) }
    }
}

/// A list's turn, as long as it lasts.
pub struct Turn<'a>(#[expect(dead_code, reason = "it is held, and not looked at")] SemaphorePermit<'a>);

impl Lists {
    /// None is under way yet. Nobody waits longer than `patience`.
    pub fn new(patience: Duration) -> Lists {
        Lists { short: Queue::of(SHORT_LISTS), long: Queue::of(LONG_LISTS), patience }
    }

    /// Waits until `page` may be asked for, or made.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`] if it may not in time, or if too many wait already.
    pub async fn turn(&self, page: &Page) -> Result<Turn<'_>, ApiError> {
        let Queue { turns, places } = if page.limit <= Page::DEFAULT_LIMIT { &self.short } else { &self.long };
        if let Ok(permit) = turns.try_acquire() {
            return Ok(Turn(permit));
        }
        let overloaded = || ApiError::Overloaded("too many lists are asked for".to_owned());
        let _place = places.try_acquire().map_err(|_| overloaded())?;
        match tokio::time::timeout(self.patience, turns.acquire()).await {
            Ok(Ok(permit)) => Ok(Turn(permit)),
            Ok(Err(_)) | Err(_) => Err(overloaded()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(6);

    #[tokio::test(start_paused = true)]
    async fn long_lists_wait_for_each_other_and_short_ones_do_not_wait_for_them() {
        let lists = Lists::new(PATIENCE);
        let (short, long) = (Page { limit: 100, after: 0 }, Page { limit: 1000, after: 0 });
        let mut asked = Vec::new();
        for _ in 0..LONG_LISTS {
            asked.push(lists.turn(&long).await.unwrap());
        }
        assert!(matches!(lists.turn(&long).await, Err(ApiError::Overloaded(_))));
        assert!(futures_util::FutureExt::now_or_never(lists.turn(&short)).is_some());
        let next = lists.turn(&long);
        let answered = async { drop(asked.pop()) };
        assert!(tokio::join!(next, answered).0.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn where_too_many_wait_already_a_list_is_refused_at_once() {
        let lists = Lists::new(PATIENCE);
        let long = Page { limit: 1000, after: 0 };
        let now = |_| futures_util::FutureExt::now_or_never(lists.turn(&long)).unwrap().unwrap();
        let turns: Vec<Turn> = (0..LONG_LISTS).map(now).collect();
        let mut waiting: Vec<_> = (0..WAITING_LISTS).map(|_| Box::pin(lists.turn(&long))).collect();
        for turn in &mut waiting {
            assert!(futures_util::poll!(turn).is_pending());
        }
        let one_more = futures_util::FutureExt::now_or_never(lists.turn(&long));
        assert!(matches!(one_more, Some(Err(ApiError::Overloaded(_)))));
        drop((waiting, turns));
        assert!(lists.turn(&long).await.is_ok());
    }
}
