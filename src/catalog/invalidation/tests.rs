//! Writes before a frontend that confirms when the test says so.

use hyper::StatusCode;
use tokio::sync::mpsc;

use super::*;
use crate::codec::decode;
use crate::http::body::{self, Incoming};
use crate::http::reply::{self, Response};
use crate::http::server::Handler;
use crate::http::testing;
use crate::model::testing::{book_id, cents, key, stock, text};
use crate::platform::Platform;
use crate::protocol::catalog::Action;
use crate::protocol::fence::Decisions;

const MINUTE: Duration = Duration::from_secs(60);

const EPOCH: LeaderEpoch = 1;

/// A frontend that tells the test what it is to forget, and confirms once the test says so.
struct Scripted(mpsc::UnboundedSender<(Vec<Tag>, oneshot::Sender<()>)>);

impl Handler for Scripted {
    async fn handle(&self, request: hyper::Request<Incoming>) -> Response {
        let message = body::read(request.into_body(), MAX_INVALIDATION_BYTES, MINUTE).await.unwrap();
        let Ok(Invalidation::Tags(tags)) = decode(&message) else { panic!("{message:?}") };
        let (confirm, confirmed) = oneshot::channel();
        self.0.send((tags, confirm)).unwrap();
        confirmed.await.unwrap();
        reply::content(StatusCode::OK, "application/octet-stream", Bytes::new())
    }
}

/// A leader, and what its one frontend, which has a lease, is told.
async fn leadership() -> (Invalidator, mpsc::UnboundedReceiver<(Vec<Tag>, oneshot::Sender<()>)>) {
    let platform = Platform::system();
    let (told, hears) = mpsc::unbounded_channel();
    let address = testing::serve(Arc::new(Scripted(told))).await;
    let member = Member { id: "frontend-1".to_owned(), address };

    // So long that the frontend is not given up while the test keeps it from confirming.
    let terms = LeaseTerms { lease: 10 * MINUTE, clock_drift_percent: 0 };
    let invalidator = Invalidator::start(&Client::new(&platform), vec![member], terms);
    invalidator.on_become_leader(EPOCH, &BTreeMap::new()).await;
    let request = LeaseRequest { frontend: "frontend-1".to_owned(), process: ProcessId::fresh(), session: None };
    let Ok(admission) = invalidator.admit(&request) else { panic!("the frontend is let in") };
    assert!(matches!(invalidator.grant(&request, admission), LeaseReply::Granted { .. }));
    (invalidator, hears)
}

/// Proposes a write of a book that is not in the state.
fn propose(invalidator: &Invalidator, action: Action) -> tokio::task::JoinHandle<PendingWrite> {
    let write = Write { key: key("key"), is_keyless: false, heard: Decisions::default(), recorded_orders: 0, action };
    let invalidator = invalidator.clone();
    tokio::spawn(async move {
        let proposed = invalidator.propose(&[write], |_| None, |leader_epoch| assert_eq!(leader_epoch, EPOCH)).await;
        proposed.unwrap_or_else(|error| panic!("{error}")).1
    })
}

#[tokio::test]
async fn a_book_that_begins_to_come_while_a_write_to_it_is_told_has_its_topic_forgotten_before_the_write() {
    let (invalidator, mut hears) = leadership().await;
    let topic = Tag::Topic("fall".to_owned());
    let change = propose(&invalidator, Action::Remove { book_id: book_id(8) });
    let (told, confirm) = hears.recv().await.unwrap();
    assert_eq!(told, [Tag::Book(book_id(8))]);

    let (title, new_topic) = (text("title"), text("Fall"));
    let addition =
        Action::Add { book_id: Some(book_id(8)), title, topic: new_topic, price: cents(1), quantity: stock(1) };
    let addition = propose(&invalidator, addition);
    while !invalidator.is_pending(&topic) {
        tokio::task::yield_now().await;
    }
    confirm.send(()).unwrap();
    // The addition has it forgotten for itself; a page that is read after that, and before the change, would stay.
    let (told, confirm) = hears.recv().await.unwrap();
    assert!(told.contains(&topic), "{told:?}");
    assert!(!change.is_finished());
    confirm.send(()).unwrap();
    addition.await.unwrap().finish();
    let (told, confirm) = hears.recv().await.unwrap();
    assert_eq!(told, std::slice::from_ref(&topic));
    assert!(invalidator.is_pending(&topic) && !change.is_finished());
    confirm.send(()).unwrap();
    change.await.unwrap().finish();
    assert!(!invalidator.is_pending(&topic));
}
