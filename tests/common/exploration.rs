//! What the protocol models share: exploring all that can happen, and looking for what must not.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model};

/// Visits every state and asserts that the model's properties hold, and that there were `at_least` so many
/// states: a model in which little can happen proves nothing.
pub fn assert_holds<M>(name: &str, exploration: CheckerBuilder<M>, at_least: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = exploration.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} states, at most {depth} steps away");
    checker.assert_properties();
    assert!(states >= at_least, "{name}: {states} states are fewer than the {at_least} that there used to be");
}

/// A shortest way to break the model's property of this name, if there is any.
pub fn counterexample<M>(model: M, property: &'static str) -> Option<Vec<M::Action>>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let found = HasDiscoveries::AnyOf([property].into());
    let steps = model.checker().finish_when(found).spawn_bfs().join().discovery(property)?.into_actions();
    println!("\"{property}\" breaks in {} steps: {steps:?}", steps.len());
    Some(steps)
}
