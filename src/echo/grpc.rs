//! gRPC over h2: every method of every service gives back the messages it was sent, then status OK.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::time::Sleep;

use super::Echo;
use super::body::Body;

/// The largest message, bytes.
const LARGEST: u32 = 16 * 1024 * 1024;
/// Without a byte for this long, the call ends.
const IDLE: Duration = Duration::from_mins(5);
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Status codes of gRPC that are answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok = 0,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Internal = 13,
}

/// Whether the request is a gRPC call: `application/grpc`, `application/grpc+proto`, …
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The answer: messages are passed back as they come, so that streaming calls work too.
pub(super) fn answer(request: Request<Incoming>, echo: &Echo) -> Response<Body> {
    let (parts, incoming) = request.into_parts();
    let body =
        Messages { incoming, framing: Framing::default(), idle: Box::pin(tokio::time::sleep(IDLE)), ended: false };
    let mut response = Response::new(body.boxed_unsync());
    // What is compressed comes back compressed.
    for name in [CONTENT_TYPE, ENCODING] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    echo.name_headers(response.headers_mut());
    response
}

/// The client's messages, then our trailers.
struct Messages {
    incoming: Incoming,
    framing: Framing,
    idle: Pin<Box<Sleep>>,
    ended: bool,
}

impl hyper::body::Body for Messages {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
                ready!(this.idle.as_mut().poll(cx));
                return Poll::Ready(Some(Ok(this.end(Status::DeadlineExceeded))));
            };
            let bytes = match frame {
                None => {
                    let status = if this.framing.is_whole() { Status::Ok } else { Status::Internal };
                    return Poll::Ready(Some(Ok(this.end(status))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => frame.into_data(),
            };
            // Trailers of a client mean nothing in gRPC.
            let Ok(bytes) = bytes else { continue };
            this.idle.as_mut().reset(tokio::time::Instant::now() + IDLE);
            return Poll::Ready(Some(Ok(match this.framing.take(&bytes) {
                Ok(()) => Frame::data(bytes),
                Err(status) => this.end(status),
            })));
        }
    }
}

impl Messages {
    fn end(&mut self, status: Status) -> Frame<Bytes> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(status as u16));
        if let Some(message) = status.message() {
            trailers.insert("grpc-message", HeaderValue::from_static(message));
        }
        Frame::trailers(trailers)
    }
}

impl Status {
    fn message(self) -> Option<&'static str> {
        match self {
            Status::Ok => None,
            Status::DeadlineExceeded => Some("no message for five minutes"),
            Status::ResourceExhausted => Some("messages are limited to 16 MiB"),
            Status::Internal => Some("a message is not framed as gRPC has it"),
        }
    }
}

/// Where in a message the stream is. gRPC over HTTP/2: "Length-Prefixed-Message -> Compressed-Flag Message-Length
/// Message", one byte, four bytes big endian, the message.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; 5],
    prefix_length: usize,
    /// Bytes of the message still to come.
    rest: usize,
}

impl Framing {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while let Some((byte, after)) = bytes.split_first() {
            if self.rest > 0 {
                let taken = self.rest.min(bytes.len());
                self.rest -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            if let Some(slot) = self.prefix.get_mut(self.prefix_length) {
                *slot = *byte;
                self.prefix_length += 1;
            }
            bytes = after;
            if self.prefix_length == self.prefix.len() {
                let [flag, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length);
                if flag > 1 {
                    return Err(Status::Internal);
                }
                if length > LARGEST {
                    return Err(Status::ResourceExhausted);
                }
                self.rest = length as usize;
                self.prefix_length = 0;
            }
        }
        Ok(())
    }

    /// Whether no message is under way.
    fn is_whole(&self) -> bool {
        self.rest == 0 && self.prefix_length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_however_the_bytes_are_cut() {
        let stream = [0, 0, 0, 0, 3, b'a', b'b', b'c', 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'd'];
        for size in 1..=stream.len() {
            let mut framing = Framing::default();
            for chunk in stream.chunks(size) {
                assert_eq!(framing.take(chunk), Ok(()));
            }
            assert!(framing.is_whole(), "in chunks of {size}");
        }
        let mut framing = Framing::default();
        assert_eq!(framing.take(&stream[..6]), Ok(()));
        assert!(!framing.is_whole());
    }

    #[test]
    fn a_prefix_that_cannot_be_is_refused() {
        assert_eq!(Framing::default().take(&[2, 0, 0, 0, 0]), Err(Status::Internal));
        assert_eq!(Framing::default().take(&[0, 255, 0, 0, 0]), Err(Status::ResourceExhausted));
    }

    #[test]
    fn only_grpc_itself_is_grpc() {
        let asked =
            |kind: &'static str| is_asked(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]));
        assert!(asked("application/grpc") && asked("application/grpc+proto") && asked("application/grpc;x=y"));
        assert!(!asked("application/grpc-web") && !asked("application/json") && !is_asked(&HeaderMap::new()));
    }
}
