//! CORS: origins taken apart, so that comparing them is comparing parts; methods and names checked, since they are
//! written into answers.

use http::HeaderName;

use super::filter_fault::{FilterFault, FilterPlace};
use super::reading::Reading;
use crate::api::http_route::HttpCorsFilter;
use crate::router::Hostname;
use crate::snapshot::filter::{Cors, Names, Origin, Origins, Scheme};

/// "Valid values are any method defined by RFC9110", and PATCH: those of the CRD. "Method names are case-sensitive".
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// "When the `MaxAge` field is unspecified, the gateway sets the response header "Access-Control-Max-Age: 5"".
const DEFAULT_MAX_AGE: i32 = 5;

/// Reads a CORS filter.
pub fn read<'a>(asked: &'a HttpCorsFilter, place: FilterPlace<'a>, reading: &mut Reading<'_, 'a>) -> Cors {
    let found = asked.max_age.unwrap_or(DEFAULT_MAX_AGE);
    let max_age = u32::try_from(found).ok().filter(|seconds| *seconds > 0);
    if max_age.is_none() {
        reading.fault(place, FilterFault::MaxAge(found));
    }
    let method = |index, found| (!METHODS.contains(&found)).then_some(FilterFault::Method { index, found });
    Cors {
        origins: origins(&asked.allow_origins, place, reading),
        credentials: asked.allow_credentials.unwrap_or(false),
        methods: names(&asked.allow_methods, method, place, reading),
        headers: names(&asked.allow_headers, header("cors.allowHeaders"), place, reading),
        expose: names(&asked.expose_headers, header("cors.exposeHeaders"), place, reading),
        max_age: max_age.unwrap_or_default(),
    }
}

fn header<'a>(field: &'static str) -> impl Fn(usize, &'a str) -> Option<FilterFault<'a>> {
    move |index, found| {
        let sound = HeaderName::from_bytes(found.as_bytes()).is_ok();
        (!sound).then_some(FilterFault::Name { field, index, found })
    }
}

/// `*` alone or beside others is all; else each once, as it is written.
fn names<'a>(
    asked: &'a [String],
    fault: impl Fn(usize, &'a str) -> Option<FilterFault<'a>>,
    place: FilterPlace<'a>,
    reading: &mut Reading<'_, 'a>,
) -> Names {
    let mut any = false;
    let mut listed: Vec<Box<str>> = Vec::with_capacity(asked.len());
    for (index, found) in asked.iter().enumerate() {
        if found == "*" {
            any = true;
        } else if let Some(fault) = fault(index, found) {
            reading.fault(place, fault);
        } else if !listed.iter().any(|known| known.eq_ignore_ascii_case(found)) {
            listed.push(found.as_str().into());
        }
    }
    if any { Names::Any } else { Names::Listed(listed.into()) }
}

/// None allowed is none that may read.
fn origins<'a>(asked: &'a [String], place: FilterPlace<'a>, reading: &mut Reading<'_, 'a>) -> Origins {
    let mut any = false;
    let mut listed = Vec::with_capacity(asked.len());
    for (index, found) in asked.iter().enumerate() {
        if found == "*" {
            any = true;
        } else if let Some(origin) = origin(found) {
            if !listed.contains(&origin) {
                listed.push(origin);
            }
        } else {
            reading.fault(place, FilterFault::Origin { index, found });
        }
    }
    if any { Origins::Any } else { Origins::Listed(listed.into()) }
}

/// `<scheme>://<host>(:<port>)`. "Valid values for scheme are: `http` and `https`"; "if not included, port `80` is
/// assumed for `http` scheme origins, and port `443` is assumed for `https` origins"; "A wildcard by itself matches
/// all hosts".
fn origin(text: &str) -> Option<Origin> {
    let (scheme, authority) = text.split_once("://")?;
    let known = [Scheme::Http, Scheme::Https];
    let scheme = known.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(scheme))?;
    let (host, port) = match authority.split_once(':') {
        None => (authority, scheme.default_port()),
        Some((host, digits)) => {
            let number = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            (host, digits.parse().ok().filter(|port| number && *port > 0)?)
        }
    };
    let host = if host == "*" { None } else { Some(Hostname::parse(host)?) };
    Some(Origin { scheme: scheme.as_str().into(), host, port: Some(port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, String, u16)> {
        let found = origin(text)?;
        let host = found.host.map_or("*".to_owned(), |host| host.to_string());
        Some((found.scheme.into(), host, found.port?))
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let cases = [
            ("https://a.example.com", ("https", "a.example.com", 443)),
            ("http://a.example.com", ("http", "a.example.com", 80)),
            ("HTTPS://A.Example.com:8443", ("https", "a.example.com", 8443)),
            ("http://*", ("http", "*", 80)),
            ("https://*:8443", ("https", "*", 8443)),
            ("https://*.bar.com", ("https", "*.bar.com", 443)),
            ("http://localhost:03000", ("http", "localhost", 3000)),
            ("http://10.0.0.1:80", ("http", "10.0.0.1", 80)),
        ];
        for (text, (scheme, host, port)) in cases {
            assert_eq!(read(text), Some((scheme.to_owned(), host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for text in [
            "",
            "**",
            "a.example.com",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "https://a:",
            "https://a:0",
            "https://a:65536",
            "https://a:+80",
            "https://a:000080",
            "https://a:80:80",
            "https://*a",
            "https://*.*.a",
            "https://a.*",
            "https://a..b",
            "https://a b",
            "https://[::1]",
            "null",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
