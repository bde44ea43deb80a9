//! Headers that change because a gateway stands between: what concerns one hop only.
//! Pingora strips the hop-by-hop headers of a request by itself; those of an answer are stripped here, and its
//! framing is brought into the one form that the client can read.

use std::net::SocketAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType};

use crate::router::is_grpc;
use crate::telemetry::Traced;

/// Tells the upstream which span it is called from.
///
/// # Errors
/// Never for a request that was read; the types ask for it.
pub fn trace(request: &mut RequestHeader, traced: &Traced) -> pingora::Result<()> {
    if traced.is_root() {
        // W3C Trace Context, 4.3: state without a parent that can be read is dropped.
        request.remove_header("tracestate");
    }
    request.insert_header("traceparent", traced.traceparent())
}

/// Names the gateway's own address where an HTTP/1.0 client names nobody: the upstream is asked in HTTP/1.1.
///
/// RFC 9112, 3.2: "A client MUST send a Host header field in all HTTP/1.1 request messages"; 3.3: without a Host field the
/// authority is "the server's configured default name" or the address and port that the connection came to.
///
/// # Errors
/// Never; the types ask for it.
pub fn name_host(request: &mut RequestHeader, local: Option<SocketAddr>) -> pingora::Result<()> {
    if request.headers.contains_key(HOST) {
        return Ok(());
    }
    let host = local.map(|local| SocketAddr::new(local.ip().to_canonical(), local.port()).to_string());
    request.insert_header(HOST, host.unwrap_or_default())
}

/// Whether it is a gRPC call over HTTP/1, whose status would come in trailers that cannot be passed on. It is refused
/// rather than processed and answered without a status. gRPC-web has its trailers in the body.
pub fn is_grpc_without_trailers(request: &RequestHeader) -> bool {
    request.version != Version::HTTP_2 && is_grpc(&request.headers)
}

/// Makes of an upstream's answer one of this hop, to the client's `request`.
///
/// # Errors
/// The upstream switches protocols, or codes the body for transfer, in a way that nobody asked for.
pub fn answer(response: &mut ResponseHeader, request: &RequestHeader) -> pingora::Result<()> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS
        && !(response.version == Version::HTTP_11 && asks_for_websocket(request))
    {
        // RFC 9110, 15.2.2: "The server MUST generate an Upgrade header field [...] that indicates which protocol(s)
        // will be in effect"; 7.8: it "MUST NOT switch to a protocol that was not indicated by the client".
        return invalid("101 that was not asked for");
    }
    strip_hop_by_hop(response);
    if response.version == Version::HTTP_10 {
        // RFC 9110, 2.5: "Intermediaries that process HTTP messages (i.e., all intermediaries other than those
        // acting as tunnels) MUST send their own HTTP-version in forwarded messages".
        response.set_version(Version::HTTP_11);
    }
    settle_length(response)?;
    let mut codings = response.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        // `TE` is not passed on, so nobody has asked for gzip on the way; HTTP/2 could not even say it.
        return invalid("transfer coding other than chunked");
    }
    if request.version == Version::HTTP_10 {
        // RFC 9112, 6.1: "A server MUST NOT send a response containing Transfer-Encoding unless the corresponding
        // request indicates HTTP/1.1". Pingora frames by what stands here: now by the end of the connection.
        response.remove_header(&TRANSFER_ENCODING);
    }
    Ok(())
}

/// Whether a request asks for the one protocol that Pingora passes an upgrade to on.
fn asks_for_websocket(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_11
        && request.headers.get(UPGRADE).is_some_and(|token| token.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// RFC 9110, 8.6: of a length that is repeated "a recipient MAY [...] replace that invalid field value with a single
/// valid Content-Length field". Pingora has seen to it that all are the same.
fn settle_length(response: &mut ResponseHeader) -> pingora::Result<()> {
    let mut lengths = response.headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(()) };
    if lengths.next().is_none() && first.as_bytes().iter().all(u8::is_ascii_digit) {
        return Ok(());
    }
    let once = first.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    match HeaderValue::from_bytes(once) {
        Ok(once) => response.insert_header(CONTENT_LENGTH, once),
        Err(_) => invalid("length"),
    }
}

fn invalid(what: &'static str) -> pingora::Result<()> {
    Err(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up())
}

/// What a message says concerns its connection alone.
///
/// RFC 9110, 7.6.1: "Intermediaries MUST parse a received Connection header field before a message is forwarded and,
/// for each connection-option in this field, remove any header or trailer field(s) from the message with the same name".
pub fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).into_iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
}

/// Removes from an answer what concerned the upstream's connection.
fn strip_hop_by_hop(response: &mut ResponseHeader) {
    let kept = ["close", "upgrade", "content-length", "transfer-encoding", "content-type"];
    for name in nominated(&response.headers).filter(|name| !kept.contains(&name.as_str())).collect::<Vec<_>>() {
        response.remove_header(&name);
    }
    response.remove_header("keep-alive");
    response.remove_header("proxy-connection");
    response.remove_header(&TRAILER); // the trailers themselves do not pass over HTTP/1
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        response.remove_header(&CONNECTION);
        response.remove_header(&UPGRADE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.set_version(version);
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn response(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    fn fields(response: &ResponseHeader) -> Vec<String> {
        let field = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        response.headers.iter().map(field).collect()
    }

    /// RFC 9110, 7.6.1: what of an answer concerned the upstream's connection alone.
    #[test]
    fn an_answer_leaves_behind_what_concerned_one_hop() {
        type Fields = &'static [(&'static str, &'static str)];
        let cases: &[(Fields, &[&str])] = &[
            (&[("x", "1"), ("connection", "close")], &["x: 1"]),
            (&[("x", "1"), ("connection", "keep-alive, X"), ("keep-alive", "timeout=5")], &[]),
            (&[("x", "1"), ("y", "2"), ("z", "3"), ("connection", "x"), ("connection", " , Y ,")], &["z: 3"]),
            (&[("x", "1"), ("x", "2"), ("connection", "x")], &[]),
            (&[("x", "1"), ("connection", "\"x\", (x), x y")], &["x: 1"]),
            (&[("proxy-connection", "close"), ("x", "1")], &["x: 1"]),
            (&[("trailer", "x-t"), ("x", "1")], &["x: 1"]),
            (&[("upgrade", "h2c"), ("connection", "upgrade"), ("x", "1")], &["x: 1"]),
            // What frames the body, or says what it is, is not the upstream's to take away from the client.
            (&[("content-length", "2"), ("connection", "content-length")], &["content-length: 2"]),
            (&[("transfer-encoding", "chunked"), ("connection", "transfer-encoding")], &["transfer-encoding: chunked"]),
            (&[("content-type", "a/b"), ("connection", "content-type")], &["content-type: a/b"]),
            // End to end: these are the client's.
            (
                &[("set-cookie", "a"), ("set-cookie", "b"), ("via", "1.1 x"), ("server", "s"), ("date", "d")],
                &["set-cookie: a", "set-cookie: b", "via: 1.1 x", "server: s", "date: d"],
            ),
            (&[("www-authenticate", "Basic"), ("te", "x")], &["www-authenticate: Basic", "te: x"]),
        ];
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for (sent, expected) in cases {
                let mut answered = response(200, sent);
                answer(&mut answered, &request(version, &[])).unwrap();
                assert_eq!(fields(&answered), *expected, "{sent:?}");
            }
        }
    }

    #[test]
    fn only_a_websocket_that_was_asked_for_switches() {
        let asked = request(Version::HTTP_11, &[("upgrade", "WebSocket"), ("connection", "upgrade")]);
        let mut switching = response(101, &[("upgrade", "websocket"), ("connection", "upgrade"), ("keep-alive", "x")]);
        answer(&mut switching, &asked).unwrap();
        assert_eq!(fields(&switching), ["upgrade: websocket", "connection: upgrade"]);
        for request in [
            request(Version::HTTP_11, &[]),
            request(Version::HTTP_11, &[("upgrade", "h2c")]),
            request(Version::HTTP_11, &[("upgrade", "websocket, h2c")]),
            request(Version::HTTP_10, &[("upgrade", "websocket")]),
            request(Version::HTTP_2, &[]),
        ] {
            let refused = answer(&mut response(101, &[("upgrade", "websocket")]), &request).unwrap_err();
            assert_eq!(refused.esource(), &pingora::ErrorSource::Upstream);
        }
    }
}
