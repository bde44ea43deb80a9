//! The gateway's own answers: a status, one word for the reason, nothing of ours in the headers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderValue, Method, Version};
use pingora::http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::timeout;

use crate::telemetry::Reason;

/// Bytes of an unwanted body that are read to keep the connection.
const DRAIN_LIMIT: usize = 64 * 1024;
/// Time for them.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Answers with `status` and `reason`. The connection is kept if the request's body is small enough to be read.
///
/// # Errors
/// The client cannot be written to.
pub async fn answer(session: &mut Session, status: u16, reason: Reason) -> pingora::Result<()> {
    drain(session).await;
    if let Some(code) = grpc_status(session, reason) {
        return answer_grpc(session, code, reason).await;
    }
    let body = Bytes::from(format!("{status} {reason}\n"));
    let mut header = Box::new(ResponseHeader::build(status, Some(4))?);
    header.insert_header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))?;
    header.insert_header(CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    // An error of this moment must not be kept by a cache on the way.
    header.insert_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    if session.req_header().method == Method::HEAD {
        session.write_response_header(header, true).await?;
        return session.finish_body().await;
    }
    session.write_response_header(header, false).await?;
    session.write_response_body(Some(body), true).await
}

/// A gRPC client reads nothing but `grpc-status`.
async fn answer_grpc(session: &mut Session, code: u8, reason: Reason) -> pingora::Result<()> {
    let mut header = Box::new(ResponseHeader::build(200, Some(4))?);
    header.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))?;
    header.insert_header("grpc-status", HeaderValue::from(u16::from(code)))?;
    header.insert_header("grpc-message", HeaderValue::from_static(reason.as_str()))?;
    if session.req_header().version != Version::HTTP_2 {
        header.insert_header(CONTENT_LENGTH, HeaderValue::from(0))?;
    }
    session.write_response_header(header, true).await?;
    session.finish_body().await
}

fn grpc_status(session: &Session, reason: Reason) -> Option<u8> {
    let kind = session.req_header().headers.get(CONTENT_TYPE)?.as_bytes();
    if !kind.starts_with(b"application/grpc") || kind.starts_with(b"application/grpc-web") {
        return None;
    }
    match reason {
        Reason::NoListener | Reason::NoRoute => Some(12), // UNIMPLEMENTED
        Reason::RequestTimeout | Reason::BackendTimeout | Reason::ConnectTimeout => Some(4), // DEADLINE_EXCEEDED
        Reason::InvalidBackend | Reason::NoEndpoints | Reason::ConnectFailed | Reason::UpstreamReset => Some(14),
        _ => None, // a 421 or 400 is read as HTTP
    }
}

/// Reads a small body that nobody wants: HTTP/1 must, to find the next request behind it.
async fn drain(session: &mut Session) {
    let request = session.req_header();
    if request.version == Version::HTTP_2 || request.headers.contains_key(EXPECT) || session.is_body_done() {
        return;
    }
    let _ = timeout(DRAIN_TIME, async {
        let mut read = 0;
        while read <= DRAIN_LIMIT {
            match session.read_request_body().await {
                Ok(Some(chunk)) => read += chunk.len(),
                Ok(None) | Err(_) => break,
            }
        }
    })
    .await;
}
