//! HTTP/1 answers of connections to what never became a request. They look as those to requests do.

use pingora::protocols::http::date::get_cached_date;

use crate::telemetry::Reason;

/// The answer, after which the connection ends.
pub fn last_word(status: u16, word: Reason) -> Vec<u8> {
    let phrase = match status {
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        _ => "Bad Request",
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
