//! The protocol as a model: its steps, and what must always hold.

use stateright::{Model, Property};

use crate::deviation::{Deviation, promise};
use crate::state::{Answer, Flaw, KEYS, Leader, OrderId, Purchase, Service, State};

/// How far the model's world extends.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Clients, each with a key and one request under it.
    pub keys: usize,
    /// Copies at first.
    pub stock: u8,
    /// Copies added later, one by one.
    pub restocks: u8,
    /// Whether keys are forgotten.
    pub forgets: bool,
}

/// The protocol, or a deviation from it.
pub struct PurchaseModel {
    pub bounds: Bounds,
    pub deviation: Option<Deviation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Restock,
    Send { key: usize, heard: u8 },
    SendAnew(usize),
    Serve(usize),
    ServeDeposed { key: usize, looked: OrderId },
    Decide { key: usize, is_answer_lost: bool },
    Forget(usize),
    TakeReply(usize),
    Confirm(usize),
    Elect,
    CommitBarrier { survivors: usize },
    StartOver,
    Ask,
    Propose,
    Commit,
}

/// How many steps of its own the order leader needs to record all there is, at most.
const STEPS_TO_SETTLE: usize = 32;

impl PurchaseModel {
    pub fn breaks(&self, deviation: Deviation) -> bool {
        self.deviation == Some(deviation)
    }

    /// A client asks, having heard of so many decisions.
    fn send(&self, state: &mut State, key: usize, heard: u8) -> Option<()> {
        state.purchases[key].heard.replace(heard).is_none().then_some(())
    }

    /// A client asks anew, having heard of all decisions by now: because what it had heard before was too little, or
    /// because it wants to be told once more of its order.
    fn send_anew(&self, state: &mut State, key: usize) -> Option<()> {
        let heard = state.decided + 1;
        let purchase = &mut state.purchases[key];
        let may_be = match purchase.answer {
            Some(Answer::Expired | Answer::Bought(_)) => true,
            None => self.breaks(Deviation::HeardAnewInDoubt),
            Some(Answer::SoldOut | Answer::ListBehind) => false,
        };
        if purchase.heard.is_none() || purchase.service != Service::None || !may_be {
            return None;
        }
        purchase.heard = Some(heard);
        purchase.answer = purchase.answer.filter(|told| *told != Answer::Expired);
        Some(())
    }

    /// Whether every purchase comes to be recorded if nothing fails from now on and nobody asks again.
    fn settles(&self, state: &State) -> bool {
        let mut state = state.clone();
        for _ in 0..STEPS_TO_SETTLE {
            let steps = [Action::CommitBarrier { survivors: 0 }, Action::Commit, Action::Propose, Action::Ask];
            let Some(next) = steps.into_iter().find_map(|step| self.next_state(&state, step)) else { break };
            state = next;
        }
        (1..=state.sold).all(|order_id| state.recorded.contains(&order_id))
    }
}

impl Model for PurchaseModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            stock: self.bounds.stock,
            restocks_left: self.bounds.restocks,
            sold: 0,
            decided: 0,
            forgotten_orders: 0,
            purchases: [Purchase::default(); KEYS],
            recorded: Vec::new(),
            proposed: Vec::new(),
            leader: Leader::default(),
            flaw: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([
            Action::Restock,
            Action::Elect,
            Action::StartOver,
            Action::Ask,
            Action::Propose,
            Action::Commit,
        ]);
        actions.extend((0..=state.proposed.len()).map(|survivors| Action::CommitBarrier { survivors }));
        for key in KEYS - self.bounds.keys..KEYS {
            actions.extend((1..=state.decided + 1).map(|heard| Action::Send { key, heard }));
            actions.extend([false, true].map(|is_answer_lost| Action::Decide { key, is_answer_lost }));
            actions.extend([Action::Serve(key), Action::TakeReply(key), Action::Confirm(key)]);
            if self.bounds.forgets {
                actions.extend([Action::Forget(key), Action::SendAnew(key)]);
                let lists = 0..state.recorded.len() as OrderId;
                actions.extend(lists.map(|looked| Action::ServeDeposed { key, looked }));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Restock => {
                state.restocks_left = state.restocks_left.checked_sub(1)?;
                state.stock += 1;
            }
            Action::Send { key, heard } => self.send(&mut state, key, heard)?,
            Action::SendAnew(key) => self.send_anew(&mut state, key)?,
            Action::Serve(key) => self.serve(&mut state, key)?,
            Action::ServeDeposed { key, looked } => self.serve_deposed(&mut state, key, looked)?,
            Action::Decide { key, is_answer_lost } => self.decide(&mut state, key, is_answer_lost)?,
            Action::Forget(key) => self.forget(&mut state, key)?,
            Action::TakeReply(key) => self.take_reply(&mut state, key)?,
            Action::Confirm(key) => self.confirm(&mut state, key)?,
            Action::Elect => self.elect(&mut state),
            Action::CommitBarrier { survivors } => self.commit_barrier(&mut state, survivors)?,
            Action::StartOver => self.start_over(&mut state)?,
            Action::Ask => self.ask(&mut state)?,
            Action::Propose => self.propose(&mut state)?,
            Action::Commit => self.commit(&mut state)?,
        }
        state.purchases.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(promise::ONE_COPY, |_, state: &State| state.flaw != Some(Flaw::SoldTwice)),
            Property::always(promise::RECORDED_FIRST, |_, state: &State| state.flaw != Some(Flaw::AnsweredUnrecorded)),
            Property::always(promise::ONE_ANSWER, |_, state: &State| state.flaw != Some(Flaw::AnswersDiffer)),
            Property::always(promise::NO_GAPS, |_, state: &State| {
                state.recorded.iter().copied().eq(1..=state.recorded.len() as u8)
            }),
            Property::always(promise::BALANCE, |model: &Self, state: &State| {
                let copies = model.bounds.stock + model.bounds.restocks - state.restocks_left;
                state.stock + state.sold == copies && state.recorded.len() <= usize::from(state.sold)
            }),
            Property::always(promise::RECORDED_AT_LAST, |model: &Self, state: &State| model.settles(state)),
            Property::sometimes("every client has an answer", |model: &Self, state: &State| {
                state.purchases.iter().filter(|purchase| purchase.answer.is_some()).count() == model.bounds.keys
            }),
        ]
    }
}
