//! What a write may change for readers, at the moment at which it is proposed.
//!
//! Which topic a book has is not in a write to it, and not always in the state either: the book may be on its way,
//! added by a write that is not applied yet. So the topics of all such writes are known here, and count as topics
//! that the book may have.

use std::collections::{BTreeSet, HashMap};

use crate::model::BookId;
use crate::protocol::cache::{Tag, normalized};
use crate::protocol::catalog::{Action, Write};

/// A book that an unfinished write adds: its number, if the write names one, and its topic, normalized.
pub type Arrival = (Option<BookId>, String);

/// The books that unfinished writes add.
#[derive(Default)]
pub struct Arrivals {
    topics: HashMap<Option<BookId>, HashMap<String, u32>>,
    begun: u64,
}

impl Arrivals {
    /// The books that `writes` add.
    pub fn of(writes: &[Write]) -> Vec<Arrival> {
        let arrival = |write: &Write| match &write.action {
            Action::Add { book_id, topic, .. } => Some((*book_id, normalized(topic))),
            _ => None,
        };
        writes.iter().filter_map(arrival).collect()
    }

    /// Takes note of books that writes are about to add.
    pub fn begin(&mut self, arrivals: &[Arrival]) {
        for (book_id, topic) in arrivals {
            *self.topics.entry(*book_id).or_default().entry(topic.clone()).or_default() += 1;
            self.begun += 1;
        }
    }

    /// Forgets books whose writes were applied, or certainly will not be.
    pub fn finish(&mut self, arrivals: &[Arrival]) {
        for (book_id, topic) in arrivals {
            let Some(topics) = self.topics.get_mut(book_id) else { continue };
            if let Some(count) = topics.get_mut(topic) {
                *count -= 1;
                if *count == 0 {
                    topics.remove(topic);
                }
            }
            if topics.is_empty() {
                self.topics.remove(book_id);
            }
        }
    }

    /// How many books were ever begun. While it stays the same, so do the tags of a write that is not proposed yet.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// The topics that a book may come to have: those under its number, and those whose number is not given yet.
    fn topics_of(&self, book_id: BookId) -> impl Iterator<Item = &String> {
        [Some(book_id), None].into_iter().filter_map(|number| self.topics.get(&number)).flat_map(HashMap::keys)
    }
}

/// Everything that `writes` may change for readers. `topic_of` tells the topic, normalized, of a book in the state; it
/// must be asked after `arrivals` are known, for a write that is applied leaves them.
pub fn tags(writes: &[Write], arrivals: &Arrivals, topic_of: impl Fn(BookId) -> Option<String>) -> BTreeSet<Tag> {
    let books: BTreeSet<BookId> = writes.iter().filter_map(|write| write.action.book_id()).collect();
    let mut tags = BTreeSet::new();
    for book_id in books {
        tags.insert(Tag::Book(book_id));
        tags.extend(arrivals.topics_of(book_id).cloned().map(Tag::Topic));
        tags.extend(topic_of(book_id).map(Tag::Topic));
    }
    for (_, topic) in Arrivals::of(writes) {
        // Its number may not be known yet, so whatever was absent may be this book.
        tags.extend([Tag::Topic(topic), Tag::Absence]);
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{book_id as id, cents, key, stock, text};
    use crate::protocol::fence::Decisions;

    fn write(action: Action) -> Write {
        Write { key: key("key"), is_keyless: false, heard: Decisions::default(), recorded_orders: 0, action }
    }

    fn add(book_id: Option<u64>, topic: &str) -> Write {
        let (book_id, title, topic) = (book_id.map(id), text("title"), text(topic));
        write(Action::Add { book_id, title, topic, price: cents(1), quantity: stock(1) })
    }

    fn topics(arrivals: &Arrivals, number: u64) -> Vec<Tag> {
        let tags = tags(&[write(Action::Remove { book_id: id(number) })], arrivals, |_| None);
        tags.into_iter().filter(|tag| matches!(tag, Tag::Topic(_))).collect()
    }

    fn topic(name: &str) -> Tag {
        Tag::Topic(name.to_owned())
    }

    #[test]
    fn a_book_on_its_way_has_the_topics_that_it_may_arrive_under() {
        let mut arrivals = Arrivals::default();
        let begun = Arrivals::of(&[add(Some(8), "Fall"), add(None, "winter"), add(Some(9), "spring")]);
        arrivals.begin(&begun);
        assert_eq!(topics(&arrivals, 8), [topic("fall"), topic("winter")]);
        assert_eq!(topics(&arrivals, 10), [topic("winter")]);
        arrivals.finish(&begun);
        assert!(topics(&arrivals, 8).is_empty());
    }

    #[test]
    fn a_topic_is_known_until_the_last_write_that_brings_it_is_over() {
        let mut arrivals = Arrivals::default();
        let one = Arrivals::of(&[add(Some(8), "fall")]);
        arrivals.begin(&one);
        arrivals.begin(&one);
        arrivals.finish(&one);
        assert_eq!(topics(&arrivals, 8), [topic("fall")]);
        arrivals.finish(&one);
        assert!(topics(&arrivals, 8).is_empty());
        assert_eq!(arrivals.begun(), 2);
    }

    #[test]
    fn a_new_book_changes_its_topic_and_what_was_absent() {
        let tags = tags(&[add(Some(8), "Fall")], &Arrivals::default(), |_| None);
        assert_eq!(tags.into_iter().collect::<Vec<_>>(), [Tag::Book(id(8)), Tag::Absence, topic("fall")]);
    }
}
