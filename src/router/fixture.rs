//! Routes and requests in a line each, for the tests of this room.
#![cfg(test)]
#![allow(missing_docs, reason = "the names say it all")]

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{
    CallMatch, HeaderMatch, Hostname, PathMatch, Pattern, QueryMatch, RequestParts, RouteEntry, RouteMatch, RouteOrder,
    RouteTable, ValueMatch,
};

/// A route with one rule and one match, widened step by step.
pub fn to(value: &'static str) -> RouteEntry<&'static str> {
    let order = RouteOrder { created: 0, route: "ns/route".to_owned(), rule: 0, index: 0 };
    RouteEntry { hostname: None, matches: RouteMatch::default(), order, value }
}

/// What a test says of a route beside where it leads to.
pub trait Widen: Sized {
    fn entry(&mut self) -> &mut RouteEntry<&'static str>;
    fn with(mut self, change: impl FnOnce(&mut RouteEntry<&'static str>)) -> Self {
        change(self.entry());
        self
    }
    fn host(self, name: &str) -> Self {
        self.with(|entry| entry.hostname = Some(Hostname::parse(name).unwrap()))
    }
    fn exact(self, path: &str) -> Self {
        self.with(|entry| entry.matches.path = PathMatch::Exact(path.to_owned()))
    }
    fn prefix(self, path: &str) -> Self {
        self.with(|entry| entry.matches.path = PathMatch::Prefix(path.to_owned()))
    }
    fn regex(self, text: &str) -> Self {
        self.with(|entry| entry.matches.path = PathMatch::Regex(Pattern::new(text).unwrap()))
    }
    /// `service/method`; `*` is any, and what begins with `~` is a regular expression.
    fn call(self, names: &str) -> Self {
        let (service, method) = names.split_once('/').unwrap();
        let name = |text: &str| match (text, text.strip_prefix('~')) {
            ("*", _) => None,
            (_, Some(text)) => Some(pattern(text)),
            _ => Some(ValueMatch::Exact(text.to_owned())),
        };
        let call = CallMatch { service: name(service), method: name(method) };
        self.with(|entry| entry.matches.path = PathMatch::Call(call))
    }
    fn method(self, method: Method) -> Self {
        self.with(|entry| entry.matches.method = Some(method))
    }
    fn header(self, name: &str, value: &str) -> Self {
        self.header_value(name, ValueMatch::Exact(value.to_owned()))
    }
    fn header_value(self, name: &str, value: ValueMatch) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.with(|entry| entry.matches.headers.push(HeaderMatch { name, value }))
    }
    fn query(self, name: &str, value: &str) -> Self {
        self.query_value(name, ValueMatch::Exact(value.to_owned()))
    }
    fn query_value(self, name: &str, value: ValueMatch) -> Self {
        self.with(|entry| entry.matches.query.push(QueryMatch { name: name.to_owned(), value }))
    }
    fn created(self, nanoseconds: i128) -> Self {
        self.with(|entry| entry.order.created = nanoseconds)
    }
    fn name(self, name: &str) -> Self {
        self.with(|entry| entry.order.route = name.to_owned())
    }
    fn rule(self, rule: u32) -> Self {
        self.with(|entry| entry.order.rule = rule)
    }
    fn index(self, index: u32) -> Self {
        self.with(|entry| entry.order.index = index)
    }
}

impl Widen for RouteEntry<&'static str> {
    fn entry(&mut self) -> &mut RouteEntry<&'static str> {
        self
    }
}

/// A value by regular expression.
pub fn pattern(text: &str) -> ValueMatch {
    ValueMatch::Regex(Pattern::new(text).unwrap())
}

/// Asks `GET host/path?query` with headers; what came in any order must give the same answer.
pub fn ask<'h>(
    entries: &[RouteEntry<&'static str>],
    request: &str,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> Option<&'static str> {
    let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
    let (target, query) = url.split_once('?').map_or((url, None), |(target, query)| (target, Some(query)));
    let (host, path) = target.split_at(target.find(['/', '*']).unwrap_or(target.len()));
    let header = |(name, value): (&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let headers: HeaderMap = headers.into_iter().map(header).collect();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let parts = RequestParts { host, method: &method, path, query, headers: &headers };
    let answer = |entries: Vec<_>| RouteTable::build(entries).value_for(&parts).copied();
    let forward = answer(entries.to_vec());
    assert_eq!(forward, answer(entries.iter().rev().cloned().collect()), "in reverse order: {request}");
    forward
}

/// Asks for gRPC calls.
pub fn check_calls(entries: &[RouteEntry<&'static str>], cases: &[(&str, Option<&'static str>)]) {
    for (call, expected) in cases {
        let found = ask(entries, &format!("POST {call}"), [("content-type", "application/grpc")]);
        assert_eq!(found, *expected, "{call}");
    }
}

/// Asks without headers.
pub fn check(entries: &[RouteEntry<&'static str>], cases: &[(&str, Option<&'static str>)]) {
    for (request, expected) in cases {
        assert_eq!(ask(entries, request, []), *expected, "{request}");
    }
}
