//! The header of a copy: without what concerns one hop, and in the form that the mirror's own protocol asks for.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri, Version};
use pingora::http::RequestHeader;

use super::Content;
use crate::proxy::upstream::headers::nominated;
use crate::snapshot::UpstreamProtocol;

/// A copy of a request's header, without what concerned the client's connection alone.
pub fn copy(request: &RequestHeader) -> Box<RequestHeader> {
    let mut copy = Box::new(request.clone());
    strip_hop_by_hop(&mut copy);
    copy
}

/// Fits a copy to a protocol; `None` where that has no words for it (HTTP/2 without a host).
pub fn fit(mut copy: Box<RequestHeader>, protocol: UpstreamProtocol, content: Content) -> Option<Box<RequestHeader>> {
    match protocol {
        UpstreamProtocol::Http1 => {
            copy.set_version(Version::HTTP_11);
            if copy.uri.authority().is_some() {
                let target = copy.raw_path().to_vec();
                copy.set_raw_path(&target).ok()?; // HTTP/2's target names the host, too
            }
            if content == Content::Body && !copy.headers.contains_key(CONTENT_LENGTH) {
                copy.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked")).ok()?;
            }
        }
        UpstreamProtocol::H2c => {
            copy.set_version(Version::HTTP_2);
            // RFC 9113, 8.3.1: "Clients that generate HTTP/2 requests directly MUST use the ":authority"
            // pseudo-header field to convey authority information".
            let host = copy.remove_header(&HOST)?;
            let target = Uri::builder()
                .scheme(Scheme::HTTP)
                .authority(Authority::try_from(host.as_bytes()).ok()?)
                .path_and_query(copy.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
            copy.set_uri(target.build().ok()?);
            // gRPC servers insist on it
            if copy.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
                copy.insert_header(TE, HeaderValue::from_static("trailers")).ok()?;
            }
        }
    }
    Some(copy)
}

/// Pingora has done so on most ways that a request can go; a copy does not depend on it.
fn strip_hop_by_hop(copy: &mut RequestHeader) {
    for name in nominated(&copy.headers).filter(|name| *name != HOST && *name != CONTENT_LENGTH).collect::<Vec<_>>() {
        copy.remove_header(&name);
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION] {
        copy.remove_header(&name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        copy.remove_header(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("POST", b"/a%20b?c=d&c=e", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn copy(request: &RequestHeader, protocol: UpstreamProtocol, content: Content) -> Option<Box<RequestHeader>> {
        fit(super::copy(request), protocol, content)
    }

    fn fields(header: &RequestHeader) -> Vec<(String, String)> {
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut fields: Vec<_> = header.headers.iter().map(|(name, v)| (name.to_string(), text(v))).collect();
        fields.sort();
        fields
    }

    fn is(header: &RequestHeader, expected: &[(&str, &str)]) {
        let mut expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        expected.sort();
        assert_eq!(fields(header), expected);
    }

    #[test]
    fn headers_and_target_stay() {
        let request = forwarded(&[("Host", "a.com"), ("X-A", "1"), ("x-a", "2"), ("Content-Length", "3")]);
        let copy = copy(&request, UpstreamProtocol::Http1, Content::Body).unwrap();
        assert_eq!((copy.method.as_str(), copy.raw_path()), ("POST", &b"/a%20b?c=d&c=e"[..]));
        is(&copy, &[("host", "a.com"), ("x-a", "1"), ("x-a", "2"), ("content-length", "3")]);
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked_and_none_is_not() {
        let request = forwarded(&[("host", "a.com")]);
        let with = copy(&request, UpstreamProtocol::Http1, Content::Body).unwrap();
        is(&with, &[("host", "a.com"), ("transfer-encoding", "chunked")]);
        is(&copy(&request, UpstreamProtocol::Http1, Content::None).unwrap(), &[("host", "a.com")]);
    }

    #[test]
    fn what_concerns_one_hop_goes_with_all_that_is_named_so() {
        let request = forwarded(&[
            ("host", "a.com"),
            ("connection", "close, X-Hop , host"),
            ("x-hop", "1"),
            ("keep-alive", "3"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "secret"),
            ("x-stays", "1"),
        ]);
        let h1 = copy(&request, UpstreamProtocol::Http1, Content::None).unwrap();
        is(&h1, &[("host", "a.com"), ("x-stays", "1")]);
        is(&copy(&request, UpstreamProtocol::H2c, Content::Body).unwrap(), &[("x-stays", "1")]);
    }

    #[test]
    fn grpc_asks_for_trailers_over_http2_alone() {
        let grpc = ("content-type", "application/grpc+proto");
        let request = forwarded(&[("host", "a.com"), ("te", "trailers"), grpc]);
        is(&copy(&request, UpstreamProtocol::H2c, Content::Body).unwrap(), &[("te", "trailers"), grpc]);
        is(&copy(&request, UpstreamProtocol::Http1, Content::None).unwrap(), &[("host", "a.com"), grpc]);
    }

    #[test]
    fn http2_names_the_host_in_its_target_alone() {
        let request = forwarded(&[("host", "new.com:8080"), ("x", "1")]);
        let h2 = copy(&request, UpstreamProtocol::H2c, Content::Body).unwrap();
        assert_eq!(h2.uri, "http://new.com:8080/a%20b?c=d&c=e");
        is(&h2, &[("x", "1")]);
        assert!(copy(&forwarded(&[]), UpstreamProtocol::H2c, Content::None).is_none(), "no host");

        let mut received = forwarded(&[("host", "new.com")]);
        received.set_uri(Uri::from_static("https://old.com/x?y"));
        received.set_version(Version::HTTP_2);
        let h1 = copy(&received, UpstreamProtocol::Http1, Content::None).unwrap();
        assert_eq!((h1.raw_path(), h1.uri.authority(), h1.version), (&b"/x?y"[..], None, Version::HTTP_11));
        is(&h1, &[("host", "new.com")]);
    }
}
