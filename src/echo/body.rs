//! Bodies: the one type that all answers share, and the bounded reading of what a client sent.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};

/// Body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// The largest body that is read, bytes.
const LARGEST: u64 = 16 * 1024 * 1024;
/// The largest body that is given back, bytes.
const LARGEST_ECHOED: usize = 64 * 1024;
/// How long a client may take for its body.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a client sent after the header.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Bytes.
    pub(super) length: u64,
    /// SHA-256, hex.
    pub(super) sha256: String,
    /// The text itself, where it is short and UTF-8.
    pub(super) text: Option<String>,
    /// Fields after the body.
    pub(super) trailers: Option<HeaderMap>,
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    TooLarge,
    TooSlow,
    Broken,
}

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(super) async fn receive(body: Incoming) -> Result<Received, Unread> {
    tokio::time::timeout(PATIENCE, read(body)).await.unwrap_or(Err(Unread::TooSlow))
}

async fn read(mut body: Incoming) -> Result<Received, Unread> {
    let mut hash = Sha256::new();
    let mut kept = Vec::new();
    let mut received = Received::default();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| Unread::Broken)?.into_data() {
            Ok(bytes) => {
                received.length += bytes.len() as u64;
                if received.length > LARGEST {
                    return Err(Unread::TooLarge);
                }
                hash.update(&bytes);
                if kept.len() + bytes.len() <= LARGEST_ECHOED {
                    kept.extend_from_slice(&bytes);
                }
            }
            Err(frame) => received.trailers = frame.into_trailers().ok(),
        }
    }
    received.sha256 = hex(&hash.finalize());
    received.text = (kept.len() as u64 == received.length).then(|| String::from_utf8(kept).ok()).flatten();
    Ok(received)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
