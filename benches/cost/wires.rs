//! A network in memory: what is written at one end is read at the other, and the operating system knows of nothing.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bazar::platform::{BoxFuture, Listener, Network, Stream};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// What a connection holds that was not read yet, in bytes.
const WIRE_BYTES: usize = 64 * 1024;

/// All wires, and who listens.
#[derive(Default)]
pub struct Wires {
    listeners: Mutex<HashMap<String, UnboundedSender<DuplexStream>>>,
}

impl Wires {
    fn listeners(&self) -> MutexGuard<'_, HashMap<String, UnboundedSender<DuplexStream>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lay(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let (near, far) = tokio::io::duplex(WIRE_BYTES);
        let is_heard = self.listeners().get(address).is_some_and(|listener| listener.send(far).is_ok());
        if is_heard { Ok(Box::new(near)) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }
}

impl Network for Wires {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        let (listener, arriving) = mpsc::unbounded_channel();
        self.listeners().insert(address.to_owned(), listener);
        Box::pin(async { Ok(Box::new(Door(arriving)) as Box<dyn Listener>) })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { self.lay(address) })
    }
}

/// Where connections arrive.
struct Door(UnboundedReceiver<DuplexStream>);

impl Door {
    /// Who has called, which nobody asks here.
    fn nowhere() -> SocketAddr {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    }
}

impl Listener for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async {
            let stream = self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
            Ok((Box::new(stream) as Box<dyn Stream>, Door::nowhere()))
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(Door::nowhere())
    }
}
