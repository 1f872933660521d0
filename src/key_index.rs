//! Finds what a list holds under a key, without a second copy of the keys.
//!
//! A shop remembers millions of keys. They stand in the lists of what was decided and of what was ordered, and this
//! knows only at which position; whoever has the list tells which key stands there.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::model::Key;

/// Positions by key.
#[derive(Default)]
pub struct KeyIndex {
    slots: HashTable<Slot>,
    hasher: RandomState,
}

/// The hash stands here so that the table can grow without a look at the keys.
struct Slot {
    hash: u64,
    position: u64,
}

impl KeyIndex {
    /// The position of `key`, if it is known; `key_at` tells the key at a position.
    pub fn find<'a>(&self, key: &Key, key_at: impl Fn(u64) -> Option<&'a Key>) -> Option<u64> {
        let hash = self.hasher.hash_one(key);
        let is_key = |slot: &Slot| slot.hash == hash && key_at(slot.position) == Some(key);
        self.slots.find(hash, is_key).map(|slot| slot.position)
    }

    /// Adds a key, unless it is known: were one kept many times, to find it would take ever longer.
    pub fn insert<'a>(&mut self, key: &Key, position: u64, key_at: impl Fn(u64) -> Option<&'a Key>) {
        let hash = self.hasher.hash_one(key);
        let is_key = |slot: &Slot| slot.hash == hash && key_at(slot.position) == Some(key);
        if self.slots.find(hash, is_key).is_none() {
            self.slots.insert_unique(hash, Slot { hash, position }, |slot| slot.hash);
        }
    }

    /// Forgets the key at a position.
    pub fn remove(&mut self, key: &Key, position: u64) {
        if let Ok(slot) = self.slots.find_entry(self.hasher.hash_one(key), |slot| slot.position == position) {
            slot.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::key;

    #[test]
    fn a_key_that_comes_again_and_again_is_kept_once() {
        let keys = vec![key("a"); 50_000];
        let mut index = KeyIndex::default();
        let at = |position: u64| keys.get(position as usize);
        (0..keys.len() as u64).for_each(|position| index.insert(&keys[0], position, at));
        assert_eq!((index.slots.len(), index.find(&keys[0], at)), (1, Some(0)));
        assert_eq!(index.find(&key("b"), at), None);
    }
}
