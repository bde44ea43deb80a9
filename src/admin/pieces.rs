//! A body that is written while it is sent: however much there is to say, little of it is in memory.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Write};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

/// Bytes of a piece.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for a slow reader; then the writer waits too.
const WAITING: usize = 4;

/// What `write` writes, on a thread that may block. It is told with an error when the reader is gone.
pub(super) fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut pieces = Pieces { sender, piece: Vec::with_capacity(PIECE) };
    // Owned by the body: the task ends when the receiver does.
    tokio::task::spawn_blocking(move || match write(&mut pieces).and_then(|()| pieces.flush()) {
        Err(problem) if problem.kind() != ErrorKind::BrokenPipe => tracing::error!(%problem, "admin server"),
        _ => {}
    });
    Body::from_stream(stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Bytes>| {
        receiver.recv().await.map(|piece| (Ok::<_, Infallible>(piece), receiver))
    }))
}

struct Pieces {
    sender: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(piece.into()).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))
    }
}
