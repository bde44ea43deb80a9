//! The gateway's own answers: a status, one word for the reason, nothing of ours in the headers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use pingora::Error;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;
use tokio::time::timeout;

use super::context::RequestContext;
use super::filter;
use crate::router::is_grpc;
use crate::telemetry::Reason;

/// Bytes of an unwanted body that are read to keep the connection.
const DRAIN_LIMIT: usize = 64 * 1024;
/// Time for them.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// An answer of the gateway's own.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The word for it.
    pub reason: Reason,
    /// Headers beside those that every such answer has. A name may repeat.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// A status and the word for it.
    pub const fn new(status: u16, reason: Reason) -> Self {
        Answer { status, reason, headers: Vec::new() }
    }

    /// Whether the client is to blame for it. It is not listened to any further: where its next request begins is in
    /// doubt, or it is not worth it. A 505 is no fault.
    pub fn ends_connection(&self) -> bool {
        let is_fault = matches!(self.reason, Reason::RequestInvalid | Reason::HeaderTooLarge | Reason::BodyTooLarge);
        is_fault && self.status < 500
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Answers; the filters of the rule that matched have their say. The connection is kept if the request's body is
/// small enough to be read.
///
/// # Errors
/// The client cannot be written to.
pub async fn answer(session: &mut Session, answer: Answer, context: &RequestContext) -> pingora::Result<()> {
    drain(session).await;
    let reason = answer.reason;
    let (mut header, body) = match grpc_status(&session.req_header().headers, answer.status, reason) {
        Some(code) => (grpc_header(session, code, reason)?, None),
        None => plain(answer)?,
    };
    if let Some(matched) = &context.matched {
        filter::on_own_answer(session.req_header(), &mut header, reason, matched)?;
    }
    let Some(body) = body.filter(|_| session.req_header().method != Method::HEAD) else {
        return end_with(session, header).await;
    };
    session.write_response_header(header, false).await?;
    session.write_response_body(Some(body), true).await
}

/// An answer without a body, whose header ends the stream. Over HTTP/2 Pingora ends it by a frame of its own, even when
/// told otherwise, and a client of gRPC takes that for an answer that lacks its trailers.
async fn end_with(session: &mut Session, header: Box<ResponseHeader>) -> pingora::Result<()> {
    if let ServerSession::H2(stream) = session.as_downstream_mut() {
        return stream.write_response_header(header, true);
    }
    session.write_response_header(header, true).await?;
    session.finish_body().await
}

fn plain(answer: Answer) -> pingora::Result<(Box<ResponseHeader>, Option<Bytes>)> {
    let mut header = Box::new(ResponseHeader::build(answer.status, Some(4 + answer.headers.len()))?);
    // RFC 9110, 15.3.5: a 204 has no content, and 8.6: "MUST NOT send a Content-Length header field".
    let body = (answer.status != 204).then(|| Bytes::from(format!("{} {}\n", answer.status, answer.reason)));
    if let Some(body) = &body {
        header.insert_header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))?;
        header.insert_header(CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    if answer.status >= 400 {
        // An error of this moment must not be kept by a cache on the way.
        header.insert_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    }
    for (name, value) in answer.headers {
        header.append_header(name, value)?;
    }
    Ok((header, body))
}

/// A gRPC client reads nothing but `grpc-status`.
fn grpc_header(session: &Session, code: u8, reason: Reason) -> pingora::Result<Box<ResponseHeader>> {
    let mut header = Box::new(ResponseHeader::build(200, Some(4))?);
    header.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))?;
    header.insert_header("grpc-status", HeaderValue::from(u16::from(code)))?;
    header.insert_header("grpc-message", HeaderValue::from_static(reason.as_str()))?;
    if session.req_header().version != Version::HTTP_2 {
        header.insert_header(CONTENT_LENGTH, HeaderValue::from(0))?;
    }
    Ok(header)
}

/// The gRPC status of an answer to a call; `None` where it is answered as any other request, whose status a client of
/// gRPC reads as well.
///
/// "Requests that would have been processed by that filter MUST receive a HTTP error response" (GRPCRouteFilter,
/// extensionRef): a filter that failed is such an answer, as are a request that is none and one that was misdirected.
pub fn grpc_status(request: &HeaderMap, status: u16, reason: Reason) -> Option<u8> {
    const DEADLINE_EXCEEDED: u8 = 4;
    const UNIMPLEMENTED: u8 = 12;
    const UNAVAILABLE: u8 = 14;
    if !is_grpc(request) {
        return None;
    }
    match reason {
        Reason::NoListener | Reason::NoRoute => Some(UNIMPLEMENTED),
        Reason::RequestTimeout | Reason::BackendTimeout => Some(DEADLINE_EXCEEDED),
        Reason::RetryExhausted if status == 504 => Some(DEADLINE_EXCEEDED),
        // No connection in time is no deadline of the call's: nothing of it was sent.
        Reason::InvalidBackend
        | Reason::NoEndpoints
        | Reason::ConnectFailed
        | Reason::ConnectTimeout
        | Reason::UpstreamTls
        | Reason::UpstreamReset
        | Reason::RetryExhausted
        | Reason::Overloaded => Some(UNAVAILABLE),
        _ => None,
    }
}

/// Reads a small body that nobody wants: HTTP/1 must, to find the next request behind it.
async fn drain(session: &mut Session) {
    let request = session.req_header();
    if session.get_keepalive().is_none() {
        return; // nothing is to come after it
    }
    if request.version == Version::HTTP_2 || request.headers.contains_key(EXPECT) || session.is_body_done() {
        return;
    }
    let drained = timeout(DRAIN_TIME, async {
        let mut read = 0;
        while read <= DRAIN_LIMIT {
            match session.read_request_body().await? {
                Some(chunk) => read += chunk.len(),
                None => break,
            }
        }
        Ok::<_, Box<Error>>(())
    })
    .await;
    if matches!(drained, Ok(Err(_))) {
        session.set_keepalive(None); // it is no body: nobody knows where the next request would begin
    }
}
