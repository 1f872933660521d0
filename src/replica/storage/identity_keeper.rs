//! Keeps the mark up with the log: how far the log is known to be written, some seconds late.
//!
//! What a crash tears off the end of a log was never acknowledged. A log that ends before that was cut, or is an older copy,
//! and only the mark can tell. To renew the mark with each write would cost as much as the write does.

use std::io;
use std::time::Duration;

use super::identity::Identity;
use super::log::Durability;
use crate::platform::{Platform, is_descriptor_shortage};

/// How long after a write the mark says so, at most.
const PACE: Duration = Duration::from_secs(5);

/// Renews the mark of one replica. Cheap to clone.
#[derive(Clone)]
pub struct IdentityKeeper {
    pub platform: Platform,
    pub identity: Identity,
    pub durability: Durability,
}

impl IdentityKeeper {
    /// Renews the mark while the log is written to, until that fails.
    ///
    /// # Errors
    /// If the mark cannot be written.
    pub async fn run(self) -> io::Result<()> {
        let mut known = None;
        while self.durability.written_beyond(known).await.is_ok() {
            tokio::time::sleep(PACE).await;
            match self.catch_up().await {
                Ok(written) => known = written,
                // It passes.
                Err(error) if is_descriptor_shortage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Renews the mark for the last time.
    ///
    /// # Errors
    /// If the log or the mark cannot be written.
    pub async fn finish(&self) -> io::Result<()> {
        self.durability.settled().await?;
        self.catch_up().await.map(drop)
    }

    /// Has the mark say how far the log is written now, and brings that: the segment, and how many of its bytes.
    ///
    /// # Errors
    /// If the mark cannot be written.
    pub async fn catch_up(&self) -> io::Result<Option<(u64, u64)>> {
        let written = self.durability.written();
        if let Some((segment, bytes)) = written {
            let identity = self.identity.clone();
            self.platform.blocking(move || identity.extend(segment, bytes)).await?;
        }
        Ok(written)
    }
}
