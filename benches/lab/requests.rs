//! What customers ask of the seven books.

use crate::common::request::request;

/// The books, by number.
pub const BOOKS: std::ops::RangeInclusive<u64> = 1..=7;

/// Their topics, as they stand in a path.
const TOPICS: [&str; 5] =
    ["distributed%20systems", "undergraduate%20school", "project%20management", "theory", "spring"];

/// Requests of a mix before it repeats itself.
const MIX_REQUESTS: usize = 10_000;

/// One of so many reads in a mix is a search.
const READS_PER_SEARCH: u64 = 5;

/// Every run has the same mix.
const SEED: u64 = 7;

/// Information on each book in turn.
pub fn info() -> Vec<Vec<u8>> {
    BOOKS.map(|book| request(&format!("GET /info/{book}"), None)).collect()
}

/// A search for each topic in turn.
pub fn search() -> Vec<Vec<u8>> {
    TOPICS.iter().map(|topic| request(&format!("GET /search/{topic}"), None)).collect()
}

/// A purchase of each book in turn.
pub fn buy() -> Vec<Vec<u8>> {
    BOOKS.map(|book| request(&format!("POST /buy/{book}"), None)).collect()
}

/// Reads as customers make them: one in five is a search, and the n-th book is asked for 1/n times as often as the
/// first (Zipf's law).
pub fn popular_reads() -> Vec<Vec<u8>> {
    let (info, search) = (info(), search());
    let weights: Vec<f64> = BOOKS.map(|book| 1.0 / book as f64).collect();
    let total: f64 = weights.iter().sum();
    let mut random = fastrand::Rng::with_seed(SEED);
    let read = |_| {
        if random.u64(0..READS_PER_SEARCH) == 0 {
            return search[random.usize(0..search.len())].clone();
        }
        let mut left = random.f64() * total;
        let book = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        info[book.unwrap_or(0)].clone()
    };
    (0..MIX_REQUESTS).map(read).collect()
}
