//! What frontends do: hold a lease, answer from the cache, fetch and fill.

use crate::deviation::Deviation;
use crate::protocol::CacheModel;
use crate::state::{
    Flight, FlightStage, Frontend, LEASE, Reader, Request, RequestStage, SLOTS, Session, State, Version,
};

impl Frontend {
    /// Drops everything that was cached under the old session, and goes on with the new one.
    fn change_session(&mut self, session: Option<Session>) {
        self.session = session;
        self.entry = None;
    }

    /// Drops everything, as the announcement of a new epoch demands.
    pub fn forget_epoch(&mut self, ignores_late_grants: bool) {
        self.change_session(None);
        self.lease = 0;
        if ignores_late_grants {
            self.requests = Default::default();
        }
    }

    /// Ends the key's generation.
    pub fn invalidate(&mut self) {
        self.entry = None;
        self.flights.iter_mut().flatten().for_each(|flight| flight.is_current = false);
        // What was taken before cannot pass its check any more.
        if let Reader::Took { .. } = self.reader {
            self.reader = Reader::Idle;
        }
    }
}

impl<const FRONTENDS: usize> CacheModel<FRONTENDS> {
    pub fn ask_for_lease(&self, frontend: &mut Frontend) -> Option<()> {
        let slot = frontend.requests.iter_mut().rev().take(self.bounds.requests).find(|slot| slot.is_none())?;
        *slot = Some(Request { lease: LEASE, stage: RequestStage::Asked(frontend.session) });
        Some(())
    }

    pub fn adopt_grant(&self, frontend: &mut Frontend, slot: usize) -> Option<()> {
        let request = frontend.requests[slot]?;
        let RequestStage::Granted(session) = request.stage else { return None };
        frontend.requests[slot] = None;
        let lease = if self.breaks(Deviation::LeaseFromAnswer) { LEASE } else { request.lease };
        if self.is_same(frontend.session, Some(session)) {
            frontend.session = Some(session);
            frontend.lease = frontend.lease.max(lease);
        } else {
            frontend.change_session(Some(session));
            frontend.lease = lease;
        }
        Some(())
    }

    pub fn is_same(&self, one: Option<Session>, other: Option<Session>) -> bool {
        match self.breaks(Deviation::SessionWithoutEpoch) {
            true => one.map(|session| session.number) == other.map(|session| session.number),
            false => one == other,
        }
    }

    /// A read begins and takes the entry.
    pub fn take_entry(&self, state: &mut State<FRONTENDS>, of: usize) -> Option<()> {
        let (frontend, floor) = (&mut state.frontends[of], state.committed);
        let is_lease_seen = self.breaks(Deviation::LeaseSeenBeforeEntry) || self.breaks(Deviation::LeaseSeenBeforeRead);
        frontend.reader = match frontend.reader {
            Reader::Idle if is_lease_seen && frontend.lease > 0 => Reader::SawLease { floor },
            Reader::Idle if !is_lease_seen => {
                Reader::Took { version: frontend.entry?, session: frontend.session, floor }
            }
            _ => return None,
        };
        Some(())
    }

    /// The read checks what it took, and returns it.
    pub fn check_entry(&self, state: &mut State<FRONTENDS>, of: usize) -> Option<()> {
        let (frontend, committed) = (&mut state.frontends[of], state.committed);
        let (version, floor) = match std::mem::take(&mut frontend.reader) {
            Reader::Took { version, session, floor } => {
                if frontend.lease == 0 || !self.is_same(session, frontend.session) {
                    return Some(());
                }
                (version, floor)
            }
            Reader::SawLease { floor } => {
                let Some(version) = frontend.entry else { return Some(()) };
                (version, if self.breaks(Deviation::LeaseSeenBeforeRead) { committed } else { floor })
            }
            Reader::Idle | Reader::Waits { .. } => return None,
        };
        state.has_read_stale |= version < floor;
        Some(())
    }

    /// A read begins and, after a miss, asks for itself.
    pub fn fetch(&self, state: &mut State<FRONTENDS>, of: usize) -> Option<()> {
        let (frontend, floor) = (&mut state.frontends[of], state.committed);
        let flight = (0..SLOTS).rev().take(self.bounds.flights).find(|flight| frontend.flights[*flight].is_none())?;
        let Reader::Idle = frontend.reader else { return None };
        frontend.flights[flight] = Some(Flight::begin(frontend.session));
        frontend.reader = Reader::Waits { flight, floor, is_late: false };
        Some(())
    }

    /// A read begins and, after a miss, joins a question that is under way.
    pub fn join(&self, state: &mut State<FRONTENDS>, of: usize, flight: usize) -> Option<()> {
        let (frontend, floor) = (&mut state.frontends[of], state.committed);
        let Flight { session, is_current, .. } = frontend.flights[flight]?;
        let has_lease =
            frontend.lease > 0 || (self.breaks(Deviation::FlightWithoutLease) && frontend.session.is_some());
        let is_same = is_current && self.is_same(session, frontend.session);
        let Reader::Idle = frontend.reader else { return None };
        if !(has_lease && is_same || self.breaks(Deviation::FlightByKeyAlone)) {
            return None;
        }
        frontend.reader = Reader::Waits { flight, floor, is_late: true };
        Some(())
    }

    /// An answer arrives: it is cached if it may be, and given to the reader if it waits for it.
    pub fn land(&self, state: &mut State<FRONTENDS>, of: usize, flight: usize) -> Option<()> {
        let frontend = &mut state.frontends[of];
        let Flight { session, is_current, stage } = frontend.flights[flight]?;
        let FlightStage::Answered { is_pending, version } = stage else { return None };
        frontend.flights[flight] = None;

        let is_generation = is_current || self.breaks(Deviation::FillWithoutGeneration);
        let is_session = self.is_same(session, frontend.session) || self.breaks(Deviation::FillWithoutSession);
        if !is_pending && is_generation && is_session && frontend.session.is_some() {
            frontend.entry = Some(version);
        }
        if let Reader::Waits { flight: waited, floor, is_late } = frontend.reader
            && waited == flight
        {
            if is_late && is_pending && !self.breaks(Deviation::UnsettledAnswerShared) {
                frontend.flights[flight] = Some(Flight::begin(frontend.session));
                frontend.reader = Reader::Waits { flight, floor, is_late: false };
            } else {
                frontend.reader = Reader::Idle;
                state.has_read_stale |= version < floor;
            }
        }
        Some(())
    }

    /// Whoever asked leaves; the question goes on, and others may join it.
    pub fn leave(&self, frontend: &mut Frontend) -> Option<()> {
        let Reader::Waits { .. } = frontend.reader else { return None };
        frontend.reader = Reader::Idle;
        Some(())
    }

    /// A question or its answer is lost.
    pub fn lose_flight(&self, frontend: &mut Frontend, flight: usize) -> Option<()> {
        frontend.flights[flight].take()?;
        match frontend.reader {
            Reader::Waits { flight: waited, .. } if waited == flight => frontend.reader = Reader::Idle,
            _ => {}
        }
        Some(())
    }
}

impl Flight {
    fn begin(session: Option<Session>) -> Flight {
        Flight { session, is_current: true, stage: FlightStage::Asked }
    }
}

/// The leader's part in answering a flight.
impl<const FRONTENDS: usize> CacheModel<FRONTENDS> {
    /// The leader looks whether the key is pending. What it saw outlives it here, which no real round
    /// allows: one more freedom for the environment, and one less thing to keep track of.
    pub fn observe(&self, state: &mut State<FRONTENDS>, of: usize, flight: usize) -> Option<()> {
        let is_pending = self.is_pending(state);
        self.leader_ready(state)?;
        let stage = &mut state.frontends[of].flights[flight].as_mut()?.stage;
        *stage = match *stage {
            FlightStage::Asked if !self.breaks(Deviation::PendingSeenAfterIndex) => {
                FlightStage::Observed { is_pending }
            }
            FlightStage::Indexed { version } => FlightStage::Answered { is_pending, version },
            _ => return None,
        };
        Some(())
    }

    /// A majority confirms the leader, and a replica that has applied as much answers. One that has applied
    /// more answers something newer, which is never worse.
    pub fn index(&self, state: &mut State<FRONTENDS>, of: usize, flight: usize) -> Option<()> {
        self.leader_ready(state)?;
        let version: Version = if state.leadership.has_barrier { state.committed } else { 0 };
        let stage = &mut state.frontends[of].flights[flight].as_mut()?.stage;
        *stage = match *stage {
            FlightStage::Observed { is_pending } => FlightStage::Answered { is_pending, version },
            FlightStage::Asked if self.breaks(Deviation::PendingSeenAfterIndex) => FlightStage::Indexed { version },
            _ => return None,
        };
        Some(())
    }
}
