//! The echo server: `transom echo`, the quick start's backends and the tests' upstreams. Imports nothing of ours.
//!
//! HTTP/1.1 and h2c on one port (or HTTP over TLS), WebSocket, gRPC, TCP and UDP. What comes in goes out again: as
//! JSON that says what the server saw, or as the very bytes. All input is bounded in bytes and time.
//!
//! Beside the echo, a client steers the answer: a path that ends in `/status/503` answers with that status,
//! `?delay=1s` waits (GEP-2257, up to 60 s), `X-Echo-Set-Header: name: value` sets headers of the answer, and `?fail=2`
//! lets two of every three requests for the same path and query fail, with the path's status or 503.

mod answer;
mod body;
mod connection;
mod datagram;
mod duration;
mod failing;
mod grpc;
mod request;
mod stream;
mod websocket;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use datagram::serve_udp;
pub use stream::serve_tcp;

/// Who answers, and whether over TLS. The names are what the answer's JSON says; empty is left empty.
#[derive(Debug, Clone, Default)]
pub struct Echo {
    /// Namespace that the answer names.
    pub namespace: String,
    /// Pod that the answer names.
    pub pod: String,
    /// Service that the answer names.
    pub service: String,
    /// TLS to terminate with; plain text without. ALPN decides between HTTP/1.1 and h2.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Echo {
    /// The names in the environment variables `NAMESPACE`, `POD_NAME` and `SERVICE_NAME`; no TLS.
    #[must_use]
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Echo {
            namespace: variable("NAMESPACE"),
            pod: variable("POD_NAME"),
            service: variable("SERVICE_NAME"),
            tls: None,
        }
    }
}

/// Serves HTTP on `listener` until `shutdown`; then finishes what is in flight, for a few seconds at most.
/// Several may run in one process, each with its own names.
pub async fn serve(listener: TcpListener, echo: Echo, shutdown: CancellationToken) {
    connection::serve(listener, echo, shutdown).await;
}
