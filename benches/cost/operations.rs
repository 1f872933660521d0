//! What is guarded, and how often it is done.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::shop::Customer;

/// Something that the whole shop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// A customer is told of a book by a frontend that has it in its cache.
    CachedRead,
    /// A customer is told of a book by a catalog server, which asks its leader whether it is current.
    UncachedRead,
    /// A customer buys a book: both groups agree, and the frontend forgets the book.
    Purchase,
    /// Nobody wants anything for a second: heartbeats, leases and probes.
    IdleSecond,
}

impl Operation {
    /// What it is called in the baseline, and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Operation::CachedRead => "cached-read",
            Operation::UncachedRead => "uncached-read",
            Operation::Purchase => "purchase",
            Operation::IdleSecond => "idle-second",
        }
    }

    /// How often it is done to be counted: so often that chance evens out, in a few seconds.
    pub fn times(self) -> u64 {
        match self {
            Operation::CachedRead => 10_000,
            Operation::UncachedRead => 1_000,
            Operation::Purchase => 200,
            Operation::IdleSecond => 20,
        }
    }

    /// Does it once.
    pub async fn perform(self, customer: &mut Customer) -> Result<()> {
        let request = match self {
            Operation::CachedRead => "GET /info/1 HTTP/1.1\r\nHost: shop\r\n\r\n",
            Operation::UncachedRead => "GET /info/1 HTTP/1.1\r\nHost: shop\r\nCache-Control: no-cache\r\n\r\n",
            Operation::Purchase => "POST /purchase/1 HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n",
            Operation::IdleSecond => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                return Ok(());
            }
        };
        customer.ask(request).await
    }

    /// Fails if the customer's last answer shows that something else was done.
    pub fn check(self, customer: &Customer) -> Result<()> {
        let proof = match self {
            Operation::CachedRead => "x-cache-hit: true",
            Operation::UncachedRead => "x-cache-hit: false",
            Operation::Purchase => "\"message\":\"bought book",
            Operation::IdleSecond => return Ok(()),
        };
        ensure!(customer.was_told(proof), "{} is not what was done: {}", self.name(), customer.answer());
        Ok(())
    }
}
