//! The bounds of the data plane: every peer is held to a time and a number of bytes. Plain values; where they
//! come from (file, flag, default) is not known here.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::port::PortSettings;

/// Limits and times of the data plane. The defaults are those of product.md section 6.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Data workers, one thread each; `None` is one for each core the process may use (cgroup and affinity).
    pub workers: Option<NonZeroUsize>,
    /// From accepting a connection to its first byte.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request's header to its last.
    pub header_timeout: Duration,
    /// Bytes of an HTTP/1 header block, request line included.
    pub header_limit: usize,
    /// Bytes of a request line.
    pub request_line_limit: usize,
    /// Fields of a header block.
    pub header_fields: usize,
    /// Bytes of a request's body; `None` is any number.
    pub body_limit: Option<u64>,
    /// Between two pieces of a request's body.
    pub body_timeout: Duration,
    /// For how long a client may take nothing of what is sent to it.
    pub send_timeout: Duration,
    /// For how long the answer to an HTTP/1 client that has closed its side is waited for.
    pub half_close_timeout: Duration,
    /// From accepting a TLS connection to the end of its handshake.
    pub handshake_timeout: Duration,
    /// Versions and suites of TLS with clients.
    pub tls: TlsSettings,
    /// Connections of clients at one time, over all workers; those beyond are let go.
    pub max_connections: usize,
    /// Between two requests of a connection, HTTP/1 and HTTP/2 alike. Whole seconds.
    pub keepalive_timeout: Duration,
    /// Concurrent requests of an HTTP/2 connection.
    pub h2_streams: u32,
    /// Bytes of a decoded HTTP/2 header list.
    pub h2_header_limit: u32,
    /// Bytes an HTTP/2 client may send ahead on one request.
    pub h2_stream_window: u32,
    /// Bytes an HTTP/2 client may send ahead on one connection.
    pub h2_connection_window: u32,
    /// Bytes of an HTTP/2 answer that wait for its client's connection.
    pub h2_send_buffer: usize,
    /// Streams that an HTTP/2 client may break off ahead of those that it lets end.
    pub h2_resets: u32,
    /// Frames neither of a request nor of a body that an HTTP/2 client may send ahead.
    pub h2_control_frames: u32,
    /// To establish a connection to an endpoint.
    pub connect_timeout: Duration,
    /// After which an unused connection to an endpoint is closed.
    pub upstream_idle_timeout: Duration,
    /// Unused connections to endpoints that are kept, over all workers.
    pub upstream_pool: usize,
    /// Concurrent requests on one HTTP/2 connection to an endpoint.
    pub upstream_h2_streams: usize,
    /// After this long without traffic a TCP connection is probed, both sides.
    pub tcp_keepalive: Duration,
    /// Between two tries to bind a port that is taken.
    pub bind_retry: Duration,
    /// Gives memory that the calling thread has freed back to the system; a worker calls it when many connections went.
    pub tidy: fn(),
    /// What holds on some ports, by the port that listeners name.
    pub ports: BTreeMap<u16, PortSettings>,
}

/// What is spoken with clients over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// The oldest version.
    pub min_version: TlsVersion,
    /// The suites, by IANA's number; empty for those of rustls.
    pub suites: Vec<u16>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    V12,
    /// 1.3.
    V13,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            workers: None,
            first_byte_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            header_limit: 64 * 1024,
            request_line_limit: 16 * 1024,
            header_fields: 128,
            body_limit: None,
            body_timeout: Duration::from_mins(1),
            send_timeout: Duration::from_mins(1),
            half_close_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(10),
            tls: TlsSettings::default(),
            max_connections: usize::MAX,
            keepalive_timeout: Duration::from_secs(75),
            h2_streams: 128,
            h2_header_limit: 64 * 1024,
            h2_stream_window: 1024 * 1024,
            h2_connection_window: 4 * 1024 * 1024,
            h2_send_buffer: 64 * 1024,
            h2_resets: 200,
            h2_control_frames: 1000,
            connect_timeout: Duration::from_secs(5),
            upstream_idle_timeout: Duration::from_mins(1),
            upstream_pool: 2048,
            upstream_h2_streams: 100,
            tcp_keepalive: Duration::from_mins(1),
            bind_retry: Duration::from_secs(1),
            tidy: || (),
            ports: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// How many workers run.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.workers.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}
