//! The purchase across two groups, checked: whatever dies, and however often a client asks, it happens once.
//!
//! A purchase takes a copy out of the catalog's stock and puts an order into the order group's list, and no
//! transaction spans the two. The catalog's commit decides, the order group records, and a key that the
//! client keeps for all its attempts ties the two together. Here a model checker tries every interleaving of
//! the protocol's steps within some bounds, with failures between any two of them, then breaks each rule in
//! turn and must find the interleaving in which that rule was needed.
//!
//! # The protocol
//!
//! 1. The order leader answers a request whose key is in its own list from there. Else it asks the catalog.
//! 2. The catalog decides in one step. If it knows the key, the answer is what it decided then. If it does
//!    not, but has forgotten more decisions than the client had heard of when it sent the request, it refuses; and it
//!    does not answer an order leader that looked for the key in a list without all orders that are forgotten here. Else it takes a copy out of the
//!    stock, gives the next order number, and remembers both; that the book was sold out it remembers too.
//!    (`State::write` and `Ledger::is_surely_new` in the catalog.)
//! 3. The catalog forgets decisions at any time, in their order, and a purchase only if the order group has told that
//!    it holds the order. (`Ledger::forget_old`.)
//! 4. The order leader records orders in the order of their numbers and holds back what comes early. The
//!    list refuses an order that would leave a gap, and an order that stands in it is recorded already. Only
//!    what is recorded is acknowledged. If the catalog refuses because it may have forgotten the key, the leader looks
//!    into its own list again: that may have been recorded meanwhile. (`outcome_of` in the order servers' `purchase`.)
//! 5. The order leader asks the catalog what was decided after the last order of the list: as it gets
//!    ready, after a failure, when an order is missing, and every now and then.
//!
//! # The abstractions, and why they lose nothing
//!
//! - *Whatever was sent may arrive at any later moment, and again*: a client's request at any order leader,
//!   an order leader's question at the catalog. So retries, duplicates and delays need no steps of their own.
//! - *The catalog is one that never fails.* A leader of it that dies before it committed has decided
//!   nothing; one that dies after has decided, and its answer is lost, which may happen to any answer.
//! - *The order group is its list, and the log of its latest leader.* When a leader dies, any first part of
//!   what it has proposed survives until the next one's barrier. Deposed leaders may still
//!   ask the catalog, having looked into an older list.
//! - *Only decisions since the last forgotten one are counted*, and whoever had heard of fewer is all the same.
//! - *A client is one request with its repetitions*, all of which say what was heard before the first. Who asks again
//!   with the same key after its refusal is forgotten, asks something new.
//! - *There is no time.* That decisions are remembered for a day is for clients who ask again; nothing else rests on
//!   it, and here they may be forgotten at once.
//! - *Of an order leader's questions about a key the latest stands for all*, for an earlier one was asked by who had
//!   heard of fewer decisions, or had looked into a shorter list, and is only refused more often.
//! - *Clients differ only by their keys*, so a state is the same whichever of them is in which situation.
//!
//! That everything sold comes to be recorded is checked in every state, by letting the order leader alone go
//! on until it has nothing left to do: no client that asks again may be needed.
//!
//! # The bounds
//!
//! All that can happen with two keys, one copy, one more added later and decisions that are forgotten (69,311 states),
//! and with three keys, two copies, one more and none forgotten (80,534 states); at most three orders in the
//! leader's log. Failures, retries and changes of leaders are without bound.
//!
//! # What it taught
//!
//! - A question that was given up may be decided when nobody waits for it any more. If no purchase follows,
//!   no gap shows, and the order would stay unrecorded until the leader changes. Hence the asking now and then
//!   in rule 5: [`Deviation::AsksOnlyWhenInDoubt`].
//! - Age alone is no reason to forget a purchase, for the order group may have been away for as long. The
//!   number would be missing for ever: [`Deviation::UnrecordedForgotten`].
//! - A refusal for what may be forgotten contradicts an order that exists, unless the catalog looks for the key first
//!   and the order leader into its list once more: [`Deviation::FenceBeforeKey`], [`Deviation::OwnListNotReadAgain`].
//! - What was heard must be kept for all attempts: [`Deviation::HeardAnewInDoubt`]. A refusal for having heard too
//!   little is an exception, for it shows that no earlier attempt can be decided any more; to have looked into too short
//!   a list shows nothing of the kind: [`Deviation::ListBehindIsExpired`].
//! - A client that has heard of all decisions does not know of its own order if the catalog has forgotten it and the
//!   leader that serves it was deposed before it was recorded: [`Deviation::AnyListTrusted`].
//! - A leader that starts over must look again at what is recorded before it asks, for what it proposed
//!   before may commit late: [`Deviation::RecordedSinceNotSeen`].
//! - That the leader proposes in order is a courtesy; it is the list that keeps out gaps
//!   ([`Deviation::ProposedAsTheyCome`]).

mod catalog;
mod deviation;
#[path = "../common/exploration.rs"]
mod exploration;
mod orders;
mod protocol;
mod state;

use stateright::Model;

use deviation::Deviation;
use exploration::{assert_holds, counterexample};
use protocol::{Bounds, PurchaseModel};

/// Enough for every rule to be needed.
const FORGETFUL: Bounds = Bounds { keys: 2, stock: 1, restocks: 1, forgets: true };

#[test]
fn every_purchase_happens_once_though_keys_are_forgotten() {
    let model = PurchaseModel { bounds: FORGETFUL, deviation: None };
    assert_holds("two keys that are forgotten", model.checker(), 69_000);
}

#[test]
fn every_purchase_happens_once_among_three_clients() {
    let bounds = Bounds { keys: 3, stock: 2, restocks: 1, forgets: false };
    let model = PurchaseModel { bounds, deviation: None };
    assert_holds("three keys", model.checker(), 80_000);
}

#[test]
fn every_broken_rule_shows() {
    for (deviation, promise) in Deviation::HARMFUL {
        let model = PurchaseModel { bounds: FORGETFUL, deviation: Some(deviation) };
        println!("{deviation:?}");
        assert!(counterexample(model, promise).is_some(), "{deviation:?} goes unnoticed");
    }
}

#[test]
fn orders_may_be_proposed_as_they_come_for_the_list_refuses_a_gap() {
    let model = PurchaseModel { bounds: FORGETFUL, deviation: Some(Deviation::ProposedAsTheyCome) };
    assert_holds("proposed as they come", model.checker(), 76_000);
}
