//! The cache protocol, checked: whatever is lost, late, slow or deposed, every read is current.
//!
//! Frontends answer from caches without asking anybody, yet a read must never return what an acknowledged
//! write replaced, nor go back behind what another read returned. Here a model checker tries every
//! interleaving of the protocol's steps within some bounds, then breaks each rule in turn and must find
//! the interleaving in which that rule was needed. A rule that could go without anybody noticing would be
//! either superfluous or untested.
//!
//! # The protocol
//!
//! 1. *Lease.* A frontend notes its clock and asks for a lease. The leader has a majority confirm it after
//!    the request arrived, then grants the lease in a session of its epoch: the one that the frontend named
//!    if that is the current one and has not expired, else a new one. The lease counts from the asking for
//!    the frontend and from the answer for the leader. Another session than before empties the cache.
//! 2. *Hit.* A read takes the entry, then checks that the lease runs and that session and generation of
//!    the entry are the current ones.
//! 3. *Miss.* A read notes session and generation and asks. The leader looks whether the key is pending,
//!    then notes how far it has committed, then has a majority confirm it; a replica that has applied as
//!    much answers. The answer is cached if the key was not pending and session and generation are still
//!    those noted. A read may join a question that is under way if both are equal for both of them *and
//!    the lease runs as it joins*; it asks again for itself if the answer says that the key was pending.
//! 4. *Write.* The leader marks the key as pending, sends invalidations to frontends with live sessions,
//!    waits for each to confirm or to expire without renewal, proposes, and clears the mark once the write
//!    is applied. While the outcome is unknown the mark stays.
//! 5. *Leadership.* Whoever begins to lead, or restarts in its term, has a new epoch without sessions or
//!    marks. It commits a barrier before it serves anything, and proposes no write before every frontend
//!    has confirmed the new epoch's announcement, which empties it, or a whole lease has passed. What was
//!    begun in an earlier epoch is never proposed, not even if the same process leads again.
//!
//! # The abstractions, and why they lose nothing
//!
//! - *One frontend stands for any number.* Others can only make the leader wait longer, and read. As they
//!   may read at any moment, the model asks more of each read than the promise does: to return at least
//!   what was committed, acknowledged or not, when the read began. So no read of theirs needs to be
//!   stepped through. Two frontends are explored all the same, for as many steps as that is feasible.
//! - *One key stands for any number.* Keys meet only in the counters of the generations, where one may drop
//!   another's entries, which is never wrong. The value is the number of writes committed. That a write knows its
//!   keys is not so simple, and has a model of its own: [`topics`].
//! - *A frontend is one process, and all leaders grant leases of one length.* The log notes who may hold a lease and for
//!   how long, so a leader that comes later, whatever its configuration, waits as the model's does; and another process
//!   under the same name is another frontend.
//! - *Time is what is left of it.* A lease lasts two ticks by the slowest clock of a frontend and by the
//!   fastest of a leader, which is what the margin for drift makes of them. Whoever is due may be late, as
//!   any step may: a frontend that pauses is one that takes no step while time passes.
//! - *Raft is what it promises.* Only the latest leader is confirmed by a majority and commits. Whether a
//!   write of a deposed or restarted leader survives is decided when the next barrier commits. Deposed
//!   leaders go on with what they were confirmed for. Replicas answer with the oldest that they may.
//! - *Sending, arriving and confirming an invalidation are one step*, for a leader may take its time with
//!   what it was told. So it is with an announcement. What is lost is what is never delivered.
//! - *Generations are not counted*: they never come back, so an entry, a question or a read either has the
//!   current one or never will again. Sessions do come back, with late grants, and are counted.
//!
//! # The bounds
//!
//! With one frontend, all that can happen with
//!
//! | writes | leaderships | sessions a leadership | requests for a lease | questions | states |
//! | --- | --- | --- | --- | --- | --- |
//! | 1 | 2 | 2 | 1 | 1 | 354,664 |
//! | 2 | 2 | 1 | 1 | 1 | 435,856 |
//! | 2 | 2 | 2 | 1 | 1 | 1,535,874 (only on request: `--ignored`) |
//! | 1 | 3 | 1 | 1 | 1 | 311,694 |
//! | 1 | 1 | 2 | 2 | 1 | 738,698 |
//! | 1 | 1 | 2 | 1 | 2 | 243,584 |
//!
//! and with two frontends, one write, one leadership and one session each the first 13 steps (161,849 states);
//! requests and questions are those under way at once; ticks, reads, losses, restarts of the frontend
//! and refused writes are without bound. Safety only: that leases are granted and writes come to their end
//! is not shown, but for the one witness that every complete exploration must find, the newest version in the
//! cache under the last leader.
//!
//! # What it taught
//!
//! - To share a question by key, session and generation is not enough. A frontend that was not reached and
//!   whose lease has run out still has the session and the generation of a question that it asked before,
//!   and a read that begins after the write would be given the answer from before it. Hence the lease
//!   in rule 3, and [`Deviation::FlightWithoutLease`].
//! - The order within rule 2 may be either ([`Deviation::LeaseSeenBeforeEntry`]), as long as the lease is
//!   looked at after the read began ([`Deviation::LeaseSeenBeforeRead`]).
//! - The order within rule 3 may not: [`Deviation::PendingSeenAfterIndex`].
//! - A write that has done its invalidations must die with its epoch: [`Deviation::WriteOutlivesEpoch`].
//! - An epoch must be another one whenever sessions and marks were forgotten, also if the same process leads
//!   on in the same term: [`Deviation::SessionWithoutEpoch`].

mod deviation;
#[path = "../common/exploration.rs"]
mod exploration;
mod frontend;
mod leader;
mod protocol;
mod state;
mod topics;

use stateright::Model;

use deviation::Deviation;
use exploration::{assert_holds, counterexample};
use protocol::{Bounds, CURRENT, CacheModel};

/// How many steps two frontends are followed for.
const TWO_FRONTENDS_DEPTH: usize = 13;

/// Enough for most rules to be needed.
const SMALL: Bounds = Bounds { writes: 1, epochs: 1, sessions: 2, requests: 1, flights: 1 };

fn protocol<const FRONTENDS: usize>(bounds: Bounds) -> CacheModel<FRONTENDS> {
    CacheModel { bounds, deviation: None }
}

#[test]
fn every_read_is_current_whatever_happens_around_a_change_of_leaders() {
    let bounds = Bounds { epochs: 2, ..SMALL };
    assert_holds("a change of leaders", protocol::<1>(bounds).checker(), 350_000);
}

#[test]
fn every_read_is_current_whatever_happens_around_two_writes_and_a_change_of_leaders() {
    let bounds = Bounds { writes: 2, epochs: 2, sessions: 1, ..SMALL };
    assert_holds("two writes and a change of leaders", protocol::<1>(bounds).checker(), 430_000);
}

#[test]
#[ignore = "takes as long as all others together"]
fn every_read_is_current_whatever_happens_around_two_writes_a_change_of_leaders_and_new_sessions() {
    let bounds = Bounds { writes: 2, epochs: 2, ..SMALL };
    assert_holds("all of it", protocol::<1>(bounds).checker(), 1_500_000);
}

#[test]
fn every_read_is_current_whatever_happens_around_two_changes_of_leaders() {
    let bounds = Bounds { epochs: 3, sessions: 1, ..SMALL };
    assert_holds("two changes of leaders", protocol::<1>(bounds).checker(), 300_000);
}

#[test]
fn every_read_is_current_though_requests_for_a_lease_overtake_each_other() {
    let bounds = Bounds { requests: 2, ..SMALL };
    assert_holds("two requests for a lease", protocol::<1>(bounds).checker(), 700_000);
}

#[test]
fn every_read_is_current_though_questions_overtake_each_other() {
    let bounds = Bounds { flights: 2, ..SMALL };
    assert_holds("two questions", protocol::<1>(bounds).checker(), 240_000);
}

#[test]
fn every_read_is_current_among_two_frontends() {
    let bounds = Bounds { sessions: 1, ..SMALL };
    let checker = protocol::<2>(bounds).checker().target_max_depth(TWO_FRONTENDS_DEPTH);
    assert_holds("two frontends", checker, 160_000);
}

#[test]
fn every_broken_rule_shows() {
    let one_leader = Deviation::WITH_ONE_LEADER.map(|deviation| (deviation, 1));
    let two_leaders = Deviation::WITH_TWO_LEADERS.map(|deviation| (deviation, 2));
    for (deviation, epochs) in one_leader.into_iter().chain(two_leaders) {
        let model = CacheModel::<1> { bounds: Bounds { epochs, ..SMALL }, deviation: Some(deviation) };
        println!("{deviation:?}");
        assert!(counterexample(model, CURRENT).is_some(), "{deviation:?} goes unnoticed");
    }
}

#[test]
fn what_is_cached_of_a_book_is_current_while_it_comes_changes_and_goes() {
    assert_holds("topics", topics::TopicModel { deviation: None }.checker(), 860_000);
}

#[test]
fn every_broken_rule_about_topics_shows() {
    for deviation in topics::Deviation::ALL {
        println!("{deviation:?}");
        let model = topics::TopicModel { deviation: Some(deviation) };
        assert!(counterexample(model, topics::CURRENT).is_some(), "{deviation:?} goes unnoticed");
    }
}

#[test]
fn the_lease_may_be_looked_at_before_the_entry_is_taken() {
    let model = CacheModel::<1> {
        bounds: Bounds { epochs: 2, sessions: 1, ..SMALL },
        deviation: Some(Deviation::LeaseSeenBeforeEntry),
    };
    assert_holds("the lease first", model.checker(), 190_000);
}
