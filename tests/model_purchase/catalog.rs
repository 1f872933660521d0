//! What the catalog does: decide, remember for a while, and forget.
//!
//! Its group is one that never fails, for what reaches no majority or finds no leader did not arrive, and
//! what a dying leader commits without an answer is a decision whose answer is lost.

use crate::deviation::Deviation;
use crate::protocol::PurchaseModel;
use crate::state::{Answer, Decision, FENCE, Flaw, OrderId, Purchase, RETENTION, Service, State};

impl PurchaseModel {
    /// A request to decide arrives, for the first time or again.
    pub fn decide(&self, state: &mut State, key: usize, is_answer_lost: bool) -> Option<()> {
        if !state.purchases[key].is_asked {
            return None;
        }
        let is_awaited = state.purchases[key].service == Service::Asking;
        let answer = self.decision(state, key)?;
        if !is_answer_lost {
            state.purchases[key].service = is_awaited.then_some(Service::Replied(answer))?;
        }
        Some(())
    }

    fn decision(&self, state: &mut State, key: usize) -> Option<Answer> {
        let purchase = &mut state.purchases[key];
        let is_too_old = purchase.age? > FENCE;
        if is_too_old && self.breaks(Deviation::FenceBeforeKey) {
            return Some(Answer::Expired);
        }
        if let Some(Decision { bought, .. }) = purchase.decision.filter(|_| !self.breaks(Deviation::NoKeyCheck)) {
            return Some(match bought {
                Some(_) if state.stock == 0 && self.breaks(Deviation::KeyWithoutOutcome) => Answer::SoldOut,
                Some(order_id) => Answer::Bought(order_id),
                None => Answer::SoldOut,
            });
        }
        if is_too_old && !self.breaks(Deviation::NoFence) {
            return Some(Answer::Expired);
        }
        let bought = (state.stock > 0).then_some(state.sold + 1);
        if let Some(order_id) = bought {
            state.stock -= 1;
            state.sold = order_id;
            if purchase.sold_as.replace(order_id).is_some() {
                state.flaw = Some(Flaw::SoldTwice);
            }
        }
        purchase.decision = Some(Decision { bought, age: 0 });
        Some(bought.map_or(Answer::SoldOut, Answer::Bought))
    }

    /// A decision is forgotten. Of a purchase the order group must have told that it holds the order.
    pub fn forget(&self, state: &mut State, key: usize) -> Option<()> {
        let Decision { bought, age } = state.purchases[key].decision?;
        let retention = if self.breaks(Deviation::NoSlackBeyondFence) { FENCE } else { RETENTION };
        let is_recorded = |order_id| state.recorded.contains(&order_id) || self.breaks(Deviation::UnrecordedForgotten);
        if age < retention || !bought.is_none_or(is_recorded) {
            return None;
        }
        state.purchases[key].decision = None;
        Some(())
    }

    /// The purchases that the catalog remembers, after an order number.
    pub fn purchases_after(state: &State, after: OrderId) -> impl Iterator<Item = OrderId> {
        let bought = |purchase: &Purchase| purchase.decision.and_then(|decision| decision.bought);
        state.purchases.iter().filter_map(bought).filter(move |order_id| *order_id > after)
    }
}
