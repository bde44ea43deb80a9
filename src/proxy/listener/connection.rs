//! What is known of a downstream connection, and the phase it is in. Shared by the stream, the request phases
//! and the task that owns the connection; carried to the phases through Pingora's proxy digest.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};

use http::HeaderValue;

use super::conduct::Breach;
use crate::proxy::port::{PortSettings, Redirection};
use crate::telemetry::{Counted, Doing};

/// Facts of one connection.
#[derive(Debug)]
pub struct Connection {
    /// The bind that accepted it: its key in the snapshot.
    pub bind: SocketAddr,
    /// The client, or who says to be a proxy before it; an IPv4 client is one on a socket of both families, too.
    pub peer: SocketAddr,
    /// The address of the peer, as upstreams are told it with each request.
    pub peer_field: HeaderValue,
    /// The port clients were told.
    pub port: u16,
    /// Whether the peer is believed what it says of the client.
    pub forwards: bool,
    /// Where every request is sent instead.
    pub redirection: Option<Redirection>,
    /// Whether it is TLS, and the server name asked for (lower case).
    pub security: Security,
    phase: AtomicU8,
    asked: AtomicBool,
    refused: AtomicU16,
    breach: AtomicU32,
    unheard: AtomicU32,
    serving: AtomicU32,
    reset: AtomicBool,
    cut: AtomicBool,
    ending: AtomicBool,
    parting: AtomicU8,
    counted: Option<Counted>,
}

/// Cleartext or TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Cleartext.
    Plain,
    /// TLS, terminated here.
    Tls {
        /// Server name of the ClientHello, lower case, if it had one.
        sni: Option<String>,
    },
}

/// Where an HTTP/1 connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Between two requests, or before the first.
    Idle = 0,
    /// Reading a request's header.
    Head = 1,
    /// Serving a request whose body may still come.
    Request = 2,
    /// HTTP/2: the frames bound themselves.
    Framed = 3,
    /// Switched to WebSocket, or about to be.
    Switched = 4,
    /// Serving a request that has come as a whole: what comes now is the next one.
    Answer = 5,
}

/// How far the end of a WebSocket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Parting {
    /// Nobody asks for it.
    NotYet = 0,
    /// The client is to be told.
    Asked = 1,
    /// The client was told, if it could be, and is not heard any more.
    Over = 2,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(bind: SocketAddr, peer: SocketAddr, security: Security) -> Self {
        let peer = match peer.ip().to_canonical() {
            // Of `::ffff:192.0.2.1` nobody's log analysis or allow list knows anything.
            v4 @ IpAddr::V4(_) => SocketAddr::new(v4, peer.port()),
            IpAddr::V6(_) => peer,
        };
        Connection {
            bind,
            peer,
            peer_field: address_field(peer.ip()),
            port: bind.port(),
            forwards: false,
            redirection: None,
            security,
            phase: AtomicU8::new(Phase::Idle as u8),
            asked: AtomicBool::new(false),
            refused: AtomicU16::new(0),
            breach: AtomicU32::new(0),
            unheard: AtomicU32::new(0),
            serving: AtomicU32::new(0),
            reset: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            parting: AtomicU8::new(Parting::NotYet as u8),
            counted: None,
        }
    }

    /// On the port that listeners name like this, with what holds there.
    #[must_use]
    pub fn on(self, port: u16, settings: Option<&PortSettings>) -> Self {
        let forwards = settings.is_some_and(|settings| settings.forwarders.contain(self.peer.ip()));
        Connection { port, forwards, redirection: settings.and_then(|settings| settings.redirection), ..self }
    }

    /// Counted from now on by what it does.
    #[must_use]
    pub fn counted(self, counted: Counted) -> Self {
        counted.does(Doing::Http1Idle);
        Connection { counted: Some(counted), ..self }
    }

    /// The phase. Relaxed: only one thread ever touches a connection.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            1 => Phase::Head,
            2 => Phase::Request,
            3 => Phase::Framed,
            4 => Phase::Switched,
            5 => Phase::Answer,
            _ => Phase::Idle,
        }
    }

    /// Moves an HTTP/1 connection to another phase. HTTP/2 stays as it is: its requests overlap.
    pub fn enter(&self, phase: Phase) {
        if self.phase() == Phase::Framed {
            return;
        }
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.does(match phase {
            Phase::Idle => Doing::Http1Idle,
            Phase::Head | Phase::Request | Phase::Answer => Doing::Http1Active,
            Phase::Framed => Doing::Http2Idle,
            Phase::Switched => Doing::WebSocket,
        });
        if phase == Phase::Request {
            self.asked.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a request was read on it.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn does(&self, doing: Doing) {
        if let Some(counted) = &self.counted {
            counted.does(doing);
        }
    }

    /// The request's body has come as a whole.
    pub fn request_ended(&self) {
        if self.phase() == Phase::Request {
            self.enter(Phase::Answer);
        }
    }

    /// Notes that an HTTP/2 client opened streams, each of which is to become a request.
    pub fn opened(&self, streams: u32) {
        self.unheard.fetch_add(streams, Ordering::Relaxed);
    }

    /// One of them has become a request, which is being served.
    pub fn began(&self) {
        self.unheard.fetch_sub(1, Ordering::Relaxed);
        self.serving.fetch_add(1, Ordering::Relaxed);
        self.does(Doing::Http2Active);
    }

    /// A request of an HTTP/2 client has ended.
    pub fn ended(&self) {
        if self.serving.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.does(Doing::Http2Idle);
        }
    }

    /// How many requests of an HTTP/2 client are being served.
    #[must_use]
    pub fn serving(&self) -> u32 {
        self.serving.load(Ordering::Relaxed)
    }

    /// How many streams have become no request: they were malformed, and refused in our name by the h2 crate or by
    /// Pingora, or the client gave them up before they were read.
    #[must_use]
    pub fn unheard(&self) -> u32 {
        self.unheard.load(Ordering::Relaxed)
    }

    /// Notes why an HTTP/2 connection is ended.
    pub fn break_off(&self, breach: Breach) {
        self.breach.store(breach.to_code(), Ordering::Relaxed);
    }

    /// Why it is ended, if it is.
    #[must_use]
    pub fn breach(&self) -> Option<Breach> {
        Breach::from_code(self.breach.load(Ordering::Relaxed))
    }

    /// The status with which the stream itself refused what it read, if it did.
    #[must_use]
    pub fn refused(&self) -> Option<u16> {
        Some(self.refused.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// Notes that the stream refused what it read.
    pub fn refuse(&self, status: u16) {
        self.refused.store(status, Ordering::Relaxed);
    }

    /// Lets the connection end after the request at hand.
    pub fn end_soon(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether it ends after the request at hand.
    #[must_use]
    pub fn ends_soon(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Has a WebSocket part with its client. The stream looks at it when it is polled.
    pub fn part(&self, parting: Parting) {
        self.parting.store(parting as u8, Ordering::Relaxed);
    }

    /// How far a WebSocket has parted with its client.
    #[must_use]
    pub fn parting(&self) -> Parting {
        match self.parting.load(Ordering::Relaxed) {
            1 => Parting::Asked,
            2 => Parting::Over,
            _ => Parting::NotYet,
        }
    }

    /// Makes the connection end with a reset, so that a broken answer cannot be taken for a whole one.
    pub fn reset_at_end(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Whether it ends with a reset.
    #[must_use]
    pub fn resets(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }

    /// Makes every read and write fail: the time of the request at hand is over.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Lets the connection be used again; the request at hand has noticed.
    pub fn restore(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }

    /// Whether reads and writes fail.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Whether it is TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.security, Security::Tls { .. })
    }
}

/// An address as the value of a field.
pub fn address_field(ip: IpAddr) -> HeaderValue {
    HeaderValue::try_from(ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_client_of_a_dual_stack_socket_is_an_ipv4_client() {
        let peer = |text: &str| {
            Connection::new("[::]:80".parse().unwrap(), text.parse().unwrap(), Security::Plain).peer.to_string()
        };
        assert_eq!(peer("[::ffff:192.0.2.1]:4711"), "192.0.2.1:4711");
        assert_eq!(peer("192.0.2.1:4711"), "192.0.2.1:4711");
        assert_eq!(peer("[2001:db8::1]:4711"), "[2001:db8::1]:4711");
        assert_eq!(peer("[fe80::1%3]:4711"), "[fe80::1%3]:4711");
    }
}
