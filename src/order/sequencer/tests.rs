//! The sequencer on a real group of one, with a catalog that tells what the test wants it to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as AtomicOrdering};
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;
use hyper::{Request, StatusCode};

use super::*;
use crate::cluster::{Probes, Timing};
use crate::codec::decode;
use crate::error::ApiError;
use crate::http::body::Incoming;
use crate::http::client::Client;
use crate::http::reply::{self, Response};
use crate::http::server::Handler;
use crate::http::{self, body};
use crate::model::testing::{an_order as order, key};
use crate::platform::{BoxFuture, Platform};
use crate::protocol::catalog::PurchasesAfter;
use crate::replica::{
    self, ElectionTimeout, Group, LeaderService, Leading, LogLimits, Member, ProposerLimits, Replica, STANDING,
    Standing,
};

const SECOND: Duration = Duration::from_secs(1);

/// A catalog that has decided some purchases, and counts how often it is asked for them.
#[derive(Default)]
struct ScriptedCatalog {
    decided: Mutex<Vec<Order>>,
    questions: AtomicUsize,
    hangs: AtomicBool,
    refuses: AtomicBool,
}

impl Handler for ScriptedCatalog {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        if request.uri().path() == STANDING {
            if self.hangs.load(AtomicOrdering::SeqCst) {
                std::future::pending().await
            }
            let leader = Leading { id: "catalog-1".to_owned(), term: 1 };
            let (id, cluster) = (leader.id.clone(), Some("one".to_owned()));
            return reply::json(
                StatusCode::OK,
                &Standing { id, cluster, leader: Some(leader), serves: true, hindrance: None },
            );
        }
        let question = body::read(request.into_body(), 1024, SECOND).await.unwrap();
        let PurchasesAfter { after } = decode(&question).unwrap();
        self.questions.fetch_add(1, AtomicOrdering::SeqCst);
        if self.hangs.load(AtomicOrdering::SeqCst) {
            std::future::pending().await
        }
        if self.refuses.load(AtomicOrdering::SeqCst) {
            return reply::problem(&ApiError::Unavailable("not now".to_owned()), "");
        }
        let decided = self.decided.lock().unwrap();
        let later = decided.iter().filter(|order| order.order_id.get() > after);
        let purchases: Vec<&Order> = later.take(PURCHASES_AT_ONCE).collect();
        reply::content(StatusCode::OK, "application/octet-stream", postcard::to_stdvec(&purchases).unwrap().into())
    }
}

/// Hands each leader epoch to the sequencer, as the order leader does.
struct Leader(Sequencer);

impl LeaderService for Leader {
    fn on_become_leader(&self, leader_epoch: LeaderEpoch) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move {
            self.0.on_become_leader(leader_epoch).await;
            Ok(())
        })
    }

    fn observe(&self, _question: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn call(&self, _request: Bytes) -> BoxFuture<'_, Result<Bytes, WriteError>> {
        Box::pin(async { Err(WriteError::NotLeader) })
    }
}

struct Bench {
    sequencer: Sequencer,
    application: Arc<OrderApplication>,
    catalog: Arc<ScriptedCatalog>,
    _replica: Replica,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// An order group of one, which leads, and whose catalog has decided `decided` already.
    async fn start(decided: Vec<Order>) -> Bench {
        let (platform, folder) = (Platform::system(), tempfile::tempdir().unwrap());
        let client = Client::new(&platform);
        let catalog = Arc::new(ScriptedCatalog { decided: Mutex::new(decided), ..ScriptedCatalog::default() });
        let member = Member { id: "catalog-1".into(), address: http::testing::serve(catalog.clone()).await };

        let application = Arc::new(OrderApplication::default());
        let opened = replica::open(&platform, &client, settings(folder.path()), application.clone()).await.unwrap();
        let long = SECOND * 60;
        let timing = Timing { attempt_timeout: long, read_deadline: long, write_deadline: long };
        let probes = Probes { interval: SECOND / 10, timeout: SECOND, when_idle: false };
        let link = Arc::new(CatalogLink::start(client, vec![member], timing, probes));
        let sequencer = Sequencer::start(opened.consensus(), application.clone(), link);
        let replica = opened.start(Arc::new(Leader(sequencer.clone())));
        replica.take_part(false).await.unwrap();
        while replica.leader().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Bench { sequencer, application, catalog, _replica: replica, _folder: folder }
    }

    async fn record(&self, order: Order) -> Result<(), WriteError> {
        self.sequencer.record(vec![order]).await.pop().unwrap()
    }

    fn recorded(&self) -> Vec<u64> {
        self.application.with(|state| state.page(0, 1000).iter().map(|order| order.order_id.get()).collect())
    }
}

/// Where there is one subscriber only, a line that another test is the first to write is taken to interest nobody.
static ANOTHER_SUBSCRIBER: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default()));

/// What this test's thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to keep it.
    fn keep() -> (Log, tracing::subscriber::DefaultGuard) {
        LazyLock::force(&ANOTHER_SUBSCRIBER);
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// How many lines say this.
    fn count(&self, words: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).lines().filter(|line| line.contains(words)).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn settings(folder: &std::path::Path) -> replica::Settings {
    let member = Member { id: "order-1".into(), address: "127.0.0.1:1".into() };
    replica::Settings {
        group: Group { name: "order", own: 1, members: BTreeMap::from([(1, member)]) },
        folder: folder.to_owned(),
        heartbeat: Duration::from_millis(20),
        election_timeout: ElectionTimeout { min: Duration::from_millis(60), max: Duration::from_millis(90) },
        proposer: ProposerLimits { queue_commands: 100, batch_commands: 10, commit_timeout: SECOND },
        majority_wait: SECOND,
        log: LogLimits { segment_bytes: 1 << 20, cache_bytes: 1 << 20 },
        snapshot_log_bytes: 1 << 30,
    }
}

#[tokio::test]
async fn answers_that_come_in_another_order_are_recorded_in_order() {
    let bench = Bench::start(vec![]).await;
    let (third, first, second) = (bench.record(order(3)), bench.record(order(1)), bench.record(order(2)));
    let (third, first, second) = tokio::join!(third, first, second);
    assert_eq!((first, second, third), (Ok(()), Ok(()), Ok(())));
    assert_eq!(bench.recorded(), [1, 2, 3]);
}

#[tokio::test]
async fn orders_that_come_together_are_told_of_each_for_itself() {
    let bench = Bench::start(vec![]).await;
    assert_eq!(bench.record(order(1)).await, Ok(()));
    let other = Order { key: key("another"), ..order(1) };
    let (late, early) = (bench.sequencer.record(vec![other, order(2), order(4)]), bench.record(order(3)));
    let (late, early) = tokio::join!(late, early);
    assert!(matches!(late[..], [Err(WriteError::Unknown(_)), Ok(()), Ok(())]), "{late:?}");
    assert_eq!(early, Ok(()));
    assert_eq!(bench.recorded(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn no_orders_are_recorded_at_once() {
    assert!(Bench::start(vec![]).await.sequencer.record(vec![]).await.is_empty());
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_fetched_so_that_later_ones_need_not_wait_for_ever() {
    let bench = Bench::start(vec![]).await;
    *bench.catalog.decided.lock().unwrap() = vec![order(1), order(2), order(3)];
    assert_eq!(bench.record(order(3)).await, Ok(()));
    assert_eq!(bench.recorded(), [1, 2, 3]);
}

#[tokio::test]
async fn a_new_leader_records_what_its_predecessor_had_decided_but_not_recorded() {
    let bench = Bench::start(vec![order(1), order(2)]).await;
    while bench.recorded() != [1, 2] {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(bench.catalog.questions.load(AtomicOrdering::SeqCst) >= 1);
}

#[tokio::test]
async fn orders_are_recorded_while_the_catalog_does_not_answer() {
    let bench = Bench::start(vec![]).await;
    bench.catalog.hangs.store(true, AtomicOrdering::SeqCst);
    let asked = bench.catalog.questions.load(AtomicOrdering::SeqCst);
    // Its predecessor is missing: the catalog is asked.
    let third = bench.sequencer.record(vec![order(3)]);
    let recorded = async {
        while bench.catalog.questions.load(AtomicOrdering::SeqCst) == asked {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (bench.record(order(1)).await, bench.record(order(2)).await)
    };
    let all = async { tokio::join!(third, recorded) };
    let (third, recorded) = tokio::time::timeout(SECOND * 10, all).await.unwrap();
    assert_eq!((third, recorded), (vec![Ok(())], (Ok(()), Ok(()))));
}

#[tokio::test]
async fn a_gap_that_the_catalog_cannot_fill_is_said_and_not_asked_for_again_and_again() {
    // A whole page, of which none is the next.
    let bench = Bench::start((5..5 + 2 * PURCHASES_AT_ONCE as u64).map(order).collect()).await;
    let refused = bench.record(order(7)).await;
    assert!(matches!(&refused, Err(WriteError::Unknown(what)) if what.contains("order 1 ")), "{refused:?}");
    let asked = bench.catalog.questions.load(AtomicOrdering::SeqCst);
    for _ in 0..10 {
        assert_eq!(bench.record(order(7)).await, refused);
        tokio::time::sleep(GAP_PATIENCE).await;
    }
    assert!(bench.catalog.questions.load(AtomicOrdering::SeqCst) <= asked + 1, "it is asked in a loop");
    assert_eq!(bench.recorded(), [0; 0]);
}

#[tokio::test]
async fn that_the_catalog_does_not_answer_is_logged_once_and_that_it_answers_again_once() {
    let (log, _kept) = Log::keep();
    let bench = Bench::start(vec![]).await;
    bench.catalog.refuses.store(true, AtomicOrdering::SeqCst);
    // Its predecessor is missing: the catalog is asked, and then again and again.
    let second = bench.record(order(2));
    let answers_again = async {
        while log.count("does not tell") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let asked = bench.catalog.questions.load(AtomicOrdering::SeqCst);
        while bench.catalog.questions.load(AtomicOrdering::SeqCst) < asked + 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((log.count("does not tell"), log.count("answers the order servers again")), (1, 0));
        *bench.catalog.decided.lock().unwrap() = vec![order(1), order(2)];
        bench.catalog.refuses.store(false, AtomicOrdering::SeqCst);
    };
    let (second, ()) = tokio::join!(second, answers_again);
    assert_eq!(second, Ok(()));
    assert_eq!((log.count("does not tell"), log.count("answers the order servers again")), (1, 1));
}

#[tokio::test]
async fn that_numbers_belong_to_other_purchases_is_logged_more_seldom_than_it_is_met() {
    let (log, _kept) = Log::keep();
    let bench = Bench::start(vec![]).await;
    assert_eq!(bench.record(order(1)).await, Ok(()));
    for number in 0..100 {
        let other = Order { key: key(&format!("another-{number}")), ..order(1) };
        assert!(matches!(bench.record(other).await, Err(WriteError::Unknown(_))));
    }
    let told = log.count("belongs to another purchase");
    assert!((1..5).contains(&told), "{told}");
}

#[tokio::test]
async fn while_nothing_can_be_recorded_the_catalog_is_not_asked_in_a_loop() {
    let bench = Bench::start(vec![]).await;
    let asked = bench.catalog.questions.load(AtomicOrdering::SeqCst);
    bench.catalog.decided.lock().unwrap().push(order(1));
    // As after a leader has lost its majority: what it proposes in this leader epoch is refused at once.
    bench.sequencer.on_become_leader(99).await;
    assert!(matches!(bench.record(order(1)).await, Err(WriteError::Unknown(_))));
    tokio::time::sleep(SECOND / 2).await;
    let asked = bench.catalog.questions.load(AtomicOrdering::SeqCst) - asked;
    assert!(asked < 10, "it was asked {asked} times");
    bench.sequencer.on_become_leader(1).await;
    assert_eq!(bench.record(order(1)).await, Ok(()));
}

#[tokio::test]
async fn a_replica_that_does_not_lead_holds_nothing_back() {
    let bench = Bench::start(vec![]).await;
    bench.sequencer.on_become_leader(99).await;
    let held = tokio::time::timeout(SECOND * 5, bench.record(order(2))).await;
    assert!(matches!(held, Ok(Err(WriteError::Unknown(_)))), "{held:?}");
    let asked = bench.catalog.questions.load(AtomicOrdering::SeqCst);
    tokio::time::sleep(GAP_PATIENCE * 5).await;
    assert_eq!(bench.catalog.questions.load(AtomicOrdering::SeqCst), asked);
}

#[tokio::test]
async fn a_purchase_that_nobody_asks_for_again_is_recorded_all_the_same() {
    let (log, _kept) = Log::keep();
    let bench = Bench::start(vec![]).await;
    // A leader begins by asking for what is missing.
    while bench.catalog.questions.load(AtomicOrdering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.catalog.decided.lock().unwrap().push(order(1));
    tokio::time::timeout(ASK_INTERVAL * 2, async {
        while bench.recorded() != [1] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    // Nothing was missing: that is not worth a line.
    assert_eq!(log.count("decided and not recorded"), 0);
    bench.catalog.decided.lock().unwrap().extend([order(2), order(3)]);
    assert_eq!(bench.record(order(3)).await, Ok(()));
    assert_eq!(log.count("decided and not recorded"), 1);
}

#[tokio::test]
async fn an_order_that_is_recorded_already_is_not_recorded_again() {
    let bench = Bench::start(vec![]).await;
    let (first, again) = tokio::join!(bench.record(order(1)), bench.record(order(1)));
    assert_eq!((first, again), (Ok(()), Ok(())));
    assert_eq!(bench.record(order(1)).await, Ok(()));
    assert_eq!(bench.recorded(), [1]);
}

#[tokio::test]
async fn a_number_that_belongs_to_another_purchase_is_never_acknowledged() {
    let bench = Bench::start(vec![]).await;
    assert_eq!(bench.record(order(1)).await, Ok(()));
    let other = Order { key: key("another"), ..order(1) };
    assert!(matches!(bench.record(other).await, Err(WriteError::Unknown(_))));
}

#[tokio::test]
async fn a_new_leader_epoch_fails_what_waits_and_goes_on_with_the_next() {
    let bench = Bench::start(vec![]).await;
    let waiting = bench.record(order(2));
    let new_leader_epoch = async {
        bench.sequencer.on_become_leader(1).await;
    };
    let (waiting, ()) = tokio::join!(waiting, new_leader_epoch);
    assert!(matches!(waiting, Err(WriteError::Unknown(_))), "{waiting:?}");
    assert_eq!(bench.record(order(1)).await, Ok(()));
    assert_eq!(bench.recorded(), [1]);
}
