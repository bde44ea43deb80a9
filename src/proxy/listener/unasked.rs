//! The answer over HTTP/1 to what is no request, or to one that nobody is left to answer. It is written by the stream
//! itself: Pingora never had the request.

use pingora::protocols::http::date::get_cached_date;

use crate::telemetry::Reason;

/// As answers to requests are.
pub fn answer(status: u16) -> Vec<u8> {
    let (phrase, word) = match status {
        408 => ("Request Timeout", Reason::RequestInvalid),
        500 => ("Internal Server Error", Reason::Internal),
        431 => ("Request Header Fields Too Large", Reason::HeaderTooLarge),
        _ => ("Bad Request", Reason::RequestInvalid),
    };
    let body = format!("{status} {word}\n");
    let mut answer = format!(
        "HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\ncache-control: no-store\r\ndate: ",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(get_cached_date().as_bytes());
    answer.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
    answer.extend_from_slice(body.as_bytes());
    answer
}
