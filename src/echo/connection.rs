//! Connections: accepted up to a limit, HTTP/1.1 or h2 by their first bytes or by ALPN, drained at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Echo;
use super::answer::TlsFacts;
use super::body::hex;
use super::failing::Failing;
use super::request::{Peer, respond};
use sha2::{Digest, Sha256};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// For a TLS handshake, and from there to the end of the first request's header.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// For the header of each later request, idle time included: longer than gateways keep idle connections, so that
/// it is the gateway that closes.
const NEXT_REQUEST: Duration = Duration::from_mins(2);
/// For what is in flight when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Bytes of a header block: more than a gateway lets through.
const HEADER_BYTES: u32 = 128 * 1024;
/// Fields of a header block.
const HEADER_FIELDS: usize = 256;
/// Requests at a time on one h2 connection.
const STREAMS: u32 = 256;

/// Everything that one server spawned: counted, told to drain, and ended. And what its requests have in common.
#[derive(Debug, Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    places: Arc<Semaphore>,
    draining: CancellationToken,
    at_once: CancellationToken,
    failing: Arc<Failing>,
}

impl Tasks {
    pub(super) fn new(draining: CancellationToken) -> Self {
        Tasks {
            tracker: TaskTracker::new(),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            draining,
            at_once: CancellationToken::new(),
            failing: Arc::default(),
        }
    }

    pub(super) fn spawn<F>(&self, task: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let at_once = self.at_once.clone();
        self.tracker.spawn(async move { at_once.run_until_cancelled(task).await.map(drop) });
    }

    pub(super) fn failing(&self) -> &Failing {
        &self.failing
    }

    pub(super) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Waits for all tasks, for [`DRAIN`]; then ends those that are left.
    pub(super) async fn finish(self) {
        self.draining.cancel();
        self.tracker.close();
        if tokio::time::timeout(DRAIN, self.tracker.wait()).await.is_err() {
            self.at_once.cancel();
            self.tracker.wait().await;
        }
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

impl Echo {
    /// Says who answers where there is no JSON to say it: gRPC and WebSocket.
    pub(super) fn name_headers(&self, headers: &mut HeaderMap) {
        let names =
            [("x-echo-namespace", &self.namespace), ("x-echo-service", &self.service), ("x-echo-pod", &self.pod)];
        for (name, value) in names {
            if let (false, Ok(value)) = (value.is_empty(), HeaderValue::try_from(value)) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The next connection and its place among [`CONNECTIONS`]; `None` when the server is to stop.
pub(super) async fn accept(
    listener: &TcpListener,
    tasks: &Tasks,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        let place = Arc::clone(&tasks.places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => return Some((stream, address, place)),
                // Out of descriptors, or the peer has gone already: neither ends the server.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tasks.draining.run_until_cancelled(next).await.flatten()
}

pub(super) async fn serve(listener: TcpListener, echo: Echo, shutdown: CancellationToken) {
    let tasks = Tasks::new(shutdown.child_token());
    let tls = echo.tls.as_ref().map(|config| TlsAcceptor::from(Arc::<ServerConfig>::clone(config)));
    let echo = Arc::new(echo);
    let mut builder = Builder::new(tasks.clone());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_REQUEST)
        .max_headers(HEADER_FIELDS)
        .max_buf_size(HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(NEXT_REQUEST)
        .max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(STREAMS);
    while let Some((stream, address, place)) = accept(&listener, &tasks).await {
        let _ = stream.set_nodelay(true);
        let (builder, echo, tls, inner) = (builder.clone(), Arc::clone(&echo), tls.clone(), tasks.clone());
        tasks.spawn(async move {
            match tls {
                None => talk(stream, &builder, Peer { echo, address, tls: None, _place: place }, inner).await,
                Some(acceptor) => {
                    let handshake = tokio::time::timeout(FIRST_REQUEST, acceptor.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        let facts = facts(&stream);
                        talk(stream, &builder, Peer { echo, address, tls: Some(facts), _place: place }, inner).await;
                    }
                }
            }
        });
    }
    drop(listener);
    tasks.finish().await;
}

/// One connection, from its first request to its end.
async fn talk<S>(stream: S, builder: &Builder<Tasks>, peer: Peer, tasks: Tasks)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::new(peer);
    let begun = Arc::new(AtomicBool::new(false));
    let draining = tasks.draining.clone();
    let service = service_fn(|request| {
        begun.store(true, Ordering::Relaxed);
        let response = respond(request, Arc::clone(&peer), tasks.clone());
        async { Ok::<_, std::convert::Infallible>(response.await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut first = std::pin::pin!(tokio::time::sleep(FIRST_REQUEST));
    let mut waiting = true;
    let mut told = false;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = first.as_mut(), if waiting => {
                waiting = false;
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = draining.cancelled(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn facts(stream: &TlsStream<TcpStream>) -> TlsFacts {
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
        other => format!("{other:?}"),
    };
    let suite = session.negotiated_cipher_suite();
    TlsFacts {
        version,
        cipher_suite: suite.map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        server_name: session.server_name().map(str::to_owned),
        negotiated_protocol: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        peer_certificates: session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| hex(&Sha256::digest(certificate)))
            .collect(),
    }
}
