//! How a replica stands to its group, for those who balance over the group: cheap to say, and asked often.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::consensus::leadership::Leadership;
use super::{Freshness, Inner};
use crate::api::Endpoint;

/// Where every replica says how it stands. With the query [`TRIED`] it first tries to make a read current.
pub const STANDING: &str = Endpoint::Standing.path();

/// See [`STANDING`].
pub const TRIED: &str = "tried";

/// How long a read that is made only to try may take.
const TRIAL_PATIENCE: Duration = Duration::from_millis(200);

/// How a replica stands to its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its name.
    pub id: String,
    /// The group's own name for itself, which no other group has; nothing while the replica belongs to none.
    pub cluster: Option<String>,
    /// Who leads, as far as it knows.
    pub leader: Option<Leading>,
    /// Whether it can make reads current, as far as it knows.
    pub serves: bool,
    /// What keeps it from acting while it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<String>,
}

/// Who leads a group, and since which term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leading {
    /// The leader's name.
    pub id: String,
    /// The term in which it was elected: of two statements, the one with the higher term is newer.
    pub term: u64,
}

impl Leading {
    /// As it stands in a header.
    pub fn header(&self) -> String {
        format!("{};{}", self.id, self.term)
    }

    /// The reverse of [`header`](Self::header): the leader's name and the term.
    pub fn parse(header: &[u8]) -> Option<(&str, u64)> {
        let (id, term) = str::from_utf8(header).ok()?.split_once(';')?;
        Some((id, term.parse().ok()?))
    }
}

impl Inner {
    /// How this replica stands; if `is_tried`, it serves only if a read that is made now is current soon.
    pub(super) async fn standing(&self, is_tried: bool) -> Standing {
        let serves = self.bootstrap.outside().is_none()
            && self.reads.may_serve()
            && (!is_tried || {
                let read = tokio::time::timeout(TRIAL_PATIENCE, self.reads.wait(bytes::Bytes::new())).await;
                matches!(read, Ok(Ok(Freshness::Current(_))))
            });
        Standing {
            id: self.settings.group.label(self.settings.group.own),
            cluster: self.bootstrap.peers.identity.cluster().map(|cluster| cluster.to_string()),
            leader: self.leading(),
            serves,
            hindrance: self.hindered.borrow().clone(),
        }
    }

    /// Who leads, as far as this replica knows, and may act.
    pub(super) fn leading(&self) -> Option<Leading> {
        let group = &self.settings.group;
        match *self.leadership.borrow() {
            Leadership::Own(term) => Some(Leading { id: group.label(group.own), term }),
            Leadership::Other(leader) => {
                let server = self.raft.server_metrics();
                let server = server.borrow();
                // What is known of the leadership may be a moment older.
                let is_settled = server.current_leader == Some(leader);
                is_settled.then(|| Leading { id: group.label(leader), term: server.vote.leader_id().term })
            }
            Leadership::Vacant(_) | Leadership::Preparing(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_in_a_header_is_read_as_it_was_written() {
        let leading = Leading { id: "catalog-2".to_owned(), term: 7 };
        assert_eq!(Leading::parse(leading.header().as_bytes()), Some(("catalog-2", 7)));
        for wrong in ["", "catalog-2", "catalog-2;", "catalog-2;x", ";"] {
            assert_eq!(Leading::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
