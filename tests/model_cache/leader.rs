//! What leaders do: become ready, grant leases, and write.

use crate::deviation::Deviation;
use crate::protocol::CacheModel;
use crate::state::{Granted, LEASE, Leadership, Push, RequestStage, Session, State, Write};

impl<const FRONTENDS: usize> CacheModel<FRONTENDS> {
    pub fn leader_ready(&self, state: &State<FRONTENDS>) -> Option<()> {
        (state.leadership.has_barrier || self.breaks(Deviation::NoBarrier)).then_some(())
    }

    pub fn is_pending(&self, state: &State<FRONTENDS>) -> bool {
        !self.breaks(Deviation::NoPendingMark)
            && state.writes.iter().any(|write| match write {
                Write::Invalidating(_) | Write::Committed => true,
                Write::Proposed => !self.breaks(Deviation::UnknownCountsAsFailed),
                Write::Idle | Write::Orphaned | Write::Outliving | Write::Done => false,
            })
    }

    /// A leadership begins: another leader is elected, or the same one restarts and leads on.
    pub fn elect(&self, state: &mut State<FRONTENDS>) -> Option<()> {
        if usize::from(state.epoch) + 1 == self.bounds.epochs {
            return None;
        }
        state.epoch += 1;
        state.leadership = Leadership { has_barrier: false, wait: LEASE, has_confirmed: [false; FRONTENDS] };
        for write in &mut state.writes {
            *write = match *write {
                Write::Invalidating(pushes) if pushes == [Push::Settled; FRONTENDS] => {
                    if self.breaks(Deviation::WriteOutlivesEpoch) { Write::Outliving } else { Write::Idle }
                }
                Write::Invalidating(_) => Write::Idle,
                Write::Proposed => Write::Orphaned,
                Write::Committed => Write::Done,
                settled => settled,
            };
        }
        Some(())
    }

    /// The barrier commits, and decides which writes of earlier epochs do.
    pub fn commit_barrier(&self, state: &mut State<FRONTENDS>, mut survivors: u8) -> Option<()> {
        if state.leadership.has_barrier {
            return None;
        }
        state.leadership.has_barrier = true;
        for write in state.writes.iter_mut().filter(|write| **write == Write::Orphaned) {
            *write = Write::Idle;
            if survivors > 0 {
                *write = Write::Done;
                survivors -= 1;
                state.committed += 1;
            }
        }
        (survivors == 0).then_some(())
    }

    pub fn announce(&self, state: &mut State<FRONTENDS>, to: usize) -> Option<()> {
        if std::mem::replace(&mut state.leadership.has_confirmed[to], true) {
            return None;
        }
        state.frontends[to].forget_epoch(!self.breaks(Deviation::LateGrantAdopted));
        Some(())
    }

    fn may_propose(&self, state: &State<FRONTENDS>) -> bool {
        let is_alone = state.leadership.wait == 0 || state.leadership.has_confirmed == [true; FRONTENDS];
        state.leadership.has_barrier && (is_alone || self.breaks(Deviation::NewLeaderDoesNotWait))
    }

    /// A majority confirms that whoever received the request leads.
    pub fn confirm_grant(&self, state: &mut State<FRONTENDS>, of: usize, slot: usize, by: u8) -> Option<()> {
        if by > state.epoch || (by < state.epoch && !self.breaks(Deviation::GrantWithoutMajority)) {
            return None;
        }
        if by == state.epoch {
            self.leader_ready(state)?;
        }
        let request = state.frontends[of].requests[slot].as_mut()?;
        let RequestStage::Asked(named) = request.stage else { return None };
        request.stage = RequestStage::Confirmed(named, by);
        Some(())
    }

    /// Whoever was confirmed grants or refuses, perhaps deposed since.
    pub fn answer_grant(&self, state: &mut State<FRONTENDS>, of: usize, slot: usize) -> Option<()> {
        let request = &mut state.frontends[of].requests[slot];
        let RequestStage::Confirmed(named, by) = request.as_ref()?.stage else { return None };
        let is_lost = |write: &Write<FRONTENDS>| matches!(write, Write::Invalidating(pushes) if matches!(pushes[of], Push::Lost(_)));
        if by == state.epoch && state.writes.iter().any(is_lost) && !self.breaks(Deviation::RenewalNotRefused) {
            *request = None;
            return Some(());
        }
        let Granted { mut number, expiry } = state.granted[usize::from(by)][of];
        if expiry == 0 || named != Some(Session { epoch: by, number }) {
            number += 1;
        }
        if number > self.bounds.sessions {
            return None;
        }
        let expiry = if self.breaks(Deviation::NoDriftMargin) { LEASE - 1 } else { LEASE };
        state.granted[usize::from(by)][of] = Granted { number, expiry };
        request.as_mut()?.stage = RequestStage::Granted(Session { epoch: by, number });
        Some(())
    }

    pub fn begin_write(&self, state: &mut State<FRONTENDS>, write: usize) -> Option<()> {
        self.leader_ready(state)?;
        let Write::Idle = state.writes[write] else { return None };
        let granted = &state.granted[usize::from(state.epoch)];
        let pushes = std::array::from_fn(|of| if granted[of].expiry > 0 { Push::Sent } else { Push::Settled });
        state.writes[write] = Write::Invalidating(pushes);
        Some(())
    }

    /// An invalidation arrives and is confirmed.
    pub fn invalidate(&self, state: &mut State<FRONTENDS>, write: usize, at: usize) -> Option<()> {
        let Write::Invalidating(pushes) = &mut state.writes[write] else { return None };
        let Push::Sent = std::mem::replace(&mut pushes[at], Push::Settled) else { return None };
        state.frontends[at].invalidate();
        Some(())
    }

    /// An invalidation or its confirmation is taken as lost.
    pub fn give_up_invalidation(&self, state: &mut State<FRONTENDS>, write: usize, at: usize) -> Option<()> {
        let Granted { expiry, .. } = state.granted[usize::from(state.epoch)][at];
        let Write::Invalidating(pushes) = &mut state.writes[write] else { return None };
        let Push::Sent = pushes[at] else { return None };
        pushes[at] = if expiry > 0 { Push::Lost(expiry) } else { Push::Settled };
        Some(())
    }

    pub fn propose(&self, state: &mut State<FRONTENDS>, write: usize) -> Option<()> {
        let Write::Invalidating(pushes) = state.writes[write] else { return None };
        let is_invalidated = pushes == [Push::Settled; FRONTENDS];
        if !self.may_propose(state) || !(is_invalidated || self.breaks(Deviation::ProposedBeforeInvalidation)) {
            return None;
        }
        state.writes[write] = Write::Proposed;
        Some(())
    }

    pub fn commit(&self, state: &mut State<FRONTENDS>, write: usize) -> Option<()> {
        state.writes[write] = match state.writes[write] {
            Write::Proposed => Write::Committed,
            Write::Outliving if self.may_propose(state) => Write::Done,
            _ => return None,
        };
        state.committed += 1;
        Some(())
    }

    /// The write is applied at the leader, and its key no longer pending.
    pub fn finish(&self, state: &mut State<FRONTENDS>, write: usize) -> Option<()> {
        let Write::Committed = state.writes[write] else { return None };
        state.writes[write] = Write::Done;
        Some(())
    }

    /// The write definitely fails before it is proposed.
    pub fn refuse(&self, state: &mut State<FRONTENDS>, write: usize) -> Option<()> {
        let Write::Invalidating(_) = state.writes[write] else { return None };
        state.writes[write] = Write::Idle;
        Some(())
    }
}
