//! Who belongs to a replica's group, and where they are.

use std::collections::BTreeMap;

/// A group as the configuration describes it.
#[derive(Clone, Debug)]
pub struct Group {
    /// What the group is called in messages: `catalog` or `order`.
    pub name: &'static str,
    /// This replica's number.
    pub own: u64,
    /// All replicas, this one included, by number.
    pub members: BTreeMap<u64, Member>,
}

/// One replica of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, such as `catalog-2`.
    pub id: String,
    /// Where it is reached, as `host:port`.
    pub address: String,
}

impl Group {
    /// All replicas but this one.
    pub fn others(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members.iter().filter(|(number, _)| **number != self.own).map(|(number, member)| (*number, member))
    }

    /// This replica's name.
    pub fn own_id(&self) -> &str {
        self.members.get(&self.own).map_or(self.name, |member| &member.id)
    }

    /// What a replica is called in messages.
    pub fn label(&self, number: u64) -> String {
        match self.members.get(&number) {
            Some(member) => member.id.clone(),
            None => format!("{}-{number} (not in the configuration)", self.name),
        }
    }

    /// The replica that forms a new group: the one with the lowest number.
    pub fn founder(&self) -> u64 {
        self.members.keys().next().copied().unwrap_or(self.own)
    }

    /// Whether this replica forms a new group.
    pub fn is_founder(&self) -> bool {
        self.founder() == self.own
    }
}
