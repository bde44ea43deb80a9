//! Headers that change because a gateway stands between: who the client is, and what concerns one hop only.
//! Pingora strips the hop-by-hop headers of a request by itself; those of an answer are stripped here.

use std::fmt::Write;
use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_TYPE, FORWARDED, HOST, HeaderName, TE, TRAILER, UPGRADE};
use http::{HeaderValue, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};

/// What the upstream is told of the client's side.
#[derive(Debug, Clone, Copy)]
pub struct ClientSide {
    /// The client.
    pub address: IpAddr,
    /// The port clients were told.
    pub port: u16,
    /// Whether the client came over TLS.
    pub tls: bool,
}

/// Replaces whatever the client says of forwarding by what is known here: it is not trusted.
///
/// # Errors
/// Never for a request that was read; the types ask for it.
pub fn forward(request: &mut RequestHeader, client: ClientSide) -> pingora::Result<()> {
    let claimed: Vec<HeaderName> =
        request.headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
    for name in &claimed {
        request.remove_header(name);
    }
    request.remove_header(&FORWARDED);

    let mut address = String::with_capacity(40);
    let _ = write!(address, "{}", client.address);
    let address = HeaderValue::try_from(address).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    request.insert_header("X-Real-IP", address.clone())?;
    request.insert_header("X-Forwarded-For", address)?;
    if let Some(host) = request.headers.get(HOST).cloned() {
        request.insert_header("X-Forwarded-Host", host)?;
    }
    request.insert_header("X-Forwarded-Port", HeaderValue::from(client.port))?;
    request.insert_header("X-Forwarded-Proto", HeaderValue::from_static(if client.tls { "https" } else { "http" }))
}

/// gRPC servers insist on `te: trailers`, which is lost where a request comes over HTTP/1.
///
/// # Errors
/// Never for a request that was read.
pub fn keep_trailers(request: &mut RequestHeader) -> pingora::Result<()> {
    let grpc = request.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc { request.insert_header(TE, HeaderValue::from_static("trailers")) } else { Ok(()) }
}

/// Removes from an answer what concerned the upstream's connection.
pub fn strip_hop_by_hop(response: &mut ResponseHeader) {
    // RFC 9110, 7.6.1: "Intermediaries MUST parse a received Connection header field before a message is
    // forwarded and, for each connection-option in this field, remove any header or trailer field(s)".
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"upgrade"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !matches!(name.as_str(), "content-length" | "transfer-encoding" | "content-type"))
        .collect();
    for name in &nominated {
        response.remove_header(name);
    }
    response.remove_header("keep-alive");
    response.remove_header("proxy-connection");
    response.remove_header(&TRAILER); // the trailers themselves do not pass over HTTP/1
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        response.remove_header(&CONNECTION);
        response.remove_header(&UPGRADE);
    }
}
