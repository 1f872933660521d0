//! The seams between bazar and the machine: network, clock, disk and threads.
//!
//! Everything that a simulator must be able to replace goes through here, and nothing else does: no
//! other module opens a socket or a file, reads the wall clock or blocks a thread. Tasks and timers
//! are tokio's, which a simulator drives by pausing tokio's own clock.

mod clock;
mod descriptors;
mod disk;
mod net;

use std::sync::Arc;

pub use clock::{Clock, SystemClock};
pub use descriptors::{is_descriptor_shortage, raise_descriptor_limit};
pub use disk::{Disk, DiskFile, FileStamp, FolderLock, LocalDisk, naming, with_suffix};
pub use net::{BoxFuture, Listener, Network, Stream, TcpNetwork};

/// What a node needs of the machine it runs on. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    /// Connections between nodes and with clients.
    pub network: Arc<dyn Network>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    threads: Threads,
}

/// Where calls that may block run.
#[derive(Clone, Copy)]
enum Threads {
    Pool,
    Inline,
}

impl Platform {
    /// The real machine.
    pub fn system() -> Self {
        Platform {
            network: Arc::new(TcpNetwork),
            clock: Arc::new(SystemClock),
            disk: Arc::new(LocalDisk),
            threads: Threads::Pool,
        }
    }

    /// A simulated machine, whose blocking calls run on the calling thread so that their order is
    /// decided by the simulator alone.
    pub fn simulated(network: Arc<dyn Network>, clock: Arc<dyn Clock>, disk: Arc<dyn Disk>) -> Self {
        Platform { network, clock, disk, threads: Threads::Inline }
    }

    /// This machine, but on another network.
    pub fn with_network(self, network: Arc<dyn Network>) -> Self {
        Platform { network, ..self }
    }

    /// Begins `work`, which may block on the disk, beside the asynchronous tasks, and does not wait for it.
    pub fn begin_blocking(&self, work: impl FnOnce() + Send + 'static) {
        match self.threads {
            Threads::Inline => work(),
            Threads::Pool => drop(tokio::task::spawn_blocking(work)),
        }
    }

    /// Runs `work`, which may block on the disk or compute for long, beside the asynchronous tasks.
    ///
    /// In builds in which a panic does not end the process, one in `work` continues in the caller.
    pub async fn blocking<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self.threads {
            Threads::Inline => work(),
            Threads::Pool => match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(failure) => std::panic::resume_unwind(failure.into_panic()),
            },
        }
    }
}
