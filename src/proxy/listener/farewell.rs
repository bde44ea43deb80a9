//! How a WebSocket is told that this end goes away. In come the bytes of the server on their way to the client; out
//! goes, once it is asked for and where no frame is torn by it, a Close of our own, and nothing behind it. What the
//! client says passes on all the while, its answer to the Close too: so the endpoint hears of it from the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::buffer::WriteBuffer;
use super::frames::Frames;

/// RFC 6455, 7.4.1: "1001 indicates that an endpoint is 'going away', such as a server going down".
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

/// The server's side of a connection that was switched.
#[derive(Debug)]
pub struct Farewell {
    frames: Frames,
    /// What is still to be written of the Close.
    unsent: &'static [u8],
}

impl Default for Farewell {
    fn default() -> Self {
        Farewell { frames: Frames::default(), unsent: GOING_AWAY }
    }
}

impl Farewell {
    /// Writes what the server says.
    pub fn poll_write<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut WriteBuffer<S>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(io).poll_write(cx, data))?;
        self.frames.pass(data.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    /// Writes what the server says up to the end of the frame at hand; what it says behind that is lost.
    pub fn poll_write_last<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut WriteBuffer<S>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.may_say() {
            ready!(self.poll_say(io, cx))?;
        }
        if self.is_said() {
            return Poll::Ready(Ok(data.len()));
        }
        let last = self.frames.to_end_of_frame(data);
        self.poll_write(io, cx, data.get(..last).unwrap_or_default())
    }

    /// Says goodbye, if this is a place for it and it was not said, and sends what waits.
    pub fn poll_say<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut WriteBuffer<S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.may_say() {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, self.unsent))?;
            self.unsent = self.unsent.get(count..).unwrap_or_default();
        }
        Pin::new(io).poll_flush(cx)
    }

    /// Between two frames, none of which is a Close.
    fn may_say(&self) -> bool {
        self.frames.is_between() && !self.is_said()
    }

    /// Nothing may follow any more: the Close is ours, or was the server's.
    fn is_said(&self) -> bool {
        self.unsent.is_empty() || self.frames.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    /// A client that reads little at a time, and our side behind the head of a 101.
    async fn switched() -> (DuplexStream, WriteBuffer<DuplexStream>, Farewell) {
        let (mut client, server) = duplex(64);
        let (mut io, mut farewell) = (WriteBuffer::new(server), Farewell::default());
        let head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        poll_fn(|cx| farewell.poll_write(&mut io, cx, head)).await.unwrap();
        poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.unwrap();
        client.read_exact(&mut [0; 36]).await.unwrap();
        (client, io, farewell)
    }

    async fn say(io: &mut WriteBuffer<DuplexStream>, farewell: &mut Farewell) {
        poll_fn(|cx| farewell.poll_say(io, cx)).await.unwrap();
    }

    async fn write_last(io: &mut WriteBuffer<DuplexStream>, farewell: &mut Farewell, mut data: &[u8]) {
        while !data.is_empty() {
            let count = poll_fn(|cx| farewell.poll_write_last(io, cx, data)).await.unwrap();
            data = &data[count..];
        }
        say(io, farewell).await;
    }

    async fn all(mut client: DuplexStream) -> Vec<u8> {
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        all
    }

    #[tokio::test]
    async fn between_two_frames_it_is_said_at_once_and_once() {
        let (client, mut io, mut farewell) = switched().await;
        say(&mut io, &mut farewell).await;
        say(&mut io, &mut farewell).await;
        write_last(&mut io, &mut farewell, &[0x81, 1, b'x']).await;
        drop(io);
        assert_eq!(all(client).await, GOING_AWAY);
    }

    #[tokio::test]
    async fn within_a_frame_its_end_is_waited_for() {
        let frame = [&[0x82, 126, 0x20, 0][..], &[7; 0x2000]].concat();
        for cut in [1, 2, 3, 4, 5, 4000, 0x2003] {
            let (client, mut io, mut farewell) = switched().await;
            let reader = tokio::spawn(all(client));
            let mut first = &frame[..cut];
            while !first.is_empty() {
                let count = poll_fn(|cx| farewell.poll_write(&mut io, cx, first)).await.unwrap();
                first = &first[count..];
            }
            say(&mut io, &mut farewell).await;
            write_last(&mut io, &mut farewell, &[&frame[cut..], &[0x81, 1, b'x']].concat()).await;
            drop(io);
            assert_eq!(reader.await.unwrap(), [&frame, GOING_AWAY].concat(), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn nothing_is_said_behind_the_close_of_the_server() {
        let (client, mut io, mut farewell) = switched().await;
        poll_fn(|cx| farewell.poll_write(&mut io, cx, &[0x88])).await.unwrap();
        write_last(&mut io, &mut farewell, &[2, 3, 0xe8]).await;
        drop(io);
        assert_eq!(all(client).await, [0x88, 2, 3, 0xe8]);
    }
}
