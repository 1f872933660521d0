//! Decisions that are found by their keys: added at the end, forgotten from the front, and counted all the while.

use imbl::Vector;

use super::ledger::Kept;
use crate::key_index::KeyIndex;
use crate::model::Key;

/// Some decisions in their order.
#[derive(Default)]
pub struct Memory {
    entries: Vector<Kept>,
    /// How many came before the first entry.
    forgotten: u64,
    generation: u64,
    /// Positions, counted from the first decision ever. Follows from `entries`.
    by_key: KeyIndex,
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
        self.by_key.insert(entry.key(), self.decided());
        self.entries.push_back(entry);
    }

    /// Forgets the first `count` entries, and brings them.
    pub fn forget(&mut self, count: usize) -> Vector<Kept> {
        let kept = self.entries.split_off(count);
        let forgotten = std::mem::replace(&mut self.entries, kept);
        for entry in &forgotten {
            self.by_key.remove(entry.key(), self.forgotten);
            self.forgotten += 1;
        }
        self.generation += 1;
        forgotten
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
