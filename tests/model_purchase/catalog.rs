//! What the catalog does: decide, remember for a while, and forget.
//!
//! Its group is one that never fails, for what reaches no majority or finds no leader did not arrive, and
//! what a dying leader commits without an answer is a decision whose answer is lost.

use crate::deviation::Deviation;
use crate::protocol::PurchaseModel;
use crate::state::{Answer, Decision, Flaw, OrderId, Purchase, Question, Service, State};

impl PurchaseModel {
    /// A request to decide arrives, for the first time or again.
    pub fn decide(&self, state: &mut State, key: usize, is_answer_lost: bool) -> Option<()> {
        let question = state.purchases[key].asked?;
        let is_awaited = state.purchases[key].service == Service::Asking;
        let answer = self.decision(state, key, question);
        if !is_answer_lost {
            state.purchases[key].service = is_awaited.then_some(Service::Replied(answer))?;
        }
        Some(())
    }

    fn decision(&self, state: &mut State, key: usize, question: Question) -> Answer {
        let is_list_behind = question.looked < state.forgotten_orders && !self.breaks(Deviation::AnyListTrusted);
        let may_be_forgotten = question.heard == 0 && !self.breaks(Deviation::NoFence);
        let purchase = &mut state.purchases[key];
        if may_be_forgotten && self.breaks(Deviation::FenceBeforeKey) {
            return Answer::Expired;
        }
        if let Some(Decision { bought, .. }) = purchase.decision.filter(|_| !self.breaks(Deviation::NoKeyCheck)) {
            return match bought {
                Some(_) if state.stock == 0 && self.breaks(Deviation::KeyWithoutOutcome) => Answer::SoldOut,
                Some(order_id) => Answer::Bought(order_id),
                None => Answer::SoldOut,
            };
        }
        if may_be_forgotten {
            return Answer::Expired;
        }
        if is_list_behind {
            return match self.breaks(Deviation::ListBehindIsExpired) {
                true => Answer::Expired,
                false => Answer::ListBehind,
            };
        }
        let bought = (state.stock > 0).then_some(state.sold + 1);
        if let Some(order_id) = bought {
            state.stock -= 1;
            state.sold = order_id;
            if purchase.sold_as.replace(order_id).is_some() {
                state.flaw = Some(Flaw::SoldTwice);
            }
        }
        state.decided += 1;
        purchase.decision = Some(Decision { bought, position: state.decided });
        bought.map_or(Answer::SoldOut, Answer::Bought)
    }

    /// A decision is forgotten: the first that is remembered. Of a purchase the order group must have told that it
    /// holds the order.
    pub fn forget(&self, state: &mut State, key: usize) -> Option<()> {
        let Decision { bought, position } = state.purchases[key].decision?;
        let is_first = position == 1 || self.breaks(Deviation::ForgottenFromAnywhere);
        let is_recorded = |order_id| state.recorded.contains(&order_id) || self.breaks(Deviation::UnrecordedForgotten);
        if !is_first || !bought.is_none_or(is_recorded) {
            return None;
        }
        state.purchases[key].decision = None;
        state.decided -= 1;
        for purchase in &mut state.purchases {
            let heard = purchase.heard.iter_mut().chain(purchase.asked.iter_mut().map(|question| &mut question.heard));
            let positions = purchase.decision.iter_mut().map(|decision| &mut decision.position);
            heard.chain(positions).for_each(|count| *count = count.saturating_sub(1));
        }
        state.forgotten_orders = state.forgotten_orders.max(bought.unwrap_or(0));
        Some(())
    }

    /// The purchases that the catalog remembers, after an order number.
    pub fn purchases_after(state: &State, after: OrderId) -> impl Iterator<Item = OrderId> {
        let bought = |purchase: &Purchase| purchase.decision.and_then(|decision| decision.bought);
        state.purchases.iter().filter_map(bought).filter(move |order_id| *order_id > after)
    }
}
