//! From a listening socket to a served connection: accept, tell the protocol or terminate TLS, hand the stream to
//! Pingora. Runs on a worker. Which sockets there are is not decided here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::apps::ServerApp;
use pingora::protocols::ALPN;
use pingora::protocols::tls::SslDigest;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Security};
use super::leaving::{Signals, leave};
use super::proxy_protocol::{self, Told};
use super::sniff::{Spoken, sniff};
use super::stream::{Bounds, Downstream, Transport};
use crate::proxy::deadline;
use crate::proxy::edge::Edge;
use crate::proxy::serving::WorkerState;
use crate::proxy::settings::Settings;
use crate::snapshot::BindProtocol;
use crate::telemetry::{Headers, Reason, Recorder, RequestRecord};

/// With no descriptor or memory left, accepting again at once would only spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What every connection of a worker needs.
pub struct Acceptor {
    /// Serves requests.
    pub edge: Arc<Edge>,
    /// What is served.
    pub state: Arc<WorkerState>,
    /// Times and sizes.
    pub settings: Arc<Settings>,
    /// Told of what was refused before it became a request.
    pub recorder: Recorder,
    /// Owns the connections.
    pub tasks: TaskTracker,
    /// A drain is at its end: WebSockets part now, whatever else is in flight.
    pub last_call: CancellationToken,
}

impl Acceptor {
    /// Accepts until the listener closes; what waits in its queue by then is still accepted.
    pub async fn run(self: Arc<Self>, listener: TcpListener, bind: SocketAddr, mut signals: Signals) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = signals.closed.wait_for(|closed| *closed) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => self.take(tcp, peer, bind, &signals),
                Err(error) if is_exhaustion(&error) => {
                    tracing::warn!(%bind, %error, "cannot accept");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                // The client left before it was accepted.
                Err(error) => tracing::debug!(%bind, %error, "cannot accept"),
            }
        }
        while let Ok(Ok((tcp, peer))) = timeout(Duration::ZERO, listener.accept()).await {
            self.take(tcp, peer, bind, &signals);
        }
    }

    fn take(self: &Arc<Self>, tcp: TcpStream, peer: SocketAddr, bind: SocketAddr, signals: &Signals) {
        let this = self.clone();
        let signals = signals.clone();
        let company = signals.company.all.clone();
        self.tasks.spawn(company.track_future(async move {
            if let Err(error) = this.connection(tcp, peer, bind, signals).await {
                tracing::debug!(%bind, %peer, %error, "connection ended");
            }
        }));
    }

    async fn connection(
        &self,
        mut tcp: TcpStream,
        peer: SocketAddr,
        bind: SocketAddr,
        mut signals: Signals,
    ) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let keepalive =
            socket2::TcpKeepalive::new().with_time(self.settings.tcp_keepalive).with_interval(Duration::from_secs(10));
        socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
        let found = self.state.glance().bind(&bind).map(|bind| (bind.protocol, bind.port()));
        let Some((protocol, port)) = found else {
            return Ok(()); // the bind went while this connection waited to be accepted
        };
        let port = port.unwrap_or(bind.port());
        let settings = self.settings.ports.get(&port);
        let limit = match protocol {
            BindProtocol::Http => self.settings.first_byte_timeout,
            BindProtocol::Https => self.settings.handshake_timeout,
        };
        let deadline = Instant::now() + limit;
        let (mut peer, mut seen) = (peer, Vec::new());
        if let Some(proxy) = settings.and_then(|settings| settings.proxy_protocol.as_ref()) {
            // Boxed: the connections of other ports need not have room for it.
            let told = tokio::select! {
                biased;
                told = timeout_at(deadline, Box::pin(proxy_protocol::client(&mut tcp, peer, proxy))) => told?,
                _ = signals.closed.wait_for(|closed| *closed) => return Ok(()),
            };
            match told? {
                Told::By(client, untold) => (peer, seen) = (client.unwrap_or(peer), untold),
                Told::Nothing => return Ok(()),
                Told::Refused(why) => {
                    let connection = Connection::new(bind, peer, Security::Plain);
                    self.recorder.record(&refused(&connection, 0, Some(why)));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
        }
        let connection = |security| Connection::new(bind, peer, security).on(port, settings);
        match protocol {
            BindProtocol::Http => self.cleartext(tcp, seen, connection(Security::Plain), deadline, signals).await,
            BindProtocol::Https if !seen.is_empty() => Err(io::ErrorKind::InvalidData.into()), // no TLS begins so
            BindProtocol::Https => match timeout_at(deadline, self.handshake(tcp, bind)).await {
                Ok(Ok(Some((tls, sni)))) => {
                    let (alpn, digest) = negotiated(&tls);
                    let connection = connection(Security::Tls { sni });
                    self.serve(tls, connection, Bytes::new(), alpn, Some(digest), signals).await
                }
                Ok(Ok(None)) => Ok(()),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }

    async fn cleartext(
        &self,
        mut tcp: TcpStream,
        seen: Vec<u8>,
        connection: Connection,
        deadline: Instant,
        mut signals: Signals,
    ) -> io::Result<()> {
        let sniffed = tokio::select! {
            biased;
            sniffed = timeout_at(deadline, sniff(&mut tcp, &seen)) => sniffed?,
            // It has not asked for anything: nothing is lost.
            _ = signals.closed.wait_for(|closed| *closed) => return Ok(()),
        };
        let Some((spoken, seen)) = sniffed? else { return Ok(()) };
        let alpn = match spoken {
            Spoken::Http1 => ALPN::H1,
            Spoken::Http2 => ALPN::H2,
        };
        self.serve(tcp, connection, seen, alpn, None, signals).await
    }

    /// Terminates TLS with the config that the server name finds; `None` if it finds none, which the client is told.
    async fn handshake(
        &self,
        tcp: TcpStream,
        bind: SocketAddr,
    ) -> io::Result<Option<(tokio_rustls::server::TlsStream<TcpStream>, Option<String>)>> {
        // Reads on until the hello is whole; rustls bounds it to 64 KiB.
        let mut hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp).await?;
        let sni = hello.client_hello().server_name().map(str::to_ascii_lowercase);
        let config = {
            let view = self.state.glance();
            view.tls(&bind).and_then(|tls| tls.find(sni.as_deref().unwrap_or_default())).cloned()
        };
        if let Some(config) = config {
            return Ok(Some((hello.into_stream(config).await?, sni)));
        }
        let alert = if sni.is_some() { UNRECOGNIZED_NAME } else { HANDSHAKE_FAILURE };
        hello.io.write_all(&fatal(alert)).await?;
        hello.io.shutdown().await?;
        Ok(None)
    }

    async fn serve<S: Transport + 'static>(
        &self,
        transport: S,
        connection: Connection,
        seen: Bytes,
        alpn: ALPN,
        ssl: Option<SslDigest>,
        signals: Signals,
    ) -> io::Result<()> {
        let local = transport.socket().local_addr()?;
        let connection = Arc::new(connection);
        let bounds = Bounds::from(&*self.settings);
        let is_h2 = matches!(alpn, ALPN::H2);
        let stream = Downstream::new(transport, local, connection.clone(), seen, alpn, ssl, bounds)
            .map_err(|error| io::Error::other(error.to_string()))?;
        // A connection that comes while the listener drains is still served; GOAWAY at once would turn away the
        // very request that it was opened for.
        let drains_already = *signals.draining.borrow();
        let shutdown = if is_h2 && drains_already { &signals.closed } else { &signals.draining };
        let client = (!is_h2).then(|| connection.clone());
        tokio::select! {
            biased;
            _ = deadline::watch(self.edge.process_new(Box::new(stream), shutdown), client) => {}
            () = leave(&connection, signals.clone(), &self.last_call) => {}
        }
        if let Some(status) = connection.refused() {
            self.recorder.record(&refused(&connection, status, None));
        }
        if let Some(fault) = fault(&connection) {
            let record = refused(&connection, 0, None);
            self.recorder.record(&RequestRecord { protocol: "HTTP/2", error: Some(&fault), ..record });
        }
        Ok(())
    }
}

/// What an HTTP/2 client did that no request's record tells of.
fn fault(connection: &Connection) -> Option<String> {
    let unheard = match connection.unheard() {
        0 => None,
        1 => Some("1 request was refused, or given up, before it was read".to_owned()),
        many => Some(format!("{many} requests were refused, or given up, before they were read")),
    };
    match (connection.breach(), unheard) {
        (Some(breach), Some(unheard)) => Some(format!("{breach}; {unheard}")),
        (Some(breach), None) => Some(breach.to_string()),
        (None, unheard) => unheard,
    }
}

/// The record of bytes that were no request, or too slow or too many to become one. No status: nothing was answered.
fn refused(connection: &Connection, status: u16, why: Option<&'static str>) -> RequestRecord<'static> {
    RequestRecord {
        listener: None,
        route: None,
        method: "",
        host: "",
        path: "",
        protocol: "HTTP/1.1",
        tls: connection.is_tls(),
        code: status,
        reason: if status == 431 { Reason::HeaderTooLarge } else { Reason::RequestInvalid },
        client: Some(connection.peer),
        request_id: "",
        upstream: None,
        duration: Duration::ZERO,
        upstream_duration: Duration::ZERO,
        bytes_received: 0,
        bytes_sent: 0,
        trace_id: None,
        error: why,
        headers: Headers::default(),
    }
}

fn negotiated(tls: &tokio_rustls::server::TlsStream<TcpStream>) -> (ALPN, SslDigest) {
    let (_, session) = tls.get_ref();
    let alpn = if session.alpn_protocol() == Some(b"h2") { ALPN::H2 } else { ALPN::H1 };
    let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
    (alpn, SslDigest::new(cipher, version, None, None, Vec::new()))
}

/// RFC 8446, 6: alert descriptions.
const HANDSHAKE_FAILURE: u8 = 40;
/// RFC 6066, 3: the server name is not one of ours.
const UNRECOGNIZED_NAME: u8 = 112;

/// A fatal alert in a record of its own, in cleartext: no key is agreed on yet.
fn fatal(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
