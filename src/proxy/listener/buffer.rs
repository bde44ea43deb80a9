//! A small write buffer over a transport: header and body of an answer leave in one segment or TLS record.
//! Differs from tokio's in what is too large to buffer: that goes out together with what waits, in one call.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes up to this many bytes wait for a flush.
const CAPACITY: usize = 4096;

thread_local! {
    /// The memory that a buffer of this thread last gave back. An answer is mostly written and flushed in one turn of its
    /// task, so that one is enough, and the next to write finds it in the processor's cache.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A transport with a write buffer. Reads pass straight through.
#[derive(Debug)]
pub struct WriteBuffer<S> {
    inner: S,
    waiting: Vec<u8>,
    sent: usize,
    taken: u64,
}

impl<S> WriteBuffer<S> {
    /// Nothing waits yet, and memory is taken only for what does.
    pub fn new(inner: S) -> Self {
        WriteBuffer { inner, waiting: Vec::new(), sent: 0, taken: 0 }
    }

    /// Bytes that the transport has taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The transport.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WriteBuffer<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            self.taken += count as u64;
        }
        self.give_back();
        Poll::Ready(Ok(()))
    }

    /// Once nothing waits any more.
    fn give_back(&mut self) {
        self.sent = 0;
        if self.waiting.capacity() > 0 {
            self.waiting.clear();
            // Fails only while the thread is being torn down.
            let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.waiting)));
        }
    }

    fn poll_write_with_waiting(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        while self.sent < self.waiting.len() {
            if !self.inner.is_write_vectored() {
                ready!(self.poll_drain(cx))?;
                break;
            }
            let rest = self.waiting.get(self.sent..).unwrap_or_default();
            let slices = [IoSlice::new(rest), IoSlice::new(data)];
            let count = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let beyond = count.saturating_sub(rest.len());
            self.taken += count as u64;
            self.sent += count - beyond;
            if beyond > 0 {
                self.give_back();
                return Poll::Ready(Ok(beyond));
            }
        }
        self.give_back();
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, data))?;
        self.taken += count as u64;
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteBuffer<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteBuffer<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.len() + data.len() > CAPACITY {
            return self.poll_write_with_waiting(cx, data);
        }
        if self.waiting.capacity() == 0 {
            self.waiting = SPARE.try_with(Cell::take).unwrap_or_default();
            self.waiting.reserve_exact(CAPACITY);
        }
        self.waiting.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn small_writes_leave_together_at_the_flush() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut buffer = WriteBuffer::new(near);
        buffer.write_all(b"head").await.unwrap();
        buffer.write_all(b"body").await.unwrap();
        let mut seen = [0; 16];
        assert!(tokio::time::timeout(Duration::from_millis(20), far.read(&mut seen)).await.is_err());
        buffer.flush().await.unwrap();
        assert_eq!(far.read(&mut seen).await.unwrap(), 8);
        assert_eq!(&seen[..8], b"headbody");
    }

    #[tokio::test]
    async fn memory_goes_from_one_connection_to_the_next_without_what_was_in_it() {
        let (near, _far) = tokio::io::duplex(1024);
        let mut first = WriteBuffer::new(near);
        first.write_all(b"of the first").await.unwrap();
        let memory = first.waiting.as_ptr();
        first.flush().await.unwrap();
        assert_eq!(first.waiting.capacity(), 0);

        let (near, mut far) = tokio::io::duplex(1024);
        let mut second = WriteBuffer::new(near);
        second.write_all(b"second").await.unwrap();
        assert_eq!(second.waiting.as_ptr(), memory);
        first.write_all(b"first again").await.unwrap();
        assert_ne!(first.waiting.as_ptr(), memory);
        second.shutdown().await.unwrap();
        drop(second);
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"second");
    }

    #[tokio::test]
    async fn every_byte_arrives_in_order_whatever_the_sizes() {
        let (near, mut far) = tokio::io::duplex(700);
        let mut buffer = WriteBuffer::new(near);
        let sizes = [1usize, 4000, 5000, 90, 4096, 4097, 1, 12_000, 3];
        let total: usize = sizes.iter().sum();
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        });
        let mut next = 0u8;
        for size in sizes {
            let chunk: Vec<u8> = (0..size)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            buffer.write_all(&chunk).await.unwrap();
        }
        buffer.shutdown().await.unwrap();
        drop(buffer);
        let all = reader.await.unwrap();
        assert_eq!(all.len(), total);
        assert!(all.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    }
}
