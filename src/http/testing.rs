//! A server for the tests of those who ask servers.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::server::{self, Handler, Limits};
use crate::platform::Platform;

const MINUTE: Duration = Duration::from_secs(60);

const LIMITS: Limits = Limits {
    max_connections: 64,
    max_body_bytes: 1 << 20,
    header_timeout: MINUTE,
    request_timeout: MINUTE,
    idle_timeout: MINUTE,
    drain_timeout: MINUTE,
};

/// Has `handler` answer for as long as the test lasts; tells where.
pub async fn serve(handler: Arc<impl Handler>) -> String {
    let listener = Platform::system().network.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address().unwrap().to_string();
    tokio::spawn(server::serve(listener, handler, LIMITS, CancellationToken::new()));
    address
}
