//! What the order group does: serve purchases, and record what the catalog decided.

use crate::deviation::Deviation;
use crate::protocol::PurchaseModel;
use crate::state::{Answer, Flaw, Leader, OrderId, Question, Service, State};

/// Orders in the leader's log at once, repetitions included.
const PROPOSED: usize = 3;

impl PurchaseModel {
    /// A leadership begins. What the one before did for its clients is lost, but for its log.
    pub fn elect(&self, state: &mut State) {
        state.leader = Leader::default();
        state.purchases.iter_mut().for_each(|purchase| purchase.service = Service::None);
    }

    /// The barrier commits, and with it as much of the log as survived.
    pub fn commit_barrier(&self, state: &mut State, survivors: usize) -> Option<()> {
        if state.leader.is_leading || survivors > state.proposed.len() {
            return None;
        }
        for order_id in std::mem::take(&mut state.proposed).into_iter().take(survivors) {
            self.record(&mut state.recorded, order_id);
        }
        state.leader.is_leading = true;
        self.start_over(state)
    }

    /// The leader forgets everything but what is recorded, as it becomes ready or after a failure. Its
    /// clients are told that the outcome is unknown.
    pub fn start_over(&self, state: &mut State) -> Option<()> {
        self.leader_ready(state)?;
        let next = missing(&state.recorded);
        state.leader = Leader { is_leading: true, next, held: Default::default(), must_ask: true };
        for purchase in &mut state.purchases {
            if let Service::Recording(_) = purchase.service {
                purchase.service = Service::None;
            }
        }
        Some(())
    }

    fn leader_ready(&self, state: &State) -> Option<()> {
        state.leader.is_leading.then_some(())
    }

    /// The leader asks the catalog what was decided: in doubt, and now and then.
    pub fn ask(&self, state: &mut State) -> Option<()> {
        self.leader_ready(state)?;
        // What was proposed before the leader started over may have been recorded since, and forgotten.
        if !self.breaks(Deviation::RecordedSinceNotSeen) {
            state.leader.next = state.leader.next.max(missing(&state.recorded));
        }
        let Leader { next, ref held, must_ask, .. } = state.leader;
        let is_gap = !held.is_empty() && !held.contains(&next) && !self.breaks(Deviation::GapSkipped);
        let is_due = must_ask || is_gap || !self.breaks(Deviation::AsksOnlyWhenInDoubt);
        if !is_due || self.breaks(Deviation::NeverAsks) {
            return None;
        }
        let decided: Vec<OrderId> = Self::purchases_after(state, next - 1).collect();
        state.leader.held.retain(|order_id| *order_id >= next);
        state.leader.held.extend(decided);
        state.leader.must_ask = false;
        Some(())
    }

    /// A client's request arrives, for the first time or again.
    pub fn serve(&self, state: &mut State, key: usize) -> Option<()> {
        self.leader_ready(state)?;
        let recorded = self.recorded_under(state, key);
        let looked = state.recorded.len() as OrderId;
        let purchase = &mut state.purchases[key];
        let heard = purchase.heard?;
        let Service::None = purchase.service else { return None };
        match recorded {
            Some(order_id) => self.answer(state, key, Answer::Bought(order_id)),
            None => {
                purchase.service = Service::Asking;
                purchase.asked = Some(Question { heard, looked });
            }
        }
        Some(())
    }

    /// A client's request arrives at a leader that was deposed without knowing it, whose list has but `looked` orders.
    /// It may ask the catalog all the same, though it can record nothing.
    pub fn serve_deposed(&self, state: &mut State, key: usize, looked: OrderId) -> Option<()> {
        let heard = state.purchases[key].heard?;
        if self.recorded_under(state, key).is_some_and(|order_id| order_id <= looked) {
            return None;
        }
        state.purchases[key].asked = Some(Question { heard, looked });
        Some(())
    }

    /// The catalog's answer arrives.
    pub fn take_reply(&self, state: &mut State, key: usize) -> Option<()> {
        let Service::Replied(reply) = state.purchases[key].service else { return None };
        match reply {
            Answer::Bought(order_id) => {
                if order_id >= state.leader.next {
                    state.leader.held.insert(order_id);
                }
                state.purchases[key].service = Service::Recording(order_id);
                if self.breaks(Deviation::AnswerBeforeRecording) {
                    self.answer(state, key, reply);
                }
            }
            Answer::Expired | Answer::ListBehind => {
                // The catalog may have forgotten what was recorded since this request came.
                let recorded = self.recorded_under(state, key).filter(|_| !self.breaks(Deviation::OwnListNotReadAgain));
                match (recorded, reply) {
                    (Some(order_id), _) => self.answer(state, key, Answer::Bought(order_id)),
                    (None, Answer::ListBehind) => state.purchases[key].service = Service::None,
                    (None, _) => self.answer(state, key, reply),
                }
            }
            Answer::SoldOut => self.answer(state, key, reply),
        }
        Some(())
    }

    /// The order that a client waits for is recorded.
    pub fn confirm(&self, state: &mut State, key: usize) -> Option<()> {
        let Service::Recording(order_id) = state.purchases[key].service else { return None };
        if !state.recorded.contains(&order_id) {
            return None;
        }
        self.answer(state, key, Answer::Bought(order_id));
        Some(())
    }

    /// The client is told, though it may not hear it.
    fn answer(&self, state: &mut State, key: usize, answer: Answer) {
        let purchase = &mut state.purchases[key];
        purchase.service = Service::None;
        if matches!(answer, Answer::Bought(order_id) if !state.recorded.contains(&order_id)) {
            state.flaw = Some(Flaw::AnsweredUnrecorded);
        }
        match (purchase.answer, answer) {
            (_, Answer::Expired) if purchase.sold_as.is_some() => state.flaw = Some(Flaw::AnswersDiffer),
            // That nothing could be told is no answer that counts.
            (Some(Answer::SoldOut), Answer::Expired) => {}
            (None | Some(Answer::Expired), _) => purchase.answer = Some(answer),
            (Some(told), _) if told != answer => state.flaw = Some(Flaw::AnswersDiffer),
            _ => {}
        }
    }

    fn recorded_under(&self, state: &State, key: usize) -> Option<OrderId> {
        state.purchases[key].sold_as.filter(|order_id| state.recorded.contains(order_id))
    }

    pub fn propose(&self, state: &mut State) -> Option<()> {
        self.leader_ready(state)?;
        let Leader { next, held, .. } = &mut state.leader;
        let any = *held.first()?;
        let may_be_any = [Deviation::GapSkipped, Deviation::RecordedAsTheyCome, Deviation::ProposedAsTheyCome];
        if state.proposed.len() == PROPOSED || (any != *next && !may_be_any.map(|one| self.breaks(one)).contains(&true))
        {
            return None;
        }
        held.remove(&any);
        *next = any + 1;
        state.proposed.push(any);
        Some(())
    }

    pub fn commit(&self, state: &mut State) -> Option<()> {
        self.leader_ready(state)?;
        if state.proposed.is_empty() {
            return None;
        }
        let order_id = state.proposed.remove(0);
        match self.record(&mut state.recorded, order_id) {
            true => Some(()),
            false => self.start_over(state),
        }
    }

    /// Applies one order to the list. Tells whether it stands there now.
    fn record(&self, recorded: &mut Vec<OrderId>, order_id: OrderId) -> bool {
        let may_skip = self.breaks(Deviation::GapSkipped) || self.breaks(Deviation::RecordedAsTheyCome);
        if recorded.contains(&order_id) && !self.breaks(Deviation::RecordedAgain) {
            return true;
        }
        if order_id > missing(recorded) && !may_skip {
            return false;
        }
        recorded.push(order_id);
        true
    }
}

/// The number of the first order that is not in the list.
fn missing(recorded: &[OrderId]) -> OrderId {
    recorded.last().map_or(1, |last| last + 1)
}
