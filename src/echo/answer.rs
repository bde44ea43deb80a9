//! The JSON of an answer: what the server saw of a request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::HeaderMap;
use http::request::Parts;
use serde::Serialize;

use super::Echo;
use super::body::Received;

/// The answer to an ordinary request. Header names are lower case; a value that is not UTF-8 shows replacement
/// characters.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    method: &'a str,
    /// With the query, as received.
    path: Cow<'a, str>,
    host: Cow<'a, str>,
    proto: String,
    headers: Fields<'a>,
    namespace: &'a str,
    service: &'a str,
    pod: &'a str,
    /// The peer of the connection: the gateway, if there is one between.
    client: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a TlsFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<BodyFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trailers: Option<Fields<'a>>,
}

/// What is known of the connection's TLS.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TlsFacts {
    pub(super) version: String,
    pub(super) cipher_suite: String,
    pub(super) server_name: Option<String>,
    pub(super) negotiated_protocol: Option<String>,
    /// SHA-256 of each certificate the client presented, hex, leaf first.
    pub(super) peer_certificates: Vec<String>,
}

#[derive(Debug, Serialize)]
struct BodyFacts<'a> {
    length: u64,
    sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

type Fields<'a> = BTreeMap<&'a str, Vec<Cow<'a, str>>>;

impl<'a> Answer<'a> {
    pub(super) fn new(
        echo: &'a Echo,
        request: &'a Parts,
        received: &'a Received,
        client: SocketAddr,
        tls: Option<&'a TlsFacts>,
    ) -> Self {
        Answer {
            method: request.method.as_str(),
            path: match request.uri.path_and_query() {
                Some(path) => Cow::Borrowed(path.as_str()),
                None => Cow::Owned(request.uri.to_string()),
            },
            host: host(request),
            proto: format!("{:?}", request.version),
            headers: fields(&request.headers),
            namespace: &echo.namespace,
            service: &echo.service,
            pod: &echo.pod,
            client,
            tls,
            body: (received.length > 0).then_some(BodyFacts {
                length: received.length,
                sha256: &received.sha256,
                text: received.text.as_deref(),
            }),
            trailers: received.trailers.as_ref().map(fields),
        }
    }

    /// For people and machines alike: indented, with a newline at the end.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

/// HTTP/2 carries the host in `:authority`, HTTP/1.1 in `Host`.
fn host(request: &Parts) -> Cow<'_, str> {
    match (request.headers.get(http::header::HOST), request.uri.authority()) {
        (_, Some(authority)) => Cow::Borrowed(authority.as_str()),
        (Some(host), None) => String::from_utf8_lossy(host.as_bytes()),
        (None, None) => Cow::Borrowed(""),
    }
}

fn fields(headers: &HeaderMap) -> Fields<'_> {
    let values = |name| headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    headers.keys().map(|name| (name.as_str(), values(name))).collect()
}
