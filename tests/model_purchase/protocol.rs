//! The protocol as a model: its steps, and what must always hold.

use stateright::{Model, Property};

use crate::deviation::{Deviation, promise};
use crate::state::{Flaw, KEYS, Leader, OLDEST, Purchase, State};

/// How far the model's world extends.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Clients, each with a key and one request under it.
    pub keys: usize,
    /// Copies at first.
    pub stock: u8,
    /// Copies added later, one by one.
    pub restocks: u8,
    /// Whether time passes, and keys are forgotten.
    pub has_time: bool,
}

/// The protocol, or a deviation from it.
pub struct PurchaseModel {
    pub bounds: Bounds,
    pub deviation: Option<Deviation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Tick,
    Restock,
    Send { key: usize, is_clock_ahead: bool },
    Serve(usize),
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

    fn send(&self, purchase: &mut Purchase, is_clock_ahead: bool) -> Option<()> {
        let age = if is_clock_ahead { 0 } else { 1 };
        purchase.age.replace(age).is_none().then_some(())
    }

    fn tick(&self, state: &mut State) {
        for purchase in &mut state.purchases {
            let ages = purchase.age.iter_mut().chain(purchase.decision.iter_mut().map(|decision| &mut decision.age));
            ages.for_each(|age| *age = OLDEST.min(*age + 1));
        }
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
            actions.push(Action::Send { key, is_clock_ahead: false });
            actions.extend([false, true].map(|is_answer_lost| Action::Decide { key, is_answer_lost }));
            actions.extend([Action::Serve(key), Action::TakeReply(key), Action::Confirm(key)]);
            if self.bounds.has_time {
                actions.extend([Action::Forget(key), Action::Send { key, is_clock_ahead: true }]);
            }
        }
        if self.bounds.has_time {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => self.tick(&mut state),
            Action::Restock => {
                state.restocks_left = state.restocks_left.checked_sub(1)?;
                state.stock += 1;
            }
            Action::Send { key, is_clock_ahead } => self.send(&mut state.purchases[key], is_clock_ahead)?,
            Action::Serve(key) => self.serve(&mut state, key)?,
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
