//! From a listening socket to a served connection: accept, tell the protocol or terminate TLS, hand the stream to
//! Pingora. Runs on a worker. Which sockets there are is not decided here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pingora::apps::ServerApp;
use pingora::protocols::ALPN;
use pingora::protocols::tls::SslDigest;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Security};
use super::handshake::{self, Failed, Handshaken};
use super::leaving::{Signals, leave, unheard};
use super::proxy_protocol::{self, Told};
use super::room::{Reserve, Room, Seat, is_exhaustion};
use super::sniff::{Spoken, sniff};
use super::stream::{Bounds, Downstream, Transport};
use crate::proxy::deadline;
use crate::proxy::edge::Edge;
use crate::proxy::serving::WorkerState;
use crate::proxy::settings::Settings;
use crate::snapshot::BindProtocol;
use crate::telemetry::{
    AddressMeter, ConnectionMeter, Counted, Doing, HandshakeResult, Headers, Reason, Recorder, RequestRecord, Shed,
    TlsVersion,
};

/// With no descriptor or memory left, and none to give up either, accepting again at once would only spin.
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
    /// Counts connections.
    pub meter: Arc<ConnectionMeter>,
    /// Room for connections, shared with the other workers.
    pub room: Arc<Room>,
    /// For the moment in which there is none.
    pub reserve: Reserve,
    /// Owns the connections.
    pub tasks: TaskTracker,
    /// The most of them that there were at a time, since the worker last looked.
    pub crest: AtomicUsize,
    /// A drain is at its end: WebSockets part now, whatever else is in flight.
    pub last_call: CancellationToken,
}

/// What a connection holds as long as it lasts.
struct Place {
    bind: SocketAddr,
    signals: Signals,
    counted: Counted,
    _seat: Seat,
}

/// What is spoken on a connection.
struct Begun {
    alpn: ALPN,
    ssl: Option<SslDigest>,
    /// What of it was read to tell.
    seen: Bytes,
}

impl Acceptor {
    /// Accepts until the listener closes; what waits in its queue by then is still accepted.
    pub async fn run(self: Arc<Self>, listener: TcpListener, bind: SocketAddr, mut signals: Signals) {
        let meter = self.meter.address(bind);
        loop {
            let accepted = tokio::select! {
                biased;
                _ = signals.closed.wait_for(|closed| *closed) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => self.take(tcp, peer, bind, &signals, &meter),
                Err(error) if is_exhaustion(&error) => {
                    self.room.tighten();
                    self.shed(Shed::Descriptors, bind);
                    if !self.reserve.let_go(&listener).await {
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                }
                // The client left before it was accepted.
                Err(error) => tracing::debug!(%bind, %error, "cannot accept"),
            }
        }
        while let Ok(Ok((tcp, peer))) = timeout(Duration::ZERO, listener.accept()).await {
            self.take(tcp, peer, bind, &signals, &meter);
        }
    }

    fn take(
        self: &Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        bind: SocketAddr,
        signals: &Signals,
        meter: &Arc<AddressMeter>,
    ) {
        let seat = match self.room.seat() {
            Ok(seat) => seat,
            Err(cause) => {
                drop(tcp);
                return self.shed(cause, bind);
            }
        };
        let this = self.clone();
        let signals = signals.clone();
        let counted = meter.count(Doing::Opening);
        let company = signals.company.all.clone();
        self.tasks.spawn(company.track_future(async move {
            let place = Place { bind, signals, counted, _seat: seat };
            if let Err(error) = this.connection(tcp, peer, place).await {
                tracing::debug!(%bind, %peer, %error, "connection ended");
            }
        }));
        self.crest.fetch_max(self.tasks.len(), Ordering::Relaxed);
    }

    #[cold]
    fn shed(&self, cause: Shed, bind: SocketAddr) {
        self.reserve.refill();
        self.meter.shed(cause);
        if self.reserve.tells() {
            let why = match cause {
                Shed::Limit => "as many are open as may be (maxConnections)",
                Shed::Descriptors => "no file descriptor is left",
            };
            tracing::warn!(%bind, why, "connections are let go");
        }
    }

    async fn connection(&self, mut tcp: TcpStream, peer: SocketAddr, place: Place) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let keepalive =
            socket2::TcpKeepalive::new().with_time(self.settings.tcp_keepalive).with_interval(Duration::from_secs(10));
        socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
        let bind = place.bind;
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
                () = unheard(&place.signals) => return Ok(()),
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
            BindProtocol::Http => self.cleartext(tcp, seen, connection(Security::Plain), place, deadline).await,
            BindProtocol::Https => {
                place.counted.does(Doing::Handshake);
                let (state, signals) = (&self.state, &place.signals);
                let done = handshake::run(tcp, !seen.is_empty(), bind, deadline, state, signals).await;
                let Some(Handshaken { tls, sni }) = self.counted(done, || connection(Security::Plain).peer) else {
                    return Ok(());
                };
                let begun = negotiated(&tls);
                self.serve(tls, connection(Security::Tls { sni }), place, begun).await
            }
        }
    }

    async fn cleartext(
        &self,
        mut tcp: TcpStream,
        seen: Vec<u8>,
        connection: Connection,
        place: Place,
        deadline: Instant,
    ) -> io::Result<()> {
        let sniffed = tokio::select! {
            biased;
            sniffed = timeout_at(deadline, sniff(&mut tcp, &seen)) => sniffed?,
            () = unheard(&place.signals) => return Ok(()),
        };
        let Some((spoken, seen)) = sniffed? else { return Ok(()) };
        let alpn = match spoken {
            Spoken::Http1 => ALPN::H1,
            Spoken::Http2 => ALPN::H2,
        };
        self.serve(tcp, connection, place, Begun { alpn, ssl: None, seen }).await
    }

    /// Counts a handshake, and records one that came to nothing.
    fn counted(&self, done: Result<Handshaken, Failed>, client: impl FnOnce() -> SocketAddr) -> Option<Handshaken> {
        let failed = match done {
            Ok(done) => {
                self.meter.handshake(handshake::version(&done.tls), HandshakeResult::Ok);
                return Some(done);
            }
            Err(failed) => failed,
        };
        self.meter.handshake(TlsVersion::None, failed.result);
        if !failed.silent {
            let error = format!("TLS handshake {}: {}", failed.result.as_str(), failed.error);
            self.recorder.record(&RequestRecord {
                reason: Reason::ClientTls,
                code: failed.code,
                error: Some(&error),
                ..unanswered(client(), true)
            });
        }
        None
    }

    async fn serve<S: Transport + 'static>(
        &self,
        transport: S,
        connection: Connection,
        place: Place,
        Begun { alpn, ssl, seen }: Begun,
    ) -> io::Result<()> {
        let local = transport.socket().local_addr()?;
        let Place { signals, counted, _seat, .. } = place;
        let connection = Arc::new(connection.counted(counted));
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
        // RFC 9113, 6.8: what a client sent before it had read our GOAWAY was not processed, and it knows.
        _ if connection.ends_soon() => None,
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
    let reason = if status == 431 { Reason::HeaderTooLarge } else { Reason::RequestInvalid };
    RequestRecord { code: status, reason, error: why, ..unanswered(connection.peer, connection.is_tls()) }
}

/// The record of what a client did instead of a request.
fn unanswered(client: SocketAddr, tls: bool) -> RequestRecord<'static> {
    RequestRecord {
        listener: None,
        route: None,
        method: "",
        host: "",
        path: "",
        protocol: "HTTP/1.1",
        tls,
        code: 0,
        reason: Reason::RequestInvalid,
        client: Some(client),
        request_id: "",
        upstream: None,
        duration: Duration::ZERO,
        upstream_duration: Duration::ZERO,
        bytes_received: 0,
        bytes_sent: 0,
        trace_id: None,
        error: None,
        headers: Headers::default(),
    }
}

fn negotiated(tls: &tokio_rustls::server::TlsStream<TcpStream>) -> Begun {
    let (_, session) = tls.get_ref();
    let alpn = if session.alpn_protocol() == Some(b"h2") { ALPN::H2 } else { ALPN::H1 };
    let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
    Begun { alpn, ssl: Some(SslDigest::new(cipher, version, None, None, Vec::new())), seen: Bytes::new() }
}
