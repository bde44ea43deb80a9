//! How a client that was answered is parted with: our side is closed, and what it still sends is heard for a while.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{Downstream, Transport};

/// For how long and for how many bytes a client that was answered is listened to before the connection is dropped.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// What is still read of a client that was answered.
#[derive(Debug)]
pub(super) struct Linger {
    rest: usize,
    until: Pin<Box<Sleep>>,
}

impl<S: Transport> Downstream<S> {
    /// RFC 9112, 9.6: "To avoid the TCP reset problem, servers typically close a connection in stages." A client that
    /// is still sending a body when it is answered would otherwise lose the answer, and one of HTTP/2 the GOAWAY.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
            ready!(self.poll_taken(cx, outcome))?;
            self.linger = Some(Linger { rest: LINGER_BYTES, until: Box::pin(sleep(LINGER_TIME)) });
        }
        let is_ours = self.conduct.as_ref().is_none_or(|conduct| conduct.breach().is_some());
        let Some(linger) = self.linger.as_mut().filter(|_| is_ours) else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; 4096];
        while linger.rest > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => linger.rest = linger.rest.saturating_sub(buf.filled().len()),
                _ => break, // the client has closed, too
            }
        }
        Poll::Ready(Ok(()))
    }
}
