//! Reading a ClientHello: a stranger's bytes come in; what it asks for goes out, or why there is nothing to ask.
//! Bounded in bytes here, and in time by the caller. Which listener takes it is not known here.

use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::server::{Accepted, AcceptedAlert, Acceptor, ClientHello};
use tokio::io::{AsyncRead, ReadBuf};

/// Most bytes of a ClientHello, its records' headers included.
pub const LIMIT: usize = 64 * 1024;

/// RFC 8446, 6: a fatal alert of this description in a record of its own, in cleartext: no key is agreed on yet.
#[must_use]
pub fn fatal(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

/// Why there is no hello.
pub enum NoHello {
    /// The client left.
    Closed,
    /// It took too long.
    Late,
    /// The listener is closed, and it was not whole by then.
    Ended,
    /// It speaks HTTP in cleartext.
    Plaintext,
    /// More than [`LIMIT`] bytes, and still no end.
    TooLong,
    /// No TLS, or against its rules, and what the client is to be told.
    Invalid(rustls::Error, AcceptedAlert),
    /// It cannot be read from.
    Unreadable(io::Error),
}

/// A hello that is being read.
#[derive(Default)]
pub struct Reader {
    acceptor: Acceptor,
    first: Option<u8>,
    bytes: usize,
}

/// The server that a hello names: lower case, without the dot at its end that some clients send (RFC 6066, 3: the name
/// "is represented as a byte string using ASCII encoding without a trailing dot"). An address is no name.
#[must_use]
pub fn server_name(hello: &ClientHello<'_>) -> Option<String> {
    let name = hello.server_name()?;
    Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

impl Reader {
    /// Reads until the hello is whole. Cancel safe.
    ///
    /// # Errors
    /// Why there is no hello.
    pub async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<Accepted, NoHello> {
        poll_fn(|cx| self.poll(stream, cx)).await
    }

    /// Whether nothing was read yet.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.bytes == 0
    }

    fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<Result<Accepted, NoHello>> {
        loop {
            let mut tap = Tap { stream, first: &mut self.first, bytes: &mut self.bytes, cx };
            let read = match self.acceptor.read_tls(&mut tap) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                read => read,
            };
            // A method begins with a letter, a record does not.
            if self.first.is_some_and(|first| first.is_ascii_alphabetic()) {
                return Poll::Ready(Err(NoHello::Plaintext));
            }
            match read {
                Ok(0) => return Poll::Ready(Err(NoHello::Closed)),
                Ok(_) => {}
                // rustls has no room for more of a message
                Err(error) if error.kind() == io::ErrorKind::Other => return Poll::Ready(Err(NoHello::TooLong)),
                Err(error) => return Poll::Ready(Err(NoHello::Unreadable(error))),
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => return Poll::Ready(Ok(accepted)),
                Ok(None) if self.bytes > LIMIT => return Poll::Ready(Err(NoHello::TooLong)),
                Ok(None) => {}
                Err((error, alert)) => return Poll::Ready(Err(NoHello::Invalid(error, alert))),
            }
        }
    }
}

/// An asynchronous stream as rustls reads it.
struct Tap<'a, 'cx, S> {
    stream: &'a mut S,
    first: &'a mut Option<u8>,
    bytes: &'a mut usize,
    cx: &'a mut Context<'cx>,
}

impl<S: AsyncRead + Unpin> Read for Tap<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.stream).poll_read(self.cx, &mut buf) {
            Poll::Ready(outcome) => outcome?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        *self.first = self.first.or(buf.filled().first().copied());
        *self.bytes += buf.filled().len();
        Ok(buf.filled().len())
    }
}
