use bytes::Bytes;
use hyper::header::HeaderValue;

use super::*;
use crate::model::testing::book_id;

fn info(number: u64) -> CacheKey {
    CacheKey::Info(book_id(number))
}

const SESSION: Session = Session { epoch: 7, number: 1 };

fn cache(capacity: u64, ttl: Duration) -> Cache {
    let cache = Cache::new(CacheLimits { enabled: true, capacity, capacity_bytes: MIB, ttl, is_lru: true });
    cache.grant(SESSION, Instant::now(), MINUTE);
    cache
}

fn answer(text: &'static str, status: StatusCode) -> CachedResponse {
    CachedResponse {
        status,
        media_type: HeaderValue::from_static("application/json"),
        body: Bytes::from_static(text.as_bytes()),
        served_by: HeaderValue::from_static("catalog-1"),
    }
}

fn fill(cache: &Cache, key: &CacheKey, status: StatusCode) {
    assert!(cache.fill(key.clone(), cache.note(key), answer("x", status)));
}

fn search(topic: &str, after: u64) -> CacheKey {
    CacheKey::Search { topic: topic.to_owned(), page: Page { limit: 10, after } }
}

const MIB: u64 = 1 << 20;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn no_more_answers_are_held_than_the_capacity_whatever_the_bytes() {
    for capacity in [1, 3, 600, 700, 1000] {
        let cache = cache(capacity, MINUTE);
        (1..=2000).for_each(|number| fill(&cache, &info(number), StatusCode::OK));
        let held = cache.stats().entries;
        assert!((1..=capacity).contains(&held), "{held} of {capacity}");
    }
}

#[test]
fn an_answer_is_there_until_its_tag_is_invalidated() {
    let cache = cache(10, MINUTE);
    fill(&cache, &info(7), StatusCode::OK);
    assert_eq!(cache.get(&info(7)).unwrap().body, "x");
    cache.invalidate(&Tag::Book(book_id(7)));
    assert!(cache.get(&info(7)).is_none());
}

#[test]
fn all_pages_of_a_topic_fall_at_once() {
    let cache = cache(10, MINUTE);
    let pages = [search("theory", 0), search("theory", 3)];
    pages.iter().for_each(|page| fill(&cache, page, StatusCode::OK));
    cache.invalidate(&Tag::Topic("theory".to_owned()));
    assert!(pages.iter().all(|page| cache.get(page).is_none()));
}

#[test]
fn an_answer_that_was_on_its_way_during_an_invalidation_is_not_kept() {
    let cache = cache(10, MINUTE);
    let noted = cache.note(&info(7));
    cache.invalidate(&Tag::Book(book_id(7)));
    assert!(!cache.fill(info(7), noted, answer("old", StatusCode::OK)));
    assert!(cache.get(&info(7)).is_none());
}

#[test]
fn an_answer_that_was_on_its_way_when_the_session_ended_is_not_kept_even_if_the_session_comes_back() {
    for key in [info(7), search("nothing yet", 0)] {
        let cache = cache(10, MINUTE);
        let noted = cache.note(&key);
        cache.end_session();
        cache.grant(SESSION, Instant::now(), MINUTE);
        assert!(!cache.fill(key.clone(), noted, answer("old", StatusCode::OK)));
        assert!(cache.get(&key).is_none());
    }
}

#[test]
fn nothing_is_served_after_the_session_ended() {
    let cache = cache(10, MINUTE);
    fill(&cache, &info(7), StatusCode::OK);
    cache.end_session();
    assert!(cache.get(&info(7)).is_none());
    cache.grant(SESSION, Instant::now(), MINUTE);
    assert!(cache.get(&info(7)).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_entry_taken_before_a_stop_that_outlasts_the_lease_is_not_served_after_it() {
    let cache = cache(10, MINUTE);
    let key = info(7);
    fill(&cache, &key, StatusCode::OK);
    let taken = cache.take(&key).unwrap();
    assert!(cache.serve(&taken));
    // The leader waits the lease out and writes: nobody can tell this frontend of it.
    tokio::time::advance(MINUTE).await;
    assert!(!cache.serve(&taken));
    // Nor once the leader knows this frontend again, in a session that begins with nothing.
    cache.grant(Session { number: 2, ..SESSION }, Instant::now(), MINUTE);
    assert!(!cache.serve(&taken));
}

#[test]
fn an_entry_taken_before_an_invalidation_is_not_served_after_it() {
    let cache = cache(10, MINUTE);
    let key = info(7);
    fill(&cache, &key, StatusCode::OK);
    let taken = cache.take(&key).unwrap();
    cache.invalidate(&Tag::Book(book_id(7)));
    assert!(!cache.serve(&taken));
}

#[test]
fn an_absent_book_is_remembered_until_some_book_is_added() {
    let cache = cache(10, MINUTE);
    fill(&cache, &info(8), StatusCode::NOT_FOUND);
    fill(&cache, &info(7), StatusCode::OK);
    assert!(cache.get(&info(8)).is_some());
    cache.invalidate(&Tag::Absence);
    assert!(cache.get(&info(8)).is_none());
    assert!(cache.get(&info(7)).is_some());
}

#[test]
fn the_least_recently_used_answer_makes_room() {
    let cache = cache(2, MINUTE);
    for id in [1, 2] {
        fill(&cache, &info(id), StatusCode::OK);
    }
    // moka takes note of what was used when it tidies up, and `stats` has it do so.
    cache.stats();
    assert!(cache.get(&info(1)).is_some());
    cache.stats();
    fill(&cache, &info(3), StatusCode::OK);
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.evictions), (2, 1));
    assert!(cache.get(&info(2)).is_none());
    assert!(cache.get(&info(1)).is_some());
}

#[test]
fn a_cache_that_is_switched_off_keeps_nothing() {
    let cache =
        Cache::new(CacheLimits { enabled: false, capacity: 10, capacity_bytes: MIB, ttl: MINUTE, is_lru: true });
    let key = info(7);
    assert!(!cache.fill(key.clone(), cache.note(&key), answer("x", StatusCode::OK)));
    assert!(cache.get(&key).is_none());
}

#[test]
fn hits_and_misses_are_counted() {
    let cache = cache(10, MINUTE);
    cache.get(&info(7));
    fill(&cache, &info(7), StatusCode::OK);
    (0..3).for_each(|_| drop(cache.get(&info(7))));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.hit_rate), (3, 1, 0.75));
}

fn page(bytes: usize) -> CachedResponse {
    CachedResponse { body: Bytes::from(vec![b'x'; bytes]), ..answer("", StatusCode::OK) }
}

#[test]
fn large_answers_make_room_for_each_other_by_their_bytes() {
    let cache = cache(10_000, MINUTE);
    for number in 0..1000 {
        let key = search("theory", number);
        assert!(cache.fill(key.clone(), cache.note(&key), page(100 << 10)));
    }
    let stats = cache.stats();
    assert!(stats.bytes <= MIB && stats.entries <= 10, "{stats:?}");
    assert!(stats.entries >= 8, "{stats:?}");
}

#[test]
fn an_answer_that_would_push_out_hundreds_is_not_kept() {
    let cache = cache(10_000, MINUTE);
    let key = search("theory", 0);
    assert!(!cache.fill(key.clone(), cache.note(&key), page(MAX_ENTRY_BYTES + 1)));
    assert!(cache.fill(key.clone(), cache.note(&key), page(MAX_ENTRY_BYTES)));
}
