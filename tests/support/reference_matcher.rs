//! The Gateway API's matching rules as a linear scan, written down from the text of the specification and from
//! nothing of the router: what the route table, `transom explain` and live traffic are compared with.
//!
//! Whoever includes it has the router's types in scope: `use super::…` is the router or the crate under test.

use std::cmp::Reverse;

use super::{Hostname, PathMatch, RequestParts, RouteEntry, ValueMatch};

#[path = "reference_query.rs"]
mod query;

/// The entry that answers.
pub fn best<'t, T>(entries: &'t [RouteEntry<T>], request: &RequestParts<'_>) -> Option<&'t RouteEntry<T>> {
    entries.iter().filter(|entry| takes(entry, request)).min_by(|a, b| rank(a).cmp(&rank(b)))
}

/// Whether hostname, path, method, headers and query all fit.
pub fn takes<T>(entry: &RouteEntry<T>, request: &RequestParts<'_>) -> bool {
    let matches = &entry.matches;
    let by_host = match &entry.hostname {
        None => true,
        Some(Hostname::Exact(name)) => name == request.host,
        Some(Hostname::Wildcard(suffix)) => {
            request.host.match_indices('.').any(|(dot, _)| request.host[dot + 1..] == **suffix)
        }
    };
    let elements = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let by_path = match &matches.path {
        PathMatch::Prefix(prefix) if request.path == "*" => prefix == "/" && request.method == "OPTIONS",
        _ if request.path == "*" => false,
        PathMatch::Exact(path) => path == request.path,
        PathMatch::Regex(pattern) => pattern.is_match(request.path),
        PathMatch::Prefix(prefix) => elements(request.path).starts_with(&elements(prefix.trim_end_matches('/'))),
        PathMatch::Call(call) => {
            is_grpc(request) && {
                let names = request.path[1..].rsplit_once('/').filter(|(s, m)| !s.is_empty() && !m.is_empty());
                let is_name = |wanted: &ValueMatch| !matches!(wanted, ValueMatch::Exact(name) if name.contains('/'));
                match (&call.service, &call.method, names) {
                    (None, None, _) => true,
                    (_, _, None) => false,
                    (service, method, Some((asked_service, asked_method))) => {
                        [(service, asked_service), (method, asked_method)].into_iter().all(|(wanted, found)| {
                            wanted.as_ref().is_none_or(|wanted| is_name(wanted) && fits(wanted, found.as_bytes()))
                        })
                    }
                }
            }
        }
    };
    let by_headers = matches
        .headers
        .iter()
        .all(|header| request.headers.get_all(&header.name).iter().any(|value| fits(&header.value, value.as_bytes())));
    let pairs = query::pairs(request.query);
    let by_query = matches.query.iter().all(|wanted| {
        let first = pairs.iter().find(|(name, _)| name == wanted.name.as_bytes());
        first.is_some_and(|(_, value)| fits(&wanted.value, value))
    });
    by_host && by_path && by_headers && by_query && matches.method.as_ref().is_none_or(|m| m == request.method)
}

fn rank<T>(entry: &RouteEntry<T>) -> impl Ord + '_ {
    let hostname = match &entry.hostname {
        Some(Hostname::Exact(name)) => (0, Reverse(name.len())),
        Some(Hostname::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    };
    let m = &entry.matches;
    let name = |wanted: &Option<ValueMatch>| match wanted {
        Some(ValueMatch::Exact(name)) => (0, Reverse(name.len())),
        Some(ValueMatch::Regex(pattern)) => (1, Reverse(pattern.to_string().len())),
        None => (2, Reverse(0)),
    };
    // Of an HTTPRoute the path; of a GRPCRoute, which comes first for a call, the service and then the method.
    let none = (0, Reverse(0));
    let path = match &m.path {
        PathMatch::Call(call) => (0, name(&call.service), name(&call.method)),
        PathMatch::Exact(_) => (1, (0, Reverse(0)), none),
        PathMatch::Regex(pattern) => (1, (1, Reverse(pattern.to_string().len())), none),
        PathMatch::Prefix(prefix) => (1, (2, Reverse(prefix.trim_end_matches('/').len())), none),
    };
    (hostname, path, m.method.is_none(), Reverse(m.headers.len()), Reverse(m.query.len()), &entry.order)
}

/// "content-type" is "application/grpc", alone or with "+" and a custom part; parameters may follow.
fn is_grpc(request: &RequestParts<'_>) -> bool {
    let kind = request.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
    kind == "application/grpc" || kind.starts_with("application/grpc+")
}

fn fits(wanted: &ValueMatch, value: &[u8]) -> bool {
    match wanted {
        ValueMatch::Exact(wanted) => wanted.as_bytes() == value,
        ValueMatch::Regex(pattern) => std::str::from_utf8(value).is_ok_and(|value| pattern.is_match(value)),
    }
}
