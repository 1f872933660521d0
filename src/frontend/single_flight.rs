//! Single flight: identical questions that are asked at the same time share one answer.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;

type Flight<V> = Shared<BoxFuture<'static, Option<V>>>;

/// Questions under way. Cheap to clone.
#[derive(Clone)]
pub struct SingleFlights<K, V: Clone> {
    under_way: Arc<Mutex<HashMap<K, Flight<V>>>>,
}

impl<K, V: Clone> Default for SingleFlights<K, V> {
    fn default() -> Self {
        SingleFlights { under_way: Arc::default() }
    }
}

impl<K, V> SingleFlights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer to `key`, and whether it is that of a question that was under way before; otherwise
    /// it is what `ask` brings.
    ///
    /// The question runs to its end whoever leaves. `None` only if it panicked, in a build in which
    /// that does not end the process.
    pub async fn share(&self, key: K, ask: impl Future<Output = V> + Send + 'static) -> Option<(V, bool)> {
        let (flight, was_under_way) = {
            let mut under_way = self.under_way.lock();
            match under_way.get(&key) {
                Some(flight) => (flight.clone(), true),
                None => {
                    let (single_flights, landed) = (self.under_way.clone(), key.clone());
                    let task = tokio::spawn(async move {
                        let answer = ask.await;
                        single_flights.lock().remove(&landed);
                        answer
                    });
                    let flight = task.map(Result::ok).boxed().shared();
                    under_way.insert(key, flight.clone());
                    (flight, false)
                }
            }
        };
        Some((flight.await?, was_under_way))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn questions_asked_together_share_one_answer_and_later_ones_do_not() {
        let single_flights: SingleFlights<u8, u32> = SingleFlights::default();
        let (asked, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (asked, gate) = (asked.clone(), gate.clone());
            async move {
                gate.notified().await;
                asked.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let (first, second) = (single_flights.share(7, ask()), single_flights.share(7, ask()));
        let release = async { gate.notify_one() };
        let (first, second, ()) = tokio::join!(first, second, release);
        assert_eq!((first, second), (Some((1, false)), Some((1, true))));

        gate.notify_one();
        assert_eq!(single_flights.share(7, ask()).await, Some((2, false)));
    }

    #[tokio::test]
    async fn a_question_is_answered_even_if_the_first_who_asked_leaves() {
        let single_flights: SingleFlights<u8, u32> = SingleFlights::default();
        let gate = Arc::new(Notify::new());
        let waiting = gate.clone();
        let mut first = Box::pin(single_flights.share(7, async move {
            waiting.notified().await;
            1
        }));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = single_flights.share(7, async { 2 });
        drop(first);
        gate.notify_one();
        assert_eq!(second.await, Some((1, true)));
    }
}
