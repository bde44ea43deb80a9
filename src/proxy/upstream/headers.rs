//! Headers that change because a gateway stands between: what concerns one hop only. From a request to an HTTP/1
//! upstream it is stripped here, from one to an HTTP/2 upstream by Pingora; from an answer here, and its framing is
//! brought into the one form that the client can read.

use std::mem;
use std::net::SocketAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType};

use crate::router::is_grpc;
use crate::telemetry::Traced;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Gives the fields of a request to `change`. Pingora would keep, beside them, a second map of their names as they were
/// written, and search, grow, copy and drop both with every request: 8,000 instructions. With the map goes
/// the spelling: HTTP/1 upstreams get names in lower case, as HTTP/2 has them (decision 30).
///
/// # Errors
/// Never for a request that was read; the types ask for it.
pub fn edit<T>(request: &mut RequestHeader, change: impl FnOnce(&mut HeaderMap) -> T) -> pingora::Result<T> {
    let path = request.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    let of_uri = path.or_else(|| request.uri.authority().map(http::uri::Authority::as_str)).map(str::as_bytes);
    // a target in another form, which only the header knows
    let target = (of_uri != Some(request.raw_path())).then(|| request.raw_path().to_vec());
    let blank = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(mem::replace(request, blank));
    let changed = change(&mut parts.headers);
    *request = RequestHeader::from(parts);
    target.map_or(Ok(()), |target| request.set_raw_path(&target)).map(|()| changed)
}

/// Tells the upstream which span it is called from.
pub fn trace(headers: &mut HeaderMap, traced: &Traced) {
    if traced.is_root() {
        // W3C Trace Context, 4.3: state without a parent that can be read is dropped.
        headers.remove("tracestate");
    }
    if let Ok(parent) = HeaderValue::try_from(traced.traceparent()) {
        headers.insert(&TRACEPARENT, parent);
    }
}

/// Names the gateway's own address where an HTTP/1.0 client names nobody: the upstream is asked in HTTP/1.1.
///
/// RFC 9112, 3.2: "A client MUST send a Host header field in all HTTP/1.1 request messages"; 3.3: without a Host field the
/// authority is "the server's configured default name" or the address and port that the connection came to.
pub fn name_host(headers: &mut HeaderMap, local: Option<SocketAddr>) {
    if headers.contains_key(HOST) {
        return;
    }
    let host = local.map(|local| SocketAddr::new(local.ip().to_canonical(), local.port()).to_string());
    let host = host.and_then(|host| HeaderValue::try_from(host).ok());
    headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("")));
}

/// Options of a `Connection` header that are looked at.
const NOMINATIONS: usize = 10;

/// Makes of a client's request one of the next hop, over HTTP/1: without what concerned the client's connection alone,
/// and with the one upgrade that is passed on. `received` is the version that the client spoke. Pingora's own policy
/// is the same, and is switched off for such upstreams: it searches for each name, and this looks at each name once.
///
/// # Errors
/// `Connection` names what it must not, or is not what it should be.
pub fn strip_request(headers: &mut HeaderMap, received: Version) -> pingora::Result<()> {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_of_one_hop(name)).cloned().collect();
    if found.is_empty() {
        return Ok(());
    }
    let switches = received == Version::HTTP_11 && asks_for_websocket(headers);
    for name in options(headers)? {
        headers.remove(&name);
    }
    for name in &found {
        headers.remove(name);
    }
    if switches {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(())
}

/// Whether a field of a request is none of the next hop's business, whatever `Connection` says.
fn is_of_one_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The fields that a request's `Connection` names. What is no list of tokens, names too many or what the gateway is
/// answerable for is refused: who sends that wants to have something removed behind the gateway's back.
fn options(headers: &HeaderMap) -> pingora::Result<Vec<HeaderName>> {
    let mut named = Vec::new();
    let tokens = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    for (before, token) in tokens.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()).enumerate() {
        if before + 1 >= NOMINATIONS || !token.iter().all(|byte| is_token(*byte)) {
            return refused();
        }
        if says_nothing(token) {
            continue;
        }
        let Ok(name) = HeaderName::from_bytes(token) else { return refused() };
        if matches!(name.as_str(), "host" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto") {
            return refused();
        }
        named.push(name);
    }
    Ok(named)
}

fn refused<T>() -> pingora::Result<T> {
    Err(Error::explain(ErrorType::InvalidHTTPHeader, "Connection header").into_down())
}

/// RFC 9110, 5.6.2: `tchar`. `HeaderName` takes more.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether it is an option for which there is no field to remove, or one that is removed anyway.
fn says_nothing(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
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
        && !(response.version == Version::HTTP_11
            && request.version == Version::HTTP_11
            && asks_for_websocket(&request.headers))
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
fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|token| token.as_bytes().eq_ignore_ascii_case(b"websocket"))
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

/// What a message says concerns its connection alone, beside `Keep-Alive`, which does so in any case.
///
/// RFC 9110, 7.6.1: "Intermediaries MUST parse a received Connection header field before a message is forwarded and,
/// for each connection-option in this field, remove any header or trailer field(s) from the message with the same name".
pub fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).into_iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let tokens = tokens.map(<[u8]>::trim_ascii).filter(|token| !says_nothing(token));
    tokens.filter_map(|token| HeaderName::from_bytes(token).ok())
}

/// Removes from an answer what concerned the upstream's connection. Each name is looked at once: few are there, and a
/// search for each that might be costs more than all else that is done to an answer.
fn strip_hop_by_hop(response: &mut ResponseHeader) {
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    let is_gone = |name: &HeaderName| match name.as_str() {
        "connection" | "upgrade" => !switches,
        // the trailers that "trailer" tells of do not pass over HTTP/1
        "keep-alive" | "proxy-connection" | "trailer" => true,
        _ => false,
    };
    let mut gone: Vec<HeaderName> = response.headers.keys().filter(|name| is_gone(name)).cloned().collect();
    if switches || gone.contains(&CONNECTION) {
        let kept = ["close", "upgrade", "content-length", "transfer-encoding", "content-type"];
        gone.extend(nominated(&response.headers).filter(|name| !kept.contains(&name.as_str())));
    }
    for name in &gone {
        response.remove_header(name);
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

    fn stripped(version: Version, fields: &[(&'static str, &str)]) -> Option<Vec<String>> {
        let mut request = request(version, fields);
        edit(&mut request, |headers| strip_request(headers, version)).unwrap().ok()?;
        let field = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        Some(request.headers.iter().map(field).collect())
    }

    /// RFC 9110, 7.6.1: what of a request concerned the client's connection alone.
    #[test]
    fn a_request_leaves_behind_what_concerned_one_hop() {
        type Fields = &'static [(&'static str, &'static str)];
        let cases: &[(Fields, &[&str])] = &[
            (&[("x", "1")], &["x: 1"]),
            (&[("x", "1"), ("connection", "keep-alive"), ("keep-alive", "timeout=5")], &["x: 1"]),
            (&[("x", "1"), ("y", "2"), ("z", "3"), ("connection", "x"), ("connection", " , Y ,")], &["z: 3"]),
            (&[("x", "1"), ("x", "2"), ("connection", "close, x")], &[]),
            (&[("te", "trailers"), ("trailer", "x-t"), ("transfer-encoding", "chunked"), ("x", "1")], &["x: 1"]),
            (&[("proxy-authorization", "Basic"), ("proxy-authenticate", "Basic"), ("x", "1")], &["x: 1"]),
            (&[("proxy-connection", "close"), ("http2-settings", "x"), ("x", "1")], &["x: 1"]),
            (&[("upgrade", "h2c"), ("connection", "upgrade, http2-settings"), ("http2-settings", "x")], &[]),
            (&[("upgrade", "websocket, h2c"), ("connection", "upgrade")], &[]),
            (
                &[("authorization", "Basic"), ("cookie", "a"), ("te-x", "1")],
                &["authorization: Basic", "cookie: a", "te-x: 1"],
            ),
        ];
        for version in [Version::HTTP_11, Version::HTTP_10] {
            for (sent, expected) in cases {
                assert_eq!(stripped(version, sent).unwrap(), *expected, "{sent:?}");
            }
        }
    }

    #[test]
    fn an_edit_changes_fields_and_nothing_else() {
        for target in [&b"/a?b"[..], b"*", b"http://b.com/a", b"/\xff", b"?q", b"x:y"] {
            let mut request = RequestHeader::build("OPTIONS", target, None).unwrap();
            request.set_version(Version::HTTP_10);
            request.append_header("X-One", "1").unwrap();
            let (uri, utf8) = (request.uri.clone(), request.raw_path_is_utf8());
            let before = edit(&mut request, |headers| headers.insert("x-two", HeaderValue::from_static("2"))).unwrap();
            assert_eq!(before, None);
            assert_eq!(request.raw_path(), target);
            assert_eq!((&request.uri, request.raw_path_is_utf8()), (&uri, utf8));
            assert_eq!((request.method.as_str(), request.version), ("OPTIONS", Version::HTTP_10));
            let mut wire = Vec::new();
            request.header_to_h1_wire(&mut wire);
            assert_eq!(wire, b"x-one: 1\r\nx-two: 2\r\n");
        }
        // CONNECT over HTTP/2 has an authority and no path
        let parts = http::Request::connect("a.com:443").body(()).unwrap().into_parts().0;
        let mut request = RequestHeader::from(parts);
        edit(&mut request, |_| ()).unwrap();
        assert_eq!((request.uri.to_string(), request.raw_path()), ("a.com:443".to_owned(), &b"a.com:443"[..]));
    }

    #[test]
    fn a_websocket_is_asked_for_in_the_one_form_that_is_passed_on() {
        let asked = [("Upgrade", "WebSocket"), ("Connection", "keep-alive, Upgrade, X"), ("x", "1"), ("y", "2")];
        let expected = ["y: 2", "connection: Upgrade", "upgrade: websocket"];
        assert_eq!(stripped(Version::HTTP_11, &asked).unwrap(), expected);
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert_eq!(stripped(version, &asked).unwrap(), ["y: 2"]);
        }
    }

    #[test]
    fn a_connection_header_that_means_harm_is_refused() {
        let many = ["x"; NOMINATIONS].join(",");
        let long = "x".repeat(70_000);
        for value in [
            "host",
            "Host",
            "x-forwarded-for",
            "X-Forwarded-Proto",
            "x, x-forwarded-host",
            "a b",
            "\"x\"",
            ":path",
            &many,
            &long,
        ] {
            assert_eq!(stripped(Version::HTTP_11, &[("connection", value)]), None, "{value}");
        }
        let almost = ["x"; NOMINATIONS - 1].join(",");
        assert_eq!(stripped(Version::HTTP_11, &[("connection", &almost)]).unwrap(), [""; 0]);
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
