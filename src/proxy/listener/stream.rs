//! The downstream stream that Pingora works on: a transport with a write buffer, bounds on the header that is
//! being read, and the connection's facts. It knows bytes and time, and of HTTP only where a header begins and ends.
//!
//! Pingora bounds each read, not the whole header, and answers what it cannot parse by itself, under its own
//! name. Both are mended here: while a header is read the stream counts bytes and time, and an answer written
//! before any request was handed over is Pingora's own, so ours is sent in its place.

mod h2;
mod idle;
mod linger;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use idle::Idle;
use linger::Linger;

use super::buffer::WriteBuffer;
use super::conduct::{Breach, Conduct};
use super::connection::{Connection, Parting, Phase};
use super::farewell::Farewell;
use super::last_word::last_word;
use crate::proxy::settings::Settings;
use crate::telemetry::Reason;

/// How many bytes are written before the other connections of the worker have their turn. Without it a large answer runs
/// through Pingora's pipe in one go, for as long as a dozen small ones take that wait behind it.
const TURN: usize = 64 * 1024;

/// What a [`Downstream`] rests on.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug {
    /// The socket beneath.
    fn socket(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A connection from a client, as Pingora sees it.
#[derive(Debug)]
pub struct Downstream<S: Transport> {
    io: WriteBuffer<S>,
    /// Bytes that were read to tell the protocol and are still to be served.
    replay: Bytes,
    alpn: ALPN,
    ssl: Option<Arc<SslDigest>>,
    socket: Arc<SocketDigest>,
    proxy: Arc<ProxyDigest>,
    connection: Arc<Connection>,
    bounds: Bounds,
    head: Head,
    idle: Idle,
    farewell: Farewell,
    /// Of an HTTP/2 client.
    conduct: Option<Box<Conduct>>,
    /// Set while the client takes nothing.
    stall: Option<Stall>,
    /// Set once the client has closed its side while it was to be answered.
    half_closed: Option<Pin<Box<Sleep>>>,
    /// Something of an answer to the request at hand was written.
    answering: bool,
    /// Set once our side is closed.
    linger: Option<Linger>,
    /// Bytes written in this turn.
    turn: usize,
}

/// A client that takes nothing of what is sent to it.
#[derive(Debug)]
struct Stall {
    /// What it had taken by then.
    taken: u64,
    until: Pin<Box<Sleep>>,
}

/// What a header, and what a client that is answered, may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    first_byte: Duration,
    keepalive: Duration,
    header: Duration,
    header_bytes: usize,
    send: Duration,
    half_close: Duration,
    h2_resets: u32,
    h2_control_frames: u32,
}

/// The header that is being read.
#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    /// Set once the header, or the connection's first byte, did not come with the first read.
    deadline: Option<Pin<Box<Sleep>>>,
    /// A request was read on this connection before.
    later: bool,
    /// The request at hand is not among the bytes: they are of the next one.
    next: bool,
}

impl From<&Settings> for Bounds {
    fn from(settings: &Settings) -> Self {
        Bounds {
            first_byte: settings.first_byte_timeout,
            keepalive: settings.keepalive_timeout,
            header: settings.header_timeout,
            header_bytes: settings.header_limit,
            send: settings.send_timeout,
            half_close: settings.half_close_timeout,
            h2_resets: settings.h2_resets,
            h2_control_frames: settings.h2_control_frames,
        }
    }
}

impl<S: Transport> Downstream<S> {
    /// Wraps an accepted transport. `replay` are the bytes already read from it; `alpn` decides what is spoken.
    pub fn new(
        io: S,
        local: SocketAddr,
        connection: Arc<Connection>,
        replay: Bytes,
        alpn: ALPN,
        ssl: Option<SslDigest>,
        bounds: Bounds,
    ) -> pingora::Result<Self> {
        let fd = io.socket().as_raw_fd();
        let socket = SocketDigest::from_raw_fd(fd);
        let _ = socket.peer_addr.set(Some(PingoraAddr::Inet(connection.peer)));
        let _ = socket.local_addr.set(Some(PingoraAddr::Inet(local)));
        // The one public road for facts of a connection, to HTTP/1 and HTTP/2 sessions alike.
        let proxy =
            ProxyDigest::new(Box::new(ResponseHeader::build(200, Some(0))?), Some(Box::new(connection.clone())));
        let is_h2 = matches!(alpn, ALPN::H2);
        Ok(Downstream {
            conduct: is_h2.then(|| Box::new(Conduct::new(bounds.h2_resets, bounds.h2_control_frames))),
            io: WriteBuffer::new(io),
            replay,
            alpn,
            ssl: ssl.map(Arc::new),
            socket: Arc::new(socket),
            proxy: Arc::new(proxy),
            connection,
            bounds,
            head: Head::default(),
            idle: Idle::default(),
            farewell: Farewell::default(),
            stall: None,
            half_closed: None,
            answering: false,
            linger: None,
            turn: 0,
        })
    }

    fn is_h2(&self) -> bool {
        self.conduct.is_some()
    }

    /// Counts bytes of a header.
    fn count(&mut self, bytes: usize) {
        self.head.bytes += bytes;
        if bytes > 0 {
            self.connection.enter(Phase::Head);
            self.answering = false;
        }
    }

    /// Answers in the stead of a request that will not be read, as far as the socket takes it, and ends.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, status: u16) -> Poll<io::Result<()>> {
        if self.is_h2() {
            self.connection.break_off(Breach::Preface);
        } else {
            self.connection.refuse(status);
            let word = if status == 431 { Reason::HeaderTooLarge } else { Reason::RequestInvalid };
            let _ = Pin::new(&mut self.io).poll_write(cx, &last_word(status, word));
            let _ = Pin::new(&mut self.io).poll_flush(cx)?;
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The panic of a request takes its connection along, and this stream. As far as the socket takes it at once, the
    /// client is told whose fault that was.
    fn answer_panic(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.io).poll_write(&mut cx, &last_word(500, Reason::Internal));
        let _ = Pin::new(&mut self.io).poll_flush(&mut cx);
    }

    /// A request was handed over: what is counted from now on is the next one's.
    fn handed_over(&mut self) {
        if !self.head.next {
            self.head = Head { later: true, next: true, ..Head::default() };
        }
    }

    /// Reads while a request that has come as a whole is answered. RFC 9112, 9.6, lets a client close its side behind
    /// its last request. It cannot be told from one that has gone, which is not worth an answer: it is given some time.
    fn poll_read_behind(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.handed_over();
        if self.half_closed.is_none() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            let count = buf.filled().len() - before;
            self.head.bytes += count;
            if count > 0 || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let time = self.bounds.half_close;
        let until = self.half_closed.get_or_insert_with(|| Box::pin(sleep(time)));
        until.as_mut().poll(cx).map(Ok)
    }

    /// Holds a client to taking something of what is sent to it.
    fn poll_taken<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stall = None;
            return outcome;
        }
        let (taken, time) = (self.io.taken(), self.bounds.send);
        let stall = match &mut self.stall {
            Some(stall) if stall.taken == taken => stall,
            stall => stall.insert(Stall { taken, until: Box::pin(sleep(time)) }),
        };
        ready!(stall.until.as_mut().poll(cx));
        self.connection.reset_at_end(); // nor would it take what waits in the socket
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.connection.phase() {
            Phase::Request | Phase::Answer => {
                self.handed_over();
                self.answering = true;
            }
            // Idle, too: bytes that came with the request before were read in its phase.
            Phase::Idle | Phase::Head
                if !self.is_h2() && data.starts_with(b"HTTP/1.") && self.connection.refused().is_none() =>
            {
                self.connection.refuse(400);
                ready!(Pin::new(&mut self.io).poll_write(cx, &last_word(400, Reason::RequestInvalid)))?; // fits the empty buffer
                return Poll::Ready(Ok(data.len()));
            }
            Phase::Switched => {
                return match self.connection.parting() {
                    Parting::NotYet => self.farewell.poll_write(&mut self.io, cx, data),
                    Parting::Asked | Parting::Over => self.farewell.poll_write_last(&mut self.io, cx, data),
                };
            }
            Phase::Idle | Phase::Head | Phase::Framed => {}
        }
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_send_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.phase() == Phase::Switched && self.connection.parting() != Parting::NotYet {
            ready!(self.farewell.poll_say(&mut self.io, cx))?;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_read_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.head.next = false;
        self.half_closed = None;
        let room = if self.is_h2() { usize::MAX } else { self.bounds.header_bytes.saturating_sub(self.head.bytes) };
        if room == 0 {
            return self.poll_refuse(cx, 431);
        }
        let before = buf.filled().len();
        match poll_read_up_to(Pin::new(&mut self.io), cx, buf, room) {
            Poll::Ready(outcome) => {
                outcome?;
                self.idle.over();
                let count = buf.filled().len() - before;
                if self.head.bytes == 0 {
                    self.head.deadline = None;
                }
                self.count(count);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                let limit = match (self.head.bytes, self.head.later) {
                    // to Pingora, the client has ended it
                    (0, true) => return self.idle.poll(cx, self.bounds.keepalive).map(Ok),
                    (0, false) => self.bounds.first_byte,
                    _ => self.bounds.header,
                };
                let deadline = self.head.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
                ready!(deadline.as_mut().poll(cx));
                if self.head.bytes == 0 {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                self.poll_refuse(cx, 408)
            }
        }
    }
}

/// Reads no more than `room` bytes, so that a header beyond its limit is not whole before it is refused.
fn poll_read_up_to(
    reader: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    room: usize,
) -> Poll<io::Result<()>> {
    if buf.remaining() <= room {
        return reader.poll_read(cx, buf);
    }
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
    ready!(reader.poll_read(cx, &mut part))?;
    let count = part.filled().len();
    buf.advance(count);
    Poll::Ready(Ok(()))
}

impl<S: Transport> Downstream<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.replay.is_empty() {
            let count = self.replay.len().min(buf.remaining());
            buf.put_slice(&self.replay.split_to(count));
            if matches!(self.connection.phase(), Phase::Idle | Phase::Head) {
                self.count(count);
            }
            return Poll::Ready(Ok(()));
        }
        match self.connection.phase() {
            Phase::Idle | Phase::Head => self.poll_read_head(cx, buf),
            Phase::Request => {
                self.handed_over();
                Pin::new(&mut self.io).poll_read(cx, buf)
            }
            Phase::Answer => self.poll_read_behind(cx, buf),
            Phase::Framed => Pin::new(&mut self.io).poll_read(cx, buf),
            Phase::Switched => match self.connection.parting() {
                Parting::NotYet => Pin::new(&mut self.io).poll_read(cx, buf),
                Parting::Asked => {
                    // Pingora waits for the client most of the time. What cannot be written yet keeps nothing from
                    // being read.
                    if let Poll::Ready(said) = self.farewell.poll_say(&mut self.io, cx) {
                        said?;
                    }
                    Pin::new(&mut self.io).poll_read(cx, buf)
                }
                Parting::Over => Poll::Ready(Ok(())), // to Pingora, the client has ended it
            },
        }
    }
}

impl<S: Transport> AsyncRead for Downstream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.connection.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.is_h2() { self.poll_read_frames(cx, buf) } else { self.poll_receive(cx, buf) }
    }
}

impl<S: Transport> AsyncWrite for Downstream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.connection.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if this.turn >= TURN {
            this.turn = 0;
            ready!(pin!(yield_now()).poll(cx));
        }
        let outcome = this.poll_send(cx, data);
        let count = ready!(this.poll_taken(cx, outcome))?;
        this.turn += count;
        this.went(data.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let this = &mut *self;
        let outcome = this.poll_send_waiting(cx);
        this.poll_taken(cx, outcome)
    }

    /// In stages. It is done here and not in [`Shutdown`]: Pingora closes HTTP/1 by tokio's trait.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_part(cx)
    }
}

impl<S: Transport> Drop for Downstream<S> {
    fn drop(&mut self) {
        let asks = !self.is_h2() && matches!(self.connection.phase(), Phase::Head | Phase::Request | Phase::Answer);
        if std::thread::panicking() && asks && !self.answering {
            self.answer_panic();
        }
        if self.connection.resets() {
            let _ = socket2::SockRef::from(self.io.inner().socket()).set_linger(Some(Duration::ZERO));
        }
    }
}

#[async_trait]
impl<S: Transport> Shutdown for Downstream<S> {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S: Transport> UniqueID for Downstream<S> {
    fn id(&self) -> UniqueIDType {
        self.io.inner().socket().as_raw_fd()
    }
}

impl<S: Transport> Ssl for Downstream<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(self.alpn.clone())
    }
}

impl<S: Transport> GetTimingDigest for Downstream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S: Transport> GetProxyDigest for Downstream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.proxy.clone())
    }
}

impl<S: Transport> GetSocketDigest for Downstream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}

#[async_trait]
impl<S: Transport> Peek for Downstream<S> {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::super::connection::Security;
    use super::*;

    #[tokio::test]
    async fn a_large_answer_gives_others_their_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        let local = server.local_addr().unwrap();
        let connection = Arc::new(Connection::new(local, peer, Security::Plain));
        connection.enter(Phase::Answer);
        let bounds = Bounds::from(&Settings::default());
        let mut stream =
            Downstream::new(server, local, connection, Bytes::new(), ALPN::H1, None, bounds).expect("a stream");
        // A client that takes all at once: only the turns keep the writer from going on.
        tokio::spawn(async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await });
        let turns = Arc::new(AtomicUsize::new(0));
        let other = tokio::spawn({
            let turns = turns.clone();
            async move {
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            }
        });
        let piece = vec![0; TURN / 4];
        let mut had = Vec::new();
        for _ in 0..12 {
            stream.write_all(&piece).await.unwrap();
            had.push(turns.load(Ordering::Relaxed));
        }
        other.abort();
        assert!(had[4] > had[0] && had[8] > had[4], "after each piece the other task had had {had:?} turns");
    }
}
