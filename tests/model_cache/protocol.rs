//! The protocol as a model: its steps, and what must always hold.

use stateright::{Model, Property};

use crate::deviation::Deviation;
use crate::state::{
    EPOCHS, Flight, Frontend, Granted, Leadership, Push, Reader, RequestStage, SLOTS, State, WRITES, Write,
};

/// The promise that the model checks.
pub const CURRENT: &str = "every read is current";

/// How far the model's world extends.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub writes: usize,
    /// Leaderships, the first included.
    pub epochs: usize,
    /// Sessions that one leader grants to one frontend.
    pub sessions: u8,
    /// Requests for a lease that a frontend has under way.
    pub requests: usize,
    /// Questions to the catalog that a frontend has under way.
    pub flights: usize,
}

/// The protocol among so many frontends, or a deviation from it.
pub struct CacheModel<const FRONTENDS: usize> {
    pub bounds: Bounds,
    pub deviation: Option<Deviation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Tick,
    AskForLease(usize),
    ConfirmGrant(usize, usize, u8),
    AnswerGrant(usize, usize),
    AdoptGrant(usize, usize),
    LoseRequest(usize, usize),
    TakeEntry(usize),
    CheckEntry(usize),
    Fetch(usize),
    Join(usize, usize),
    Observe(usize, usize),
    Index(usize, usize),
    Land(usize, usize),
    LoseFlight(usize, usize),
    Leave(usize),
    Restart(usize),
    BeginWrite(usize),
    Invalidate(usize, usize),
    GiveUpInvalidation(usize, usize),
    Propose(usize),
    Commit(usize),
    Finish(usize),
    Refuse(usize),
    Elect,
    CommitBarrier(u8),
    Announce(usize),
}

impl<const FRONTENDS: usize> CacheModel<FRONTENDS> {
    pub fn breaks(&self, deviation: Deviation) -> bool {
        self.deviation == Some(deviation)
    }

    fn tick(&self, state: &mut State<FRONTENDS>) {
        let pass = |left: &mut u8| *left = left.saturating_sub(1);
        pass(&mut state.leadership.wait);
        state.granted.iter_mut().flatten().for_each(|granted| pass(&mut granted.expiry));
        for frontend in &mut state.frontends {
            pass(&mut frontend.lease);
            frontend.requests.iter_mut().flatten().for_each(|request| pass(&mut request.lease));
        }
        for write in &mut state.writes {
            let Write::Invalidating(pushes) = write else { continue };
            for push in pushes {
                *push = match *push {
                    Push::Lost(left) if left > 1 => Push::Lost(left - 1),
                    Push::Lost(_) => Push::Settled,
                    other => other,
                };
            }
        }
    }

    /// Makes states equal that differ only in what can have no effect any more.
    fn normalise(&self, state: &mut State<FRONTENDS>) {
        state.writes.sort_unstable();
        state.frontends.iter_mut().for_each(|frontend| self.normalise_frontend(frontend));
        if state.leadership.wait == 0 {
            state.leadership.has_confirmed = [true; FRONTENDS];
        } else if state.leadership.has_confirmed == [true; FRONTENDS] {
            state.leadership.wait = 0;
        }
        for epoch in 0..state.epoch {
            for (granted, frontend) in state.granted[usize::from(epoch)].iter_mut().zip(&state.frontends) {
                let is_by = |stage| matches!(stage, RequestStage::Confirmed(_, by) if by == epoch);
                let is_awaited = frontend.requests.iter().flatten().any(|request| is_by(request.stage));
                if !is_awaited && !self.breaks(Deviation::GrantWithoutMajority) {
                    *granted = Granted::default();
                }
            }
        }
    }

    fn normalise_frontend(&self, frontend: &mut Frontend) {
        frontend.requests.sort_unstable();
        for (number, slot) in frontend.flights.iter_mut().enumerate() {
            // Its answer can be neither kept nor shared, unless by one of the deviations.
            let is_useless = |flight: &Flight| !flight.is_current || flight.session.is_none();
            let Some(flight) = slot.as_mut().filter(|flight| self.deviation.is_none() && is_useless(flight)) else {
                continue;
            };
            flight.session = None;
            if !matches!(frontend.reader, Reader::Waits { flight, .. } if flight == number) {
                *slot = None;
            }
        }
        if frontend.flights[0] > frontend.flights[1] {
            frontend.flights.swap(0, 1);
            if let Reader::Waits { flight, .. } = &mut frontend.reader {
                *flight = 1 - *flight;
            }
        }
    }
}

impl<const FRONTENDS: usize> Model for CacheModel<FRONTENDS> {
    type State = State<FRONTENDS>;
    type Action = Action;

    fn init_states(&self) -> Vec<State<FRONTENDS>> {
        let mut writes = [Write::Done; WRITES];
        writes[..self.bounds.writes].fill(Write::Idle);
        let mut state = State {
            committed: 0,
            epoch: 0,
            leadership: Leadership { has_barrier: true, wait: 0, has_confirmed: [true; FRONTENDS] },
            granted: [[Granted::default(); FRONTENDS]; EPOCHS],
            writes,
            frontends: [Frontend::default(); FRONTENDS],
            has_read_stale: false,
        };
        self.normalise(&mut state);
        vec![state]
    }

    fn actions(&self, _: &State<FRONTENDS>, actions: &mut Vec<Action>) {
        actions.extend([Action::Tick, Action::Elect]);
        actions.extend((0..=WRITES as u8).map(Action::CommitBarrier));
        for of in 0..FRONTENDS {
            actions.extend([Action::AskForLease(of), Action::TakeEntry(of), Action::CheckEntry(of)]);
            actions.extend([Action::Fetch(of), Action::Restart(of), Action::Leave(of), Action::Announce(of)]);
            for slot in 0..SLOTS {
                actions.extend((0..self.bounds.epochs as u8).map(|by| Action::ConfirmGrant(of, slot, by)));
                actions.extend([Action::AnswerGrant(of, slot), Action::AdoptGrant(of, slot)]);
                actions.push(Action::LoseRequest(of, slot));
            }
            for flight in 0..SLOTS {
                actions.extend([Action::Join(of, flight), Action::Observe(of, flight), Action::Index(of, flight)]);
                actions.extend([Action::Land(of, flight), Action::LoseFlight(of, flight)]);
            }
            for write in 0..WRITES {
                actions.extend([Action::Invalidate(write, of), Action::GiveUpInvalidation(write, of)]);
            }
        }
        for write in 0..WRITES {
            actions.extend([Action::BeginWrite(write), Action::Propose(write), Action::Commit(write)]);
            actions.extend([Action::Finish(write), Action::Refuse(write)]);
        }
    }

    fn next_state(&self, last: &State<FRONTENDS>, action: Action) -> Option<State<FRONTENDS>> {
        let mut next = *last;
        let state = &mut next;
        match action {
            Action::Tick => self.tick(state),
            Action::AskForLease(of) => self.ask_for_lease(&mut state.frontends[of])?,
            Action::ConfirmGrant(of, slot, by) => self.confirm_grant(state, of, slot, by)?,
            Action::AnswerGrant(of, slot) => self.answer_grant(state, of, slot)?,
            Action::AdoptGrant(of, slot) => self.adopt_grant(&mut state.frontends[of], slot)?,
            Action::LoseRequest(of, slot) => drop(state.frontends[of].requests[slot].take()?),
            Action::TakeEntry(of) => self.take_entry(state, of)?,
            Action::CheckEntry(of) => self.check_entry(state, of)?,
            Action::Fetch(of) => self.fetch(state, of)?,
            Action::Join(of, flight) => self.join(state, of, flight)?,
            Action::Observe(of, flight) => self.observe(state, of, flight)?,
            Action::Index(of, flight) => self.index(state, of, flight)?,
            Action::Land(of, flight) => self.land(state, of, flight)?,
            Action::LoseFlight(of, flight) => self.lose_flight(&mut state.frontends[of], flight)?,
            Action::Leave(of) => self.leave(&mut state.frontends[of])?,
            Action::Restart(of) => state.frontends[of] = Frontend::default(),
            Action::BeginWrite(write) => self.begin_write(state, write)?,
            Action::Invalidate(write, at) => self.invalidate(state, write, at)?,
            Action::GiveUpInvalidation(write, at) => self.give_up_invalidation(state, write, at)?,
            Action::Propose(write) => self.propose(state, write)?,
            Action::Commit(write) => self.commit(state, write)?,
            Action::Finish(write) => self.finish(state, write)?,
            Action::Refuse(write) => self.refuse(state, write)?,
            Action::Elect => self.elect(state)?,
            Action::CommitBarrier(survivors) => self.commit_barrier(state, survivors)?,
            Action::Announce(to) => self.announce(state, to)?,
        }
        self.normalise(state);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let is_current = |_: &Self, state: &State<FRONTENDS>| !state.has_read_stale;
        let is_newest_cached = |model: &Self, state: &State<FRONTENDS>| {
            let is_last = usize::from(state.epoch) + 1 == model.bounds.epochs;
            let newest = model.bounds.writes as u8;
            is_last && state.frontends.iter().any(|frontend| frontend.entry == Some(newest) && frontend.lease > 0)
        };
        let mut properties = vec![Property::always(CURRENT, is_current)];
        // Within the steps that two frontends are followed for, there is no time for a whole life.
        if FRONTENDS == 1 {
            properties
                .push(Property::sometimes("the newest version is cached under the last leader", is_newest_cached));
        }
        properties
    }
}
