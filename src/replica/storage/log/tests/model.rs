//! Random histories, compared with a log that is a list in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What the log is compared with.
#[derive(Default)]
struct Model {
    vote: Option<super::super::Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
    term: u64,
}

#[derive(Clone, Debug)]
enum Step {
    /// Entries of these lengths, in one call.
    Append(Vec<usize>),
    /// So many of the last entries go, and a new term begins.
    Truncate(u64),
    /// So many of the first entries go; or a snapshot reaches that far beyond the last.
    Purge(u64),
    SaveVote,
    SaveCommitted(u64),
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0usize..90, 1..4).prop_map(Step::Append),
        2 => (1u64..8).prop_map(Step::Truncate),
        2 => (1u64..9).prop_map(Step::Purge),
        1 => Just(Step::SaveVote),
        1 => (0u64..9).prop_map(Step::SaveCommitted),
        2 => Just(Step::Reopen),
    ]
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.values().next_back().map(|entry| entry.log_id).or(self.purged)
    }

    fn next_index(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn view(&self) -> View {
        let entries = self.entries.values().cloned().collect();
        View { vote: self.vote, committed: self.committed, purged: self.purged, last: self.last(), entries }
    }

    async fn take(&mut self, step: &Step, log: &mut Log) {
        match step {
            Step::Append(lengths) => {
                let next = self.next_index();
                let entries: Vec<Entry> = (next..)
                    .zip(lengths)
                    .map(|(index, length)| entry(self.term, index, &"x".repeat(*length)))
                    .collect();
                append(log, entries.clone()).await.unwrap();
                self.entries.extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
            }
            Step::Truncate(count) => {
                let first = self.purged.map_or(0, |purged| purged.index + 1);
                let since = self.next_index().saturating_sub(*count).max(first);
                log.truncate(log_id(self.term, since)).await.unwrap();
                self.entries.split_off(&since);
                self.term += 1;
            }
            Step::Purge(count) => {
                let index = self.purged.map_or(0, |purged| purged.index) + count;
                let upto = self.entries.get(&index).map_or(log_id(self.term, index), |entry| entry.log_id);
                log.purge(upto).await.unwrap();
                self.entries = self.entries.split_off(&(index + 1));
                self.purged = Some(upto);
            }
            Step::SaveVote => {
                self.term += 1;
                let vote = Vote::new(self.term, 1);
                log.save_vote(&vote).await.unwrap();
                self.vote = Some(vote);
            }
            Step::SaveCommitted(back) => {
                let committed = Some(log_id(self.term, self.next_index().saturating_sub(*back)));
                log.save_committed(committed).await.unwrap();
                self.committed = committed;
            }
            Step::Reopen => {
                // The next write takes the committed position along.
                let vote = self.vote.unwrap_or_default();
                log.save_vote(&vote).await.unwrap();
                self.vote = Some(vote);
            }
        }
    }
}

/// The cache is counted right and bounded, but for what was appended last, in one call.
fn check_cache(index: &Index) {
    let cached = index.slots.range(index.slots.len() - index.cache.len()..);
    assert_eq!(index.cache_bytes, cached.map(|slot| u64::from(slot.place.length)).sum::<u64>());
    assert!(index.cache_bytes <= SMALL.cache_bytes || index.cache.len() <= 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_what_a_list_would_hold(steps in prop::collection::vec(any_step(), 1..60), a: u64, b: u64) {
        run(async {
            let disk = MemoryDisk::default();
            let mut model = Model::default();
            let mut log = open(&disk, SMALL).await.unwrap();
            for step in &steps {
                model.take(step, &mut log).await;
                if let Step::Reopen = step {
                    log = open(&disk, SMALL).await.unwrap();
                }
                assert_eq!(view(&mut log).await, model.view(), "{step:?}");
                check_cache(&log.shared.index());

                let end = model.next_index() + 2;
                let (from, to) = (a % end, a % end + b % end);
                let some: Vec<Entry> = model.entries.range(from..to).map(|(_, entry)| entry.clone()).collect();
                assert_eq!(log.try_get_log_entries(from..to).await.unwrap(), some);
            }
        });
    }
}
