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

    /// Adds a key, which must be new.
    pub fn insert(&mut self, key: &Key, position: u64) {
        let hash = self.hasher.hash_one(key);
        self.slots.insert_unique(hash, Slot { hash, position }, |slot| slot.hash);
    }

    /// Forgets the key at a position.
    pub fn remove(&mut self, key: &Key, position: u64) {
        if let Ok(slot) = self.slots.find_entry(self.hasher.hash_one(key), |slot| slot.position == position) {
            slot.remove();
        }
    }
}
