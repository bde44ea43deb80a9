//! What the stream adds for HTTP/2: its frames pass by [`Conduct`](super::Conduct), and a client that only keeps us
//! busy is told so and heard no longer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, ReadBuf};

use super::super::conduct::Breach;
use super::super::connection::Phase;
use super::{Downstream, Head, Transport};

impl<S: Transport> Downstream<S> {
    /// Reads what an HTTP/2 client sends, and ends the connection of one that only keeps us busy.
    pub(super) fn poll_read_frames(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_breached() {
            return self.poll_give_up(cx);
        }
        let before = buf.filled().len();
        ready!(self.poll_receive(cx, buf))?;
        let Some(conduct) = &mut self.conduct else { return Poll::Ready(Ok(())) };
        self.connection.opened(conduct.came(buf.filled().get(before..).unwrap_or_default()));
        let is_framed = conduct.is_framed();
        if self.is_breached() {
            buf.set_filled(before);
            return self.poll_give_up(cx);
        }
        if is_framed && self.connection.phase() != Phase::Framed {
            self.connection.enter(Phase::Framed);
            self.head = Head::default();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether an HTTP/2 client has overstepped a bound of ours, which the h2 crate knows nothing of.
    fn is_breached(&self) -> bool {
        let breach = self.conduct.as_ref().and_then(|conduct| conduct.breach());
        !matches!(breach, None | Some(Breach::Protocol(_)))
    }

    /// Tells an HTTP/2 client that it is enough, as far as the socket takes it, and ends.
    fn poll_give_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none()
            && let Some(conduct) = &self.conduct
            && let Some(breach) = conduct.breach()
        {
            self.connection.break_off(breach);
            if let Some(goodbye) = conduct.goodbye() {
                let _ = Pin::new(&mut self.io).poll_write(cx, &goodbye);
            }
        }
        match self.poll_part(cx) {
            Poll::Pending if self.linger.is_some() => Poll::Pending,
            _ => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    /// Bytes of ours have gone to an HTTP/2 client.
    pub(super) fn went(&mut self, bytes: &[u8]) {
        if let Some(conduct) = &mut self.conduct {
            conduct.went(bytes);
            if let Some(breach) = conduct.breach() {
                self.connection.break_off(breach);
            }
        }
    }
}
