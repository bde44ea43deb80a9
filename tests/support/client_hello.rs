//! What must hold of the ClientHello reader, whatever comes: used by the fuzz target `client_hello`, and over its seeds
//! by tests/edge_tls_hello.rs.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use transom::proxy::hello;

/// Most that one read takes beyond the limit.
const READ: usize = 4096;

/// Bytes in pieces, and then the end, or nothing more for now.
struct Memory<'a> {
    rest: &'a [u8],
    piece: usize,
    read: usize,
    ends: bool,
}

impl AsyncRead for Memory<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_empty() && !self.ends {
            return Poll::Pending;
        }
        let (now, rest) = self.rest.split_at(self.rest.len().min(self.piece).min(buf.remaining()));
        buf.put_slice(now);
        self.rest = rest;
        self.read += now.len();
        Poll::Ready(Ok(()))
    }
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A hello for this server.
    Hello(Option<String>),
    /// None.
    Refused,
    /// More is waited for.
    Waits,
}

fn read(bytes: &[u8], piece: usize, ends: bool) -> Outcome {
    let mut memory = Memory { rest: bytes, piece, read: 0, ends };
    let outcome = match pin!(hello::Reader::default().read(&mut memory)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(accepted)) => {
            let name = hello::server_name(&accepted.client_hello());
            if let Some(name) = &name {
                assert!(!name.is_empty() && !name.ends_with('.') && !name.contains('\0'), "{name:?}");
                assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name:?}");
            }
            Outcome::Hello(name)
        }
        Poll::Ready(Err(_)) => Outcome::Refused,
        Poll::Pending => Outcome::Waits,
    };
    assert!(memory.read <= hello::LIMIT + READ, "{} bytes were read", memory.read);
    assert!(!ends || outcome != Outcome::Waits, "the end of the bytes decides");
    outcome
}

/// It decides or asks for more, within bounds, and how the bytes are cut makes no difference.
pub fn check_client_hello(bytes: &[u8]) -> Outcome {
    let whole = read(bytes, usize::MAX, true);
    let waiting = read(bytes, usize::MAX, false);
    assert!(waiting == whole || (waiting == Outcome::Waits && whole == Outcome::Refused));
    if bytes.len() <= hello::LIMIT {
        for piece in [1, 7] {
            assert_eq!(read(bytes, piece, true), whole, "in pieces of {piece}");
        }
    }
    whole
}
