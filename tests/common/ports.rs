//! Ports for the nodes of a test, which no other test takes at the same time.
//!
//! Below the range from which the operating system gives ports to outgoing connections, so that none of
//! these can take a port between its claim and its use.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

const FIRST: u16 = 20_000;
const BLOCKS: u16 = 750;
const BLOCK_PORTS: u16 = 16;

/// A block of ports, claimed while it lives.
pub struct Ports {
    /// Who listens at a block's first port has the block: other processes of tests see that.
    _claim: TcpListener,
    free: Range<u16>,
}

impl Ports {
    /// Claims a block that nobody uses.
    pub fn claim() -> Ports {
        let start = (RandomState::new().hash_one(()) % u64::from(BLOCKS)) as u16;
        let blocks = (0..BLOCKS).map(|step| FIRST + (start + step) % BLOCKS * BLOCK_PORTS);
        let claimed = blocks.filter_map(Ports::claim_block).next();
        claimed.expect("one of 750 blocks of ports is free")
    }

    fn claim_block(first: u16) -> Option<Ports> {
        let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        let claim = listen(first)?;
        let free = first + 1..first + BLOCK_PORTS;
        // A process that is no test may have any of them.
        free.clone().all(|port| listen(port).is_some()).then_some(Ports { _claim: claim, free })
    }

    /// A port of the block that was not taken yet; there are 15.
    pub fn take(&mut self) -> u16 {
        self.free.next().expect("a test needs at most 15 ports")
    }
}
