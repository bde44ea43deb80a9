//! CORS (Fetch standard, "CORS protocol"). In comes what a route allows and a request; out goes the answer to a
//! preflight, or an answer that says who may read it. The route's word is final: what an upstream says on its own
//! is dropped.
//!
//! A refused preflight is answered with 403 and forwarded to nobody. Any other request is forwarded, whatever its
//! origin: it is the client that keeps the answer from a page, because nothing in it allows the page to read it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::proxy::respond::Answer;
use crate::snapshot::filter::{Cors, Names, Origin, Origins, is_framing};
use crate::telemetry::Reason;

/// What a request says of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict<'a> {
    /// Nothing: no page asks.
    Absent,
    /// One that may read.
    Allowed(&'a HeaderValue),
    /// One that may not, several, or what is none.
    Refused,
}

/// An origin as a client sends it.
#[derive(Debug, PartialEq, Eq)]
struct Sent<'a> {
    scheme: &'a str,
    host: Cow<'a, str>,
    port: Option<u16>,
}

/// The answer to a preflight; `None` if the request is none.
///
/// A method or header that is not allowed is no reason to refuse: the client compares them with the lists.
pub fn preflight(cors: &Cors, request: &RequestHeader) -> Option<Answer> {
    // Fetch, "CORS-preflight fetch": a preflight is an OPTIONS with `Origin` and `Access-Control-Request-Method`.
    let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| request.method == Method::OPTIONS)?;
    let origin = match verdict(cors, &request.headers) {
        Verdict::Absent => return None,
        Verdict::Allowed(origin) if Method::from_bytes(method.as_bytes()).is_ok() => origin,
        Verdict::Allowed(_) | Verdict::Refused => {
            let refused = Answer::new(403, Reason::CorsRefused);
            return Some(if depends_on_origin(cors) { refused.with(VARY, text("Origin")) } else { refused });
        }
    };
    let mut answer = Answer::new(204, Reason::CorsPreflight).with(ACCESS_CONTROL_ALLOW_ORIGIN, reader(cors, origin));
    let mut add = |name: HeaderName, value: Option<HeaderValue>| answer.headers.extend(value.map(|v| (name, v)));
    add(ACCESS_CONTROL_ALLOW_CREDENTIALS, cors.credentials.then(|| text("true")));
    add(ACCESS_CONTROL_ALLOW_METHODS, listed(cors, &cors.methods, || Some(method.clone())));
    add(ACCESS_CONTROL_ALLOW_HEADERS, listed(cors, &cors.headers, || asked_headers(&request.headers)));
    add(ACCESS_CONTROL_EXPOSE_HEADERS, listed(cors, &cors.expose, || None));
    add(ACCESS_CONTROL_MAX_AGE, Some(HeaderValue::from(cors.max_age)));
    let echoes = |names: &Names| cors.credentials && *names == Names::Any;
    add(VARY, depends_on_origin(cors).then(|| text("Origin")));
    add(VARY, echoes(&cors.methods).then(|| text("Access-Control-Request-Method")));
    add(VARY, echoes(&cors.headers).then(|| text("Access-Control-Request-Headers")));
    Some(answer)
}

/// Lets the origin of the request read the answer, if it may; in any case nobody else.
///
/// # Errors
/// More headers than Pingora can take.
pub fn allow(cors: &Cors, request: &HeaderMap, response: &mut ResponseHeader) -> pingora::Result<()> {
    for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
        response.remove_header(&name);
    }
    let reader = if depends_on_origin(cors) {
        vary_by_origin(response)?;
        match verdict(cors, request) {
            Verdict::Allowed(origin) => origin.clone(),
            Verdict::Absent | Verdict::Refused => return Ok(()),
        }
    } else {
        // Fetch, "CORS protocol and HTTP caches": with `*` "configure the server to always send `Access-Control-Allow-Origin` in responses for
        // the resource — even for non-CORS requests — and do not use `Vary`".
        text("*")
    };
    response.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, reader)?;
    if cors.credentials {
        response.insert_header(ACCESS_CONTROL_ALLOW_CREDENTIALS, text("true"))?;
    }
    match listed(cors, &cors.expose, || own_names(response)) {
        Some(names) => response.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, names),
        None => Ok(()),
    }
}

/// Whether answers differ by origin: all but the literal `*`, which "with credentials" must never be sent.
fn depends_on_origin(cors: &Cors) -> bool {
    cors.credentials || cors.origins != Origins::Any
}

fn reader(cors: &Cors, origin: &HeaderValue) -> HeaderValue {
    if depends_on_origin(cors) { origin.clone() } else { text("*") }
}

/// The value of a list; `None` if it names nothing. With credentials `*` is to a client just a name (Fetch, "CORS
/// protocol and credentials"), so `spelt_out` says what it would mean.
fn listed(cors: &Cors, names: &Names, spelt_out: impl FnOnce() -> Option<HeaderValue>) -> Option<HeaderValue> {
    match names {
        Names::Any if cors.credentials => spelt_out(),
        Names::Any => Some(text("*")),
        Names::Listed(names) if names.is_empty() => None,
        Names::Listed(names) => HeaderValue::try_from(names.join(", ")).ok(),
    }
}

/// The headers that a preflight asks for, as it names them.
fn asked_headers(request: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().peekable();
    let first = lines.next()?;
    if lines.peek().is_none() {
        return Some(first.clone());
    }
    let mut all = first.as_bytes().to_vec();
    for line in lines {
        all.extend_from_slice(b",");
        all.extend_from_slice(line.as_bytes());
    }
    HeaderValue::try_from(all).ok()
}

/// The names of an answer's headers that a page could be shown.
fn own_names(response: &ResponseHeader) -> Option<HeaderValue> {
    let shown = |name: &&HeaderName| {
        !is_framing(name.as_str()) && **name != SET_COOKIE && !name.as_str().starts_with("access-control-")
    };
    let names: Vec<&str> = response.headers.keys().filter(shown).map(HeaderName::as_str).collect();
    if names.is_empty() { None } else { HeaderValue::try_from(names.join(", ")).ok() }
}

/// Appends to `Vary`, which may have entries of the upstream's.
fn vary_by_origin(response: &mut ResponseHeader) -> pingora::Result<()> {
    let varies = response.headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut names = varies.map(<[u8]>::trim_ascii);
    if names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin")) {
        return Ok(());
    }
    response.append_header(VARY, text("Origin")).map(|_| ())
}

fn verdict<'a>(cors: &Cors, request: &'a HeaderMap) -> Verdict<'a> {
    let mut origins = request.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return Verdict::Absent };
    let Ok(spelt) = origin.to_str() else { return Verdict::Refused };
    let sent = Sent::parse(spelt);
    let allowed = match (&cors.origins, &sent) {
        // `null` is the origin of whoever hides his: a sandboxed frame, a local file.
        (Origins::Any, None) => spelt == "null",
        (Origins::Any, Some(_)) => true,
        (Origins::Listed(allowed), Some(sent)) => allowed.iter().any(|allowed| sent.is_under(allowed)),
        (Origins::Listed(_), None) => false,
    };
    if allowed && origins.next().is_none() { Verdict::Allowed(origin) } else { Verdict::Refused }
}

impl<'a> Sent<'a> {
    /// Fetch, "`Origin` header": "serialized-origin = scheme "://" host [ ":" port ]".
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(parse_port(port)?)),
            _ => (authority, None),
        };
        let default = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Some(80),
            _ if scheme.eq_ignore_ascii_case("https") => Some(443),
            _ => None,
        };
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        (is_scheme && is_host(&host)).then_some(Sent { scheme, host, port: port.or(default) })
    }

    fn is_under(&self, allowed: &Origin) -> bool {
        self.port == allowed.port
            && self.scheme.eq_ignore_ascii_case(&allowed.scheme)
            && allowed.host.as_ref().is_none_or(|host| host.matches(&self.host))
    }
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')),
    }
}

fn text(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Hostname;

    fn origin(scheme: &str, host: Option<&str>, port: u16) -> Origin {
        Origin { scheme: scheme.into(), host: host.map(|host| Hostname::parse(host).unwrap()), port: Some(port) }
    }

    fn cors(origins: Origins) -> Cors {
        let none = || Names::Listed(Box::default());
        Cors { origins, credentials: false, methods: none(), headers: none(), expose: none(), max_age: 5 }
    }

    fn is_allowed(origins: &Origins, sent: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for sent in sent {
            headers.append(ORIGIN, sent.parse().unwrap());
        }
        matches!(verdict(&cors(origins.clone()), &headers), Verdict::Allowed(_))
    }

    #[test]
    fn origins_are_equal_in_scheme_host_and_port() {
        let origins = Origins::Listed(
            [
                origin("https", Some("a.org"), 443),
                origin("http", Some("b.org"), 8080),
                origin("http", Some("*.c.org"), 80),
            ]
            .into(),
        );
        for good in [
            "https://a.org",
            "https://a.org:443",
            "HTTPS://A.org",
            "http://b.org:8080",
            "http://x.c.org",
            "http://x.y.c.org:80",
        ] {
            assert!(is_allowed(&origins, &[good]), "{good}");
        }
        for bad in [
            "http://a.org",
            "https://a.org:8443",
            "https://www.a.org",
            "https://a.org.",
            "https://a.org.evil.com",
            "https://evila.org",
            "http://b.org",
            "https://b.org:8080",
            "http://c.org",
            "http://xc.org",
            "https://x.c.org",
            "http://x.c.org:81",
            "null",
            "",
            "*",
            "https://a.org/",
            "https://a.org/x",
            "https://u@a.org",
            "https://a.org:",
            "https://a.org:+443",
            "https://a.org https://a.org",
            "https://a.org,https://b.org",
            "a.org",
            "//a.org",
            "://a.org",
        ] {
            assert!(!is_allowed(&origins, &[bad]), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_for_every_host_keeps_scheme_and_port() {
        let origins = Origins::Listed([origin("http", None, 80)].into());
        assert!(is_allowed(&origins, &["http://anything.at.all"]));
        assert!(is_allowed(&origins, &["http://[::1]"]));
        assert!(!is_allowed(&origins, &["https://anything.at.all"]));
        assert!(!is_allowed(&origins, &["http://anything.at.all:81"]));
    }

    #[test]
    fn everyone_is_everyone_who_says_what_an_origin_is() {
        for good in ["http://a.org:1234", "null", "http://[::1]:80", "chrome-extension://abc"] {
            assert!(is_allowed(&Origins::Any, &[good]), "{good}");
        }
        for bad in ["", "*", "NULL", "http://", "http:// a", "http://[::1", "http://a b"] {
            assert!(!is_allowed(&Origins::Any, &[bad]), "{bad}");
        }
    }

    #[test]
    fn an_origin_that_is_said_twice_is_none() {
        assert!(!is_allowed(&Origins::Any, &["http://a.org", "http://a.org"]));
    }

    #[test]
    fn vary_is_appended_to_once() {
        let mut cors = cors(Origins::Listed(Box::default()));
        for (before, after) in [
            (&[][..], &["Origin"][..]),
            (&["Accept"], &["Accept", "Origin"]),
            (&["accept, ORIGIN"], &["accept, ORIGIN"]),
            (&["*"], &["*"]),
            (&["Accept", "X-Origin"], &["Accept", "X-Origin", "Origin"]),
        ] {
            let mut response = ResponseHeader::build(200, None).unwrap();
            for value in before {
                response.append_header(VARY, *value).unwrap();
            }
            allow(&cors, &HeaderMap::new(), &mut response).unwrap();
            let seen: Vec<_> = response.headers.get_all(VARY).iter().collect();
            assert_eq!(seen, after);
        }
        cors.origins = Origins::Any;
        let mut response = ResponseHeader::build(200, None).unwrap();
        allow(&cors, &HeaderMap::new(), &mut response).unwrap();
        assert!(!response.headers.contains_key(VARY));
        assert_eq!(response.headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "*");
    }
}
