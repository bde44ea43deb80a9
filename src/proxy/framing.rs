//! Whether an HTTP/1 request can be read in one way only. In come the header as Pingora has read it, and its bytes as
//! they were sent; out goes a refusal of what Pingora lets pass, but another server on the way may read as something
//! else, as two requests for instance. Paths, hosts and what is asked for are not looked at.
//!
//! What Pingora refuses by itself is not repeated here: folded lines, spaces before a colon, a CR or NUL by itself,
//! lengths that differ, transfer codings that do not end in `chunked` or come over HTTP/1.0.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;

use super::respond::Answer;
use super::settings::Settings;
use crate::telemetry::Reason;

const INVALID: Answer = Answer::new(400, Reason::RequestInvalid);

/// The header's bytes, request line included; over HTTP/2 there are none.
pub fn raw(session: &Session) -> Option<Bytes> {
    match session.as_downstream() {
        ServerSession::H1(session) => Some(session.get_headers_raw_bytes()),
        _ => None,
    }
}

/// Refuses what could be read in more than one way, and what is beyond its limit.
///
/// # Errors
/// What to answer.
pub fn check(raw: Option<&[u8]>, request: &RequestHeader, settings: &Settings) -> Result<(), Answer> {
    if let Some(raw) = raw {
        // Bytes that came together with the request before were not counted when they were read.
        if raw.len() > settings.header_limit {
            return Err(Answer::new(431, Reason::HeaderTooLarge));
        }
        if has_bare_line_feed(raw) || !has_plain_coding(raw, &request.headers) {
            return Err(INVALID);
        }
    }
    // RFC 9112, 3: "a server SHOULD respond with a 414 (URI Too Long)". Over HTTP/2 the line is what it would be.
    if request.method.as_str().len() + request.raw_path().len() + "  HTTP/1.1".len() > settings.request_line_limit {
        return Err(Answer::new(414, Reason::HeaderTooLarge));
    }
    if request.headers.len() > settings.header_fields {
        return Err(Answer::new(431, Reason::HeaderTooLarge));
    }
    let Some(length) = length(&request.headers) else { return Err(INVALID) };
    if settings.body_limit.is_some_and(|limit| length > limit) {
        return Err(Answer::new(413, Reason::BodyTooLarge));
    }
    check_expectation(request)
}

/// RFC 9112, 2.2: "a recipient MAY recognize a single LF as a line terminator". Who does not would see one line where
/// others see two.
fn has_bare_line_feed(raw: &[u8]) -> bool {
    let pairs = raw.iter().zip(raw.get(1..).unwrap_or_default());
    // A count, and not a search: the compiler makes one of sixteen bytes at a time.
    raw.first() == Some(&b'\n') || pairs.filter(|(before, byte)| **byte == b'\n' && **before != b'\r').count() > 0
}

/// RFC 9112, 6.1: "A server MAY reject a request that contains both Content-Length and Transfer-Encoding"; and nobody
/// has asked for another coding than chunked. Pingora has removed the length that came with a coding.
fn has_plain_coding(raw: &[u8], headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return true };
    let is_length = |line: &[u8]| {
        let name = line.get(..CONTENT_LENGTH.as_str().len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str().as_bytes()))
    };
    let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    is_chunked && !raw.split(|byte| *byte == b'\n').any(is_length)
}

/// The length that is told, 0 without one. RFC 9110, 8.6: of a value that is repeated as a list a recipient "MAY
/// either reject the message as invalid or replace that invalid field value"; an upstream must not be left to read it
/// in its own way.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Some(0) };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    // Many count in signed numbers.
    let length = digits.parse::<i64>().ok().and_then(|length| u64::try_from(length).ok())?;
    lengths.next().is_none().then_some(length)
}

/// RFC 9110, 10.1.1: a server that receives another expectation than 100-continue "MAY respond with a 417". Two servers
/// that do not read it alike wait for a body that does not come, or take the body for a request.
fn check_expectation(request: &RequestHeader) -> Result<(), Answer> {
    let mut expected = request.headers.get_all(EXPECT).iter();
    let Some(first) = expected.next() else { return Ok(()) };
    let is_known = first.as_bytes().eq_ignore_ascii_case(b"100-continue") && expected.next().is_none();
    // "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation."
    if is_known || request.version == Version::HTTP_10 {
        return Ok(());
    }
    Err(Answer::new(417, Reason::RequestInvalid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_feed_needs_its_carriage_return() {
        for (raw, bare) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], false),
            (b"\r\nGET / HTTP/1.1\r\n\r\n", false),
            (b"\nGET / HTTP/1.1\r\n\r\n", true),
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", true),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", true),
            (b"", false),
        ] {
            assert_eq!(has_bare_line_feed(raw), bare, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn a_length_is_one_number() {
        let told = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_LENGTH, value.parse().unwrap());
            }
            length(&headers)
        };
        assert_eq!(told(&[]), Some(0));
        assert_eq!(told(&["0"]), Some(0));
        assert_eq!(told(&["007"]), Some(7));
        assert_eq!(told(&["9223372036854775807"]), Some(9_223_372_036_854_775_807));
        for bad in [&["9223372036854775808"][..], &["5", "5"], &["5, 5"], &[""], &["+5"], &["-1"], &["0x5"], &["5 5"]] {
            assert_eq!(told(bad), None, "{bad:?}");
        }
    }
}
