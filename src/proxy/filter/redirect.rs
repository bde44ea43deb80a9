//! Redirects. In comes what was asked for and what the rule says; out goes an answer with a `Location`. It is
//! always a whole URL: a client behind another name for the gateway is sent where it has been.

use std::fmt::Write;

use http::HeaderValue;
use http::header::LOCATION;

use super::rewrite;
use crate::proxy::respond::Answer;
use crate::snapshot::Redirect;
use crate::snapshot::filter::{PathChange, Scheme};
use crate::telemetry::Reason;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Whether over TLS.
    pub tls: bool,
    /// The host, lower case, without port; empty where an HTTP/1.0 client named none.
    pub host: &'a str,
    /// The listener's port.
    pub port: u16,
    /// By how much ports below 1024 are bound higher than listeners say.
    pub port_offset: u16,
    /// The path as it was matched.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// Length of the prefix of the match that won, where the redirect needs it.
    pub prefix: Option<usize>,
}

/// Whether the prefix of the match that won must be known.
pub fn needs_prefix(redirect: &Redirect) -> bool {
    matches!(redirect.path, Some(PathChange::Prefix(_)))
}

/// The answer. Without any host to name it is a 400, without the prefix a 500.
pub fn answer(redirect: &Redirect, asked: Asked<'_>) -> Answer {
    if redirect.host.is_none() && asked.host.is_empty() {
        return Answer::new(400, Reason::RequestInvalid);
    }
    match location(redirect, asked).and_then(|location| HeaderValue::try_from(location).ok()) {
        Some(location) => Answer::new(redirect.status, Reason::Redirect).with(LOCATION, location),
        None => Answer::new(500, Reason::FilterFailed),
    }
}

fn location(redirect: &Redirect, asked: Asked<'_>) -> Option<String> {
    let scheme = redirect.scheme.unwrap_or(if asked.tls { Scheme::Https } else { Scheme::Http });
    let path = match &redirect.path {
        Some(change) => rewrite::changed(change, asked.path, asked.prefix)?,
        None => asked.path.into(),
    };
    let host = redirect.host.as_deref().unwrap_or(asked.host);

    let mut location = String::with_capacity(16 + host.len() + path.len() + asked.query.map_or(0, str::len));
    let _ = write!(location, "{}://{host}", scheme.as_str());
    let mut port = port(redirect, asked.port).unwrap_or(scheme.default_port());
    if port < 1024 && host == asked.host {
        port = port.saturating_add(asked.port_offset); // this host is here, where the client cannot reach that port
    }
    if port != scheme.default_port() {
        let _ = write!(location, ":{port}");
    }
    if path.starts_with('/') {
        push(&mut location, &path); // the `*` of OPTIONS is no path
    }
    if let Some(query) = asked.query {
        location.push('?');
        push(&mut location, query);
    }
    Some(location)
}

/// "If redirect port is not specified, the redirect port MUST be derived using the following rules: if redirect
/// scheme is not-empty, the redirect port MUST be the well-known port associated with the redirect scheme [...] if
/// redirect scheme is empty, the redirect port MUST be the Gateway Listener port" (`HTTPRequestRedirectFilter`).
fn port(redirect: &Redirect, listener: u16) -> Option<u16> {
    match (redirect.port, redirect.scheme) {
        (Some(port), _) => Some(port.get()),
        (None, Some(_)) => None,
        (None, None) => Some(listener),
    }
}

/// Bytes above 127, which some clients send as they are, cannot stand in a URL (RFC 3986, 2.1).
fn push(location: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_ascii() {
            location.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(location, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    const PLAIN: Redirect = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };

    fn asked(port: u16) -> Asked<'static> {
        Asked { tls: port == 443, host: "a.org", port, port_offset: 0, path: "/x", query: None, prefix: None }
    }

    fn check(redirect: &Redirect, asked: Asked<'_>, expected: &str) {
        assert_eq!(location(redirect, asked).as_deref(), Some(expected), "{redirect:?} {asked:?}");
    }

    #[test]
    fn ports_and_schemes_are_as_in_the_table() {
        use Scheme::{Http, Https};
        for (listener, scheme, port, expected) in [
            (80, None, None, "http://a.org/x"),
            (80, None, Some(80), "http://a.org/x"),
            (80, None, Some(8080), "http://a.org:8080/x"),
            (80, Some(Https), None, "https://a.org/x"),
            (80, Some(Https), Some(443), "https://a.org/x"),
            (80, Some(Https), Some(8443), "https://a.org:8443/x"),
            (8080, None, None, "http://a.org:8080/x"),
            (8080, None, Some(80), "http://a.org/x"),
            (8080, Some(Https), None, "https://a.org/x"),
            (8080, Some(Http), None, "http://a.org/x"),
            (443, Some(Http), None, "http://a.org/x"),
            (443, None, Some(443), "https://a.org/x"),
            (443, None, Some(8443), "https://a.org:8443/x"),
            (443, None, None, "https://a.org/x"),
            (443, Some(Http), Some(443), "http://a.org:443/x"),
        ] {
            let redirect = Redirect { scheme, port: port.and_then(NonZeroU16::new), ..PLAIN };
            check(&redirect, asked(listener), expected);
        }
    }

    #[test]
    fn a_port_that_is_bound_higher_is_named_as_the_client_can_reach_it() {
        use Scheme::Https;
        let at = |listener| Asked { port_offset: 8000, ..asked(listener) };
        check(&PLAIN, at(80), "http://a.org:8080/x");
        check(&PLAIN, at(9090), "http://a.org:9090/x");
        check(&Redirect { scheme: Some(Https), ..PLAIN }, at(80), "https://a.org:8443/x");
        check(&Redirect { port: NonZeroU16::new(81), ..PLAIN }, at(80), "http://a.org:8081/x");
        let elsewhere = Redirect { scheme: Some(Https), host: Some("b.org".into()), ..PLAIN };
        check(&elsewhere, at(80), "https://b.org/x");
    }

    #[test]
    fn path_and_query_are_kept_unless_replaced() {
        let full = Redirect { path: Some(PathChange::Full("/new".into())), ..PLAIN };
        let prefix = Redirect { path: Some(PathChange::Prefix("/r".into())), ..PLAIN };
        let asked = Asked { path: "/o/lemon", query: Some("a=b&c"), prefix: Some(2), ..asked(80) };
        check(&PLAIN, asked, "http://a.org/o/lemon?a=b&c");
        check(&full, asked, "http://a.org/new?a=b&c");
        check(&prefix, asked, "http://a.org/r/lemon?a=b&c");
        assert_eq!(location(&prefix, Asked { prefix: None, ..asked }), None);
    }

    #[test]
    fn an_ipv6_literal_stays_in_brackets() {
        check(&PLAIN, Asked { host: "[::1]", ..asked(8080) }, "http://[::1]:8080/x");
    }

    #[test]
    fn what_no_url_holds_is_encoded() {
        check(&PLAIN, Asked { path: "/ä", query: Some("€=%20"), ..asked(80) }, "http://a.org/%C3%A4?%E2%82%AC=%20");
    }

    #[test]
    fn options_of_everything_is_redirected_without_a_path() {
        check(&PLAIN, Asked { path: "*", ..asked(80) }, "http://a.org");
    }

    #[test]
    fn without_any_host_there_is_nowhere_to_go() {
        let asked = Asked { host: "", ..asked(80) };
        assert_eq!(answer(&PLAIN, asked).status, 400);
        assert_eq!(answer(&Redirect { host: Some("b.org".into()), ..PLAIN }, asked).status, 302);
    }
}
