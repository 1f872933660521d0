//! Groups that answer as the test says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use hyper::{Request as HttpRequest, StatusCode};

use super::*;
use crate::http::body::Incoming;
use crate::http::reply::{self, Response};
use crate::http::server::Handler;
use crate::http::testing;
use crate::platform::Platform;
use crate::replica::{STANDING, Standing};

const SECOND: Duration = Duration::from_secs(1);

const LONG: Duration = Duration::from_secs(20);

const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

const TIMING: Timing = Timing { attempt_timeout: LONG, read_deadline: LONG, write_deadline: LONG };

/// What a replica does with whatever it is asked, but for how it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Current,
    Stale,
    Excuse,
    Hangs,
}

/// A replica whose leader the test names.
struct Scripted {
    id: String,
    manner: Manner,
    leader: Arc<Mutex<Option<Leading>>>,
    says_nothing: AtomicBool,
    asked: AtomicUsize,
}

impl Handler for Scripted {
    async fn handle(&self, request: HttpRequest<Incoming>) -> Response {
        if self.says_nothing.load(Ordering::SeqCst) {
            std::future::pending().await
        }
        if request.uri().path() == STANDING {
            let (id, leader) = (self.id.clone(), self.leader.lock().unwrap().clone());
            let serves = self.manner == Manner::Current;
            return reply::json(
                StatusCode::OK,
                &Standing { id, cluster: Some("one".to_owned()), leader, serves, hindrance: None },
            );
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = reply::json(StatusCode::OK, &"answer");
        match self.manner {
            Manner::Current => answer,
            Manner::Stale => crate::protocol::request::stale(answer),
            Manner::Excuse => reply::problem(&ApiError::Unavailable(String::new()), ""),
            Manner::Hangs => std::future::pending().await,
        }
    }
}

/// A group and how it is asked. It is probed, but not before it is asked for something.
struct Group {
    upstream: Upstream,
    servers: Vec<Arc<Scripted>>,
    leader: Arc<Mutex<Option<Leading>>>,
}

impl Group {
    async fn of(manners: &[Manner]) -> Group {
        let platform = Platform::system();
        let (mut members, mut servers) = (Vec::new(), Vec::new());
        let leader = Arc::<Mutex<Option<Leading>>>::default();
        for (number, manner) in manners.iter().enumerate() {
            let id = format!("catalog-{number}");
            let server = Arc::new(Scripted {
                id: id.clone(),
                manner: *manner,
                leader: leader.clone(),
                says_nothing: AtomicBool::new(false),
                asked: AtomicUsize::new(0),
            });
            members.push(Member { id, address: testing::serve(server.clone()).await });
            servers.push(server);
        }
        let upstream = Upstream::unprobed("catalog", members, Client::new(&platform), TIMING, PROBE_TIMEOUT);
        Group { upstream, servers, leader }
    }

    fn probed(self) -> Group {
        let probes = Probes { interval: SECOND * 20, timeout: SECOND * 10, when_idle: false };
        tokio::spawn(self.upstream.balancer.clone().probe(self.upstream.client.clone(), probes));
        self
    }

    /// From now on the replicas say that this one leads.
    fn elect(&self, leader: &str, term: u64) {
        *self.leader.lock().unwrap() = Some(Leading { id: leader.to_owned(), term });
    }

    fn asked(&self) -> Vec<usize> {
        self.servers.iter().map(|server| server.asked.load(Ordering::SeqCst)).collect()
    }

    async fn read(&self) -> Result<Answered, ApiError> {
        self.upstream.read(&Ask::get("/info/1".to_owned())).await
    }

    async fn write(&self) -> Result<Answered, WriteError> {
        self.upstream.write(&Ask::post("/purchase/1".to_owned(), Bytes::new())).await
    }
}

#[tokio::test]
async fn whoever_asks_whether_a_group_is_ready_is_answered_soon_and_leaves_nobody_out() {
    let group = Group::of(&[Manner::Current]).await;
    group.elect("catalog-0", 1);
    let says_nothing = &group.servers[0].says_nothing;
    says_nothing.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let told = group.upstream.ready().await.unwrap_err();
    assert!(told.contains("catalog-0: it has not yet said how it stands"), "{told}");
    assert!(began.elapsed() < PROBE_TIMEOUT);
    assert_eq!(group.upstream.balancer.replicas()[0].condition(), Condition::Serves);
    says_nothing.store(false, Ordering::SeqCst);
    group.upstream.ready().await.unwrap();
}

#[tokio::test]
async fn a_read_takes_the_best_answer_that_any_replica_has() {
    use Manner::{Current, Excuse, Stale};
    for (manners, best) in [
        (&[Excuse, Stale, Current][..], Rank::Current),
        (&[Stale, Excuse], Rank::Stale),
        (&[Excuse, Stale], Rank::Stale),
        (&[Excuse, Excuse], Rank::Excuse),
    ] {
        assert_eq!(Group::of(manners).await.read().await.unwrap().rank(), best);
    }
}

#[tokio::test]
async fn a_read_does_not_wait_for_a_replica_that_hangs_while_another_answers() {
    let group = Group::of(&[Manner::Hangs, Manner::Hangs, Manner::Current]).await;
    let answered = tokio::time::timeout(SECOND * 10, group.read()).await.unwrap().unwrap();
    assert_eq!((answered.by.as_str(), answered.rank()), ("catalog-2", Rank::Current));
    assert!(group.asked().iter().all(|asked| *asked <= 1), "{:?}", group.asked());
}

#[tokio::test]
async fn a_write_that_one_replica_refuses_is_taken_to_the_others() {
    use Manner::{Current, Excuse};
    for (manners, status) in
        [(&[Excuse, Excuse, Current][..], StatusCode::OK), (&[Excuse, Excuse], StatusCode::SERVICE_UNAVAILABLE)]
    {
        assert_eq!(Group::of(manners).await.write().await.unwrap().reply.status, status);
    }
}

#[tokio::test]
async fn a_write_under_way_at_a_leader_that_was_replaced_is_repeated_at_its_successor() {
    let group = Group::of(&[Manner::Hangs, Manner::Current, Manner::Current]).await.probed();
    group.upstream.balancer.note_leader(0, "catalog-0", 1);
    group.elect("catalog-2", 2);
    let answered = tokio::time::timeout(SECOND * 10, group.write()).await.unwrap().unwrap();
    assert_eq!((answered.by.as_str(), group.asked()), ("catalog-2", vec![1, 0, 1]));
}

#[tokio::test]
async fn a_leader_that_does_not_answer_is_not_waited_for_and_not_asked_again() {
    let group = Group::of(&[Manner::Current, Manner::Current]).await.probed();
    group.upstream.balancer.note_leader(0, "catalog-0", 1);
    // The other one still hears it, and names it as the leader.
    group.elect("catalog-0", 1);
    group.servers[0].says_nothing.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        let answered = tokio::time::timeout(SECOND * 10, group.write()).await.unwrap().unwrap();
        assert_eq!(answered.by, "catalog-1");
    }
    assert_eq!(group.asked(), [0, 5]);
}

#[tokio::test]
async fn a_group_of_which_nobody_listens_is_known_to_have_done_nothing() {
    // Addresses where nobody listens any more.
    let members = Group::of(&[Manner::Current, Manner::Current]).await.upstream.balancer;
    let members = members
        .replicas()
        .iter()
        .map(|replica| Member { id: replica.member.id.clone(), address: "127.0.0.1:1".to_owned() });
    let upstream =
        Upstream::unprobed("catalog", members.collect(), Client::new(&Platform::system()), TIMING, PROBE_TIMEOUT);
    let ask = Ask::post("/purchase/1".to_owned(), Bytes::new());
    for _ in 0..2 {
        let refused = tokio::time::timeout(SECOND * 10, upstream.write(&ask)).await.unwrap().err().unwrap();
        let named = |what: &str| what.contains("none of the catalog servers answers (catalog-0, catalog-1)");
        assert!(matches!(&refused, WriteError::Unavailable(what) if named(what)), "{refused:?}");
    }
    let started = Instant::now();
    assert!(upstream.write(&ask).await.is_err());
    assert!(started.elapsed() < SECOND / 2, "what is known is not found out again");
}

/// A group without a network; the test says what each attempt brings.
fn unreached(replicas: usize) -> Upstream {
    let members = (0..replicas).map(|number| Member { id: format!("order-{number}"), address: String::new() });
    let timing = Timing { write_deadline: SECOND / 2, ..TIMING };
    Upstream::unprobed("order", members.collect(), Client::new(&Platform::system()), timing, PROBE_TIMEOUT)
}

impl Certain for Certainty {
    fn certainty(&self) -> Certainty {
        *self
    }
}

#[tokio::test]
async fn a_write_whose_outcome_was_unknown_once_is_never_said_to_have_failed() {
    for later in [Certainty::NotDone, Certainty::Overloaded] {
        let attempts = AtomicUsize::new(0);
        let attempt = |_, _| {
            let is_first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
            async move { Ok(if is_first { Certainty::Unknown } else { later }) }
        };
        let error = unreached(2).write_through(attempt).await.err();
        assert!(matches!(error, Some(WriteError::Unknown(_))), "{error:?}");
        assert!(attempts.into_inner() > 2);
    }
}

#[tokio::test]
async fn a_write_whose_outcome_was_unknown_is_answered_once_somebody_knows() {
    let attempts = AtomicUsize::new(0);
    let attempt = |_, _| {
        let number = attempts.fetch_add(1, Ordering::Relaxed);
        async move {
            match number {
                0 => Err(CallError::Unknown { address: String::new(), reason: "lost".to_owned() }),
                1 => Ok(Certainty::NotDone),
                _ => Ok(Certainty::Decided),
            }
        }
    };
    let answered = unreached(3).write_through(attempt).await.ok().unwrap();
    assert_eq!(answered.reply, Certainty::Decided);
}

#[tokio::test]
async fn a_write_goes_to_the_leader_and_from_it_to_the_others() {
    let upstream = unreached(3);
    upstream.balancer.note_leader(0, "order-2", 1);
    let asked = Mutex::new(Vec::new());
    let attempt = |position, _| {
        asked.lock().unwrap().push(position);
        async move { Ok(if position == 2 { Certainty::NotDone } else { Certainty::Decided }) }
    };
    let answered = upstream.write_through(attempt).await.ok().unwrap();
    assert_eq!((answered.by.as_str(), asked.into_inner().unwrap()), ("order-0", vec![2, 0]));
}

#[tokio::test]
async fn overload_is_not_passed_from_one_replica_to_the_next() {
    let attempts = AtomicUsize::new(0);
    let attempt = |_, _| {
        attempts.fetch_add(1, Ordering::Relaxed);
        async { Ok(Certainty::Overloaded) }
    };
    assert!(unreached(3).write_through(attempt).await.is_ok_and(|answered| answered.reply == Certainty::Overloaded));
    assert_eq!(attempts.into_inner(), 1);
}

#[tokio::test]
async fn a_server_that_failed_may_have_done_what_it_was_asked() {
    let failed = |status| Reply { status, headers: hyper::HeaderMap::new(), body: Bytes::new() };
    assert_eq!(failed(StatusCode::INTERNAL_SERVER_ERROR).certainty(), Certainty::Unknown);
    assert_eq!(failed(StatusCode::NOT_FOUND).certainty(), Certainty::Decided);
    assert_eq!(failed(StatusCode::SERVICE_UNAVAILABLE).certainty(), Certainty::Overloaded);
    let full = br#"{"type":"/problems/no-room"}"#;
    assert_eq!(
        Reply { body: Bytes::from_static(full), ..failed(StatusCode::SERVICE_UNAVAILABLE) }.certainty(),
        Certainty::Overloaded
    );
}

#[tokio::test]
async fn a_group_that_does_not_answer_is_named() {
    let error = Group::of(&[]).await.read().await.err();
    assert!(matches!(error, Some(ApiError::Unavailable(detail)) if detail.contains("none of the catalog servers")));
}
