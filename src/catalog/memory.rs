//! Decisions that are found by their keys: added at the end, forgotten from the front, and counted all the while.

use imbl::Vector;

use super::decisions::Kept;
use crate::key_index::KeyIndex;
use crate::model::Key;

/// Forgotten decisions that are cleared away with each new one. More than one, so that they do not pile up.
const CLEARED_AT_ONCE: usize = 4;

/// Some decisions in their order.
#[derive(Default)]
pub struct Memory {
    entries: Vector<Kept>,
    /// How many came before the first entry.
    forgotten: u64,
    generation: u64,
    /// Positions, counted from the first decision ever. Follows from `entries`, and may still have what is `outdated`.
    by_key: KeyIndex,
    /// The last of those that came before the first entry.
    outdated: Vector<Kept>,
}

impl Memory {
    /// Nothing yet, after so many that were forgotten.
    pub fn after(forgotten: u64) -> Memory {
        Memory { forgotten, ..Memory::default() }
    }

    /// Takes note that this comes in the place of `before`, with another table.
    pub fn succeed(&mut self, before: &Memory) {
        self.generation = before.generation + 1;
    }

    /// What was decided under `key`.
    pub fn find(&self, key: &Key) -> Option<&Kept> {
        let at = |position: u64| self.entries.get(position.checked_sub(self.forgotten)? as usize);
        self.by_key.find(key, |position| at(position).map(Kept::key)).and_then(at)
    }

    /// Adds a decision. Its key must be new.
    pub fn record(&mut self, entry: Kept) {
        self.clear_away();
        let (entries, forgotten) = (&self.entries, self.forgotten);
        let key_at = |position: u64| Some(entries.get(position.checked_sub(forgotten)? as usize)?.key());
        self.by_key.insert(entry.key(), self.decided(), key_at);
        self.entries.push_back(entry);
    }

    /// Forgets the first `count` entries, and brings them. They are a million on a busy day, so their memory is given back
    /// later, a little at a time: whoever waits for the next decision waits for this, too.
    pub fn forget(&mut self, count: usize) -> Vector<Kept> {
        let kept = self.entries.split_off(count);
        let forgotten = std::mem::replace(&mut self.entries, kept);
        self.forgotten += forgotten.len() as u64;
        self.generation += 1;
        self.outdated.append(forgotten.clone());
        forgotten
    }

    fn clear_away(&mut self) {
        for _ in 0..CLEARED_AT_ONCE {
            let position = self.forgotten - self.outdated.len() as u64;
            let Some(entry) = self.outdated.pop_front() else { return };
            self.by_key.remove(entry.key(), position);
        }
    }

    /// How many decisions there ever were.
    pub fn decided(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// How many of them are forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Those that are not, sharing their memory.
    pub fn entries(&self) -> &Vector<Kept> {
        &self.entries
    }

    /// Changes when entries are forgotten.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The index of the first entry for which `holds`, which then must hold for all after it; the number of entries
    /// if it holds for none.
    pub fn first_where(&self, holds: impl Fn(&Kept) -> bool) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match holds(&self.entries[middle]) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Order;
    use crate::model::testing::{an_order, key};

    fn decision(number: u64) -> Kept {
        Kept::Sold(Order { key: key(&format!("key-{number}")), ..an_order(number) })
    }

    fn finds(memory: &Memory, number: u64) -> bool {
        memory.find(decision(number).key()) == Some(&decision(number))
    }

    #[test]
    fn what_is_forgotten_is_not_found_any_more_and_cleared_away_a_little_at_a_time() {
        let mut memory = Memory::default();
        (1..=1000).for_each(|number| memory.record(decision(number)));
        assert_eq!(memory.forget(600).len(), 600);
        assert_eq!((memory.forgotten(), memory.decided(), memory.outdated.len()), (600, 1000, 600));
        assert!((1..=600).all(|number| memory.find(decision(number).key()).is_none()));
        assert!((601..=1000).all(|number| finds(&memory, number)));

        // A key may come again before that is done.
        memory.record(decision(600));
        assert!(finds(&memory, 600) && memory.outdated.len() >= 590);
        memory.forget(10);
        (1001..1001 + 610 / CLEARED_AT_ONCE as u64).for_each(|number| memory.record(decision(number)));
        assert!(memory.outdated.is_empty());
        assert!((1..=610).filter(|number| *number != 600).all(|number| memory.find(decision(number).key()).is_none()));
        assert!(finds(&memory, 600) && (611..=1000).all(|number| finds(&memory, number)));
    }
}
