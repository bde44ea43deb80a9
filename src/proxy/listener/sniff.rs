//! HTTP/1.1 or HTTP/2 by prior knowledge, on one cleartext port: decided at the first byte that differs from the
//! HTTP/2 preface, and bounded in time.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// RFC 9113, 3.4: "the connection preface starts with the string `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`".
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for the header of an ordinary request.
const FIRST_READ: usize = 2048;

/// What a client speaks in cleartext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1, or at least not HTTP/2.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// Reads until it is clear what is spoken, and gives back what was read, behind what was read `before`. `None` if the
/// client left before.
///
/// # Errors
/// Those of reading.
pub async fn sniff<R: AsyncRead + Unpin>(reader: &mut R, before: &[u8]) -> io::Result<Option<(Spoken, Bytes)>> {
    let mut seen = BytesMut::with_capacity(FIRST_READ);
    seen.extend_from_slice(before);
    loop {
        if reader.read_buf(&mut seen).await? == 0 {
            return Ok(None);
        }
        if let Some(spoken) = decide(&seen) {
            return Ok(Some((spoken, seen.freeze())));
        }
    }
}

fn decide(seen: &[u8]) -> Option<Spoken> {
    if seen.starts_with(PREFACE) {
        Some(Spoken::Http2)
    } else if PREFACE.starts_with(seen) {
        None
    } else {
        Some(Spoken::Http1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_differs_decides() {
        assert_eq!(decide(b"G"), Some(Spoken::Http1));
        assert_eq!(decide(b"P"), None);
        assert_eq!(decide(b"PO"), Some(Spoken::Http1));
        assert_eq!(decide(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(decide(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"), Some(Spoken::Http2));
        assert_eq!(decide(b"PRI * HTTP/1.1\r\n"), Some(Spoken::Http1));
    }

    #[tokio::test]
    async fn a_preface_in_pieces_is_still_one() {
        let mut pieces = tokio_test_pieces(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM", b"\r\n\r\nrest"]);
        let (spoken, seen) = sniff(&mut pieces, b"").await.unwrap().unwrap();
        assert_eq!(spoken, Spoken::Http2);
        assert_eq!(&seen[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest");
    }

    #[tokio::test]
    async fn what_was_read_before_is_a_part_of_it() {
        let mut pieces = tokio_test_pieces(&[b"OST / HTTP/1.1\r\n"]);
        let (spoken, seen) = sniff(&mut pieces, b"P").await.unwrap().unwrap();
        assert_eq!((spoken, &seen[..]), (Spoken::Http1, b"POST / HTTP/1.1\r\n".as_slice()));
    }

    fn tokio_test_pieces(pieces: &[&'static [u8]]) -> impl AsyncRead + Unpin {
        let (mut near, far) = tokio::io::duplex(1024);
        let pieces = pieces.to_vec();
        tokio::spawn(async move {
            for piece in pieces {
                tokio::io::AsyncWriteExt::write_all(&mut near, piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        far
    }
}
