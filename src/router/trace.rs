//! Why an entry won, and why each other lost: for `transom explain`.
//!
//! In comes a request, out goes a [`Trial`] for every entry whose hostname takes the request's host, in order of
//! precedence; where no hostname does, one for every entry. The winner is what [`RouteTable::find`] says, so the
//! two cannot part. This is for people: it allocates, and takes its time.

use std::fmt;

use http::{HeaderName, Method, header};

use super::call::is_grpc;
use super::precedence::{Criterion, Precedence};
use super::query;
use super::route_match::{PathMatch, RequestParts, ValueMatch};
use super::{Hostname, RouteEntry, RouteTable};

/// An entry before a request.
#[derive(Debug)]
pub struct Trial<'a, T> {
    /// Which entry.
    pub entry: &'a RouteEntry<T>,
    /// How it fared.
    pub outcome: Outcome,
}

/// How an entry fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It answers.
    Won,
    /// It does not.
    Lost(Why),
}

/// The first reason why an entry does not answer a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The host is none of the route's hostname.
    Hostname {
        /// The route's.
        wanted: Hostname,
        /// The request's.
        found: String,
    },
    /// The path is another.
    Path {
        /// The entry's.
        wanted: PathMatch,
        /// The request's, normalised.
        found: String,
    },
    /// The entry takes gRPC calls, and the request is none.
    NoCall {
        /// The content type of the request, if it has one.
        found: Option<String>,
    },
    /// The method is another.
    Method {
        /// The entry's.
        wanted: Method,
        /// The request's.
        found: Method,
    },
    /// A header has another value or is missing.
    Header {
        /// Which.
        name: HeaderName,
        /// The entry's.
        wanted: ValueMatch,
        /// The request's; empty if the header is missing. Credentials and cookies are redacted.
        found: Vec<String>,
    },
    /// A query parameter has another value or is missing.
    Query {
        /// Which.
        name: String,
        /// The entry's.
        wanted: ValueMatch,
        /// The request's first, decoded; none if the parameter is missing.
        found: Option<String>,
    },
    /// It matches, but another entry that matches ranks before it.
    Outranked {
        /// What decided between it and the winner.
        by: Criterion,
    },
}

impl<T> RouteTable<T> {
    /// The entries considered for a request, in order of precedence, and how each fared; at most one won.
    #[must_use]
    pub fn trace(&self, request: &RequestParts<'_>) -> Vec<Trial<'_, T>> {
        let winner = self.find(request);
        let takes_host = |entry: &&RouteEntry<T>| entry.hostname.as_ref().is_none_or(|name| name.matches(request.host));
        let mut considered: Vec<&RouteEntry<T>> = self.entries().filter(takes_host).collect();
        if considered.is_empty() {
            considered.extend(self.entries());
        }
        considered.into_iter().map(|entry| Trial { entry, outcome: judge(entry, winner, request) }).collect()
    }
}

fn judge<T>(entry: &RouteEntry<T>, winner: Option<&RouteEntry<T>>, request: &RequestParts<'_>) -> Outcome {
    if winner.is_some_and(|winner| std::ptr::eq(winner, entry)) {
        return Outcome::Won;
    }
    Outcome::Lost(mismatch(entry, request).unwrap_or_else(|| {
        let decided = winner.and_then(|winner| Precedence::of(winner).decided_by(&Precedence::of(entry)));
        Why::Outranked { by: decided.map_or(Criterion::Match, |(criterion, _)| criterion) }
    }))
}

/// The first thing at which an entry and a request differ.
fn mismatch<T>(entry: &RouteEntry<T>, request: &RequestParts<'_>) -> Option<Why> {
    if let Some(wanted) = entry.hostname.as_ref().filter(|name| !name.matches(request.host)) {
        return Some(Why::Hostname { wanted: wanted.clone(), found: request.host.to_owned() });
    }
    if !entry.matches.path.matches(request) {
        if matches!(entry.matches.path, PathMatch::Call(_)) && !is_grpc(request.headers) {
            let found = request
                .headers
                .get(header::CONTENT_TYPE)
                .map(|kind| shown_value(&header::CONTENT_TYPE, kind.as_bytes()));
            return Some(Why::NoCall { found });
        }
        return Some(Why::Path { wanted: entry.matches.path.clone(), found: request.path.to_owned() });
    }
    if let Some(wanted) = entry.matches.method.as_ref().filter(|method| *method != request.method) {
        return Some(Why::Method { wanted: wanted.clone(), found: request.method.clone() });
    }
    let header = entry.matches.headers.iter().find(|header| !header.matches(request.headers));
    if let Some(wanted) = header {
        let found =
            request.headers.get_all(&wanted.name).iter().map(|value| shown_value(&wanted.name, value.as_bytes()));
        return Some(Why::Header { name: wanted.name.clone(), wanted: wanted.value.clone(), found: found.collect() });
    }
    let parameter = entry.matches.query.iter().find(|parameter| !parameter.matches(request.query));
    parameter.map(|wanted| {
        let raw = request.query.and_then(|query| query::first_value(query, &wanted.name));
        Why::Query {
            name: wanted.name.clone(),
            wanted: wanted.value.clone(),
            found: raw.map(|raw| String::from_utf8_lossy(&query::decode(raw).collect::<Vec<u8>>()).into_owned()),
        }
    })
}

/// The value of a request's header as it may be told: not where it is a credential.
#[must_use]
pub fn shown_value(name: &HeaderName, value: &[u8]) -> String {
    if [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE].contains(name) {
        return "(redacted)".to_owned();
    }
    String::from_utf8_lossy(value).into_owned()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Won => f.write_str("won"),
            Outcome::Lost(why) => write!(f, "lost: {why}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Hostname { wanted, found } => write!(f, "hostname: {wanted} does not take {found}"),
            Why::Path { wanted, found } => write!(f, "path: {wanted} does not take {found}"),
            Why::NoCall { found } => {
                let found = found.as_deref().map_or_else(|| "missing".to_owned(), |found| format!("found {found}"));
                write!(f, "no gRPC call: wanted content-type application/grpc, {found}")
            }
            Why::Method { wanted, found } => write!(f, "method: wanted {wanted}, found {found}"),
            Why::Header { name, wanted, found } if found.is_empty() => {
                write!(f, "header {name}: wanted {wanted}, missing")
            }
            Why::Header { name, wanted, found } => {
                write!(f, "header {name}: wanted {wanted}, found {}", found.join(" | "))
            }
            Why::Query { name, wanted, found: Some(found) } => {
                write!(f, "query {name}: wanted {wanted}, found {found}")
            }
            Why::Query { name, wanted, found: None } => write!(f, "query {name}: wanted {wanted}, missing"),
            Why::Outranked { by } => write!(f, "a more specific match won ({by})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::router::fixture::{Widen, to};

    #[test]
    fn a_trace_tells_the_winner_and_why_each_other_lost() {
        let table = RouteTable::build(vec![
            to("path").host("a.b").prefix("/x"),
            to("method").host("a.b").method(Method::POST),
            to("header").host("a.b").header("authorization", "secret").header("k", "v"),
            to("missing").host("a.b").header("l", "v").rule(1),
            to("query").host("a.b").query("q", "1"),
            to("winner").host("a.b").rule(2),
            to("later").host("a.b").rule(3),
            to("wide").host("*.b"),
            to("other host").host("c.d"),
        ]);
        let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers: HeaderMap = [header("authorization", "mine"), header("k", "v")].into_iter().collect();
        let parts =
            RequestParts { host: "a.b", method: &Method::GET, path: "/", query: Some("q=%32"), headers: &headers };
        let told: Vec<_> =
            table.trace(&parts).iter().map(|trial| (trial.entry.value, trial.outcome.to_string())).collect();
        let expected = [
            ("path", "lost: path: PathPrefix /x does not take /"),
            ("method", "lost: method: wanted POST, found GET"),
            ("header", "lost: header authorization: wanted secret, found (redacted)"),
            ("missing", "lost: header l: wanted v, missing"),
            ("query", "lost: query q: wanted 1, found 2"),
            ("winner", "won"),
            ("later", "lost: a more specific match won (earlier rule)"),
            ("wide", "lost: a more specific match won (more specific hostname)"),
        ];
        assert_eq!(told, expected.map(|(value, outcome)| (value, outcome.to_owned())));
    }

    #[test]
    fn a_trace_names_the_hostnames_where_none_takes_the_host() {
        let table = RouteTable::build(vec![to("a").host("a.b"), to("b").host("*.c")]);
        let headers = HeaderMap::new();
        let parts = RequestParts { host: "c", method: &Method::GET, path: "/", query: None, headers: &headers };
        let outcomes: Vec<_> = table.trace(&parts).into_iter().map(|trial| trial.outcome).collect();
        let lost =
            |name| Outcome::Lost(Why::Hostname { wanted: Hostname::parse(name).unwrap(), found: "c".to_owned() });
        assert_eq!(outcomes, [lost("a.b"), lost("*.c")]);
    }

    #[test]
    fn what_decides_between_two_matches_is_told_in_words() {
        assert_eq!(
            Why::Outranked { by: Criterion::Path }.to_string(),
            "a more specific match won (more specific path)"
        );
        assert_eq!(Why::Outranked { by: Criterion::Age }.to_string(), "a more specific match won (older route)");
    }
}
