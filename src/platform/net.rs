//! The network: streams of bytes between addresses of the form `host:port`.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A future of a trait that is used as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens and accepts connections.
pub trait Network: Send + Sync {
    /// Starts to accept connections at `address`, which may be a name of several; port 0 takes any free port.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Connects to `address`. The caller bounds the wait.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// An address that connections arrive at.
pub trait Listener: Send + Sync {
    /// The next connection and where it came from.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;

    /// Where it listens, with the port that was really taken.
    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// TCP through the operating system.
pub struct TcpNetwork;

/// Connections that may wait to be accepted. Those beyond it are tried again by the client's system, after a second.
const BACKLOG_CONNECTIONS: u32 = 1024;

/// What the system holds for a peer that does not take it, in bytes, as set; it takes up to twice as much. Left to itself it
/// takes megabytes for each connection, and copying them holds up all the others.
const SEND_BUFFER_BYTES: u32 = 64 << 10;

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Windows this would let two processes listen at once.
    if cfg!(not(windows)) {
        socket.set_reuseaddr(true)?;
    }
    // Connections that are accepted have it, too.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG_CONNECTIONS)
}

impl Network for TcpNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "it names no address");
            let mut listeners = Vec::new();
            for address in tokio::net::lookup_host(address).await?.collect::<BTreeSet<SocketAddr>>() {
                match listen_at(address) {
                    Ok(listener) => listeners.push(listener),
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                    // Names have addresses of families that the machine does not speak.
                    Err(error) => failure = error,
                }
            }
            match listeners.is_empty() {
                true => Err(failure),
                false => Ok(Box::new(TcpListeners { listeners, last: 0 }) as Box<dyn Listener>),
            }
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // Requests are small and wait for their answers: Nagle's delay would only add to them.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// All addresses of one name, at least one.
struct TcpListeners {
    listeners: Vec<TcpListener>,
    /// The one that had the last connection.
    last: usize,
}

impl Listener for TcpListeners {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = std::future::poll_fn(|context| {
                // Each first in turn, so that none waits for another's crowd.
                for _ in 0..self.listeners.len() {
                    self.last = (self.last + 1) % self.listeners.len();
                    if let Poll::Ready(accepted) = self.listeners[self.last].poll_accept(context) {
                        return Poll::Ready(accepted);
                    }
                }
                Poll::Pending
            })
            .await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Stream>, from))
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.listeners[0].local_addr()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_name_is_listened_at_by_all_its_addresses() {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let name = format!("localhost:{port}");
        let mut listener = TcpNetwork.listen(&name).await.unwrap();
        let addresses: BTreeSet<SocketAddr> = tokio::net::lookup_host(&name).await.unwrap().collect();
        for address in addresses {
            // Those of families that this machine does not speak cannot be connected to by anybody.
            if std::net::TcpListener::bind((address.ip(), 0)).is_ok() {
                let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
                assert_eq!(connected.unwrap().local_addr().unwrap(), accepted.unwrap().1);
            }
        }
    }

    #[tokio::test]
    async fn the_system_takes_little_for_a_peer_that_does_not_read() {
        let mut listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address().unwrap();
        let (silent, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_silent, (mut stream, _)) = (silent.unwrap(), accepted.unwrap());
        let piece = [0; 64 << 10];
        let mut taken_bytes = 0;
        while let Ok(written) = tokio::time::timeout(Duration::from_millis(200), stream.write(&piece)).await {
            taken_bytes += written.unwrap();
            assert!(taken_bytes < 1 << 20, "{taken_bytes} bytes are with the system");
        }
    }
}
