//! Which of two matches wins when both fit: the Gateway API's list, line by line.
//!
//! In comes a [`RouteEntry`], out goes its [`Precedence`]; the lesser of two is the better. Where the list leaves a
//! choice: regular expressions stand after exact paths and before all prefixes, longer expressions first.
//!
//! Names and paths break ties of equal length. That decides nothing, as no request fits both, and keeps what
//! belongs together together: the order is total, and the entries of one host and path follow each other in it.
//!
//! Matches of gRPC calls have a list of their own: "Characters in a matching service. Characters in a matching
//! method." stand between hostname and headers, where others have path and method. "Merging MUST not be done between
//! GRPCRoutes and HTTPRoutes": under one hostname every match of calls stands before every other, whatever it asks for.
//! Only calls are taken by it, and only what none of them takes goes on to the others.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use super::hostname::Hostname;
use super::route_match::{PathMatch, ValueMatch};
use super::{RouteEntry, RouteOrder};

/// How specific a match is, and where it stands among its equals. The least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precedence<'a> {
    /// Of the route's own hostname.
    pub hostname: HostnameRank<'a>,
    /// Of the path.
    pub path: PathRank<'a>,
    /// Of the method.
    pub method: MethodRank,
    /// How many headers must match.
    pub headers: usize,
    /// How many query parameters must match.
    pub query: usize,
    /// Age, name and position.
    pub order: &'a RouteOrder,
}

/// "Hostname specificity is judged on the route's own hostname", an exact one beats every wildcard, none is last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostnameRank<'a> {
    /// "Characters in a matching non-wildcard hostname."
    Exact(Reverse<usize>, &'a str),
    /// "Characters in a matching hostname."
    Wildcard(Reverse<usize>, &'a str),
    /// No hostname.
    Any,
}

/// The kinds of path in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathRank<'a> {
    /// "Characters in a matching service", then "characters in a matching method".
    Call(NameRank<'a>, NameRank<'a>),
    /// ""Exact" path match."
    Exact(Reverse<usize>, &'a str),
    /// "The precedence of RegularExpression path matches are implementation-specific." Ours: the longer text first.
    Regex(Reverse<usize>),
    /// ""Prefix" path match with largest number of characters." A trailing slash is ignored.
    Prefix(Reverse<usize>, &'a str),
    /// What does not begin with `/` is no path and takes none; nor does a name with `/` in it, in a call.
    Nowhere,
}

/// How specific a match is in one of the names of a call. All exact names that take one call are of one length, so
/// more characters come to this: one is named, or it is not. Expressions, of which the specification says nothing,
/// stand between, the longer text first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameRank<'a> {
    /// This name.
    Exact(Reverse<usize>, &'a str),
    /// A regular expression.
    Regex(Reverse<usize>),
    /// Any.
    Any,
}

/// "Method match."
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MethodRank {
    /// One method.
    Named,
    /// Any.
    Any,
}

/// Where two matches first differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// The hostname.
    Hostname,
    /// A match of gRPC calls, or another.
    Protocol,
    /// The service of a gRPC call.
    GrpcService,
    /// The method of a gRPC call.
    GrpcMethod,
    /// Exact, regular expression or prefix, and how long.
    Path,
    /// With or without method.
    Method,
    /// How many headers.
    Headers,
    /// How many query parameters.
    Query,
    /// Creation of the route.
    Age,
    /// Namespace and name of the route.
    Name,
    /// Position of the rule in the route.
    Rule,
    /// Position of the match in the rule.
    Match,
}

impl<'a> Precedence<'a> {
    /// The precedence of an entry.
    #[must_use]
    pub fn of<T>(entry: &'a RouteEntry<T>) -> Self {
        Precedence {
            hostname: HostnameRank::of(entry.hostname.as_ref()),
            path: PathRank::of(&entry.matches.path),
            method: if entry.matches.method.is_some() { MethodRank::Named } else { MethodRank::Any },
            headers: entry.matches.headers.len(),
            query: entry.matches.query.len(),
            order: &entry.order,
        }
    }

    /// Where the two first differ, and how; `None` if they are equal in all.
    #[must_use]
    pub fn decided_by(&self, other: &Self) -> Option<(Criterion, Ordering)> {
        let by = |criterion, ordering: Ordering| ordering.is_ne().then_some((criterion, ordering));
        // "Proxy or Load Balancer routing configuration generated from HTTPRoutes MUST prioritize matches based on
        // the following criteria, continuing on ties."
        by(Criterion::Hostname, self.hostname.cmp(&other.hostname))
            .or_else(|| by(self.path.criterion(&other.path), self.path.cmp(&other.path)))
            .or_else(|| by(Criterion::Method, self.method.cmp(&other.method)))
            // "Largest number of header matches."
            .or_else(|| by(Criterion::Headers, other.headers.cmp(&self.headers)))
            // "Largest number of query param matches."
            .or_else(|| by(Criterion::Query, other.query.cmp(&self.query)))
            // "If ties still exist across multiple Routes [...]: The oldest Route based on creation timestamp."
            .or_else(|| by(Criterion::Age, self.order.created.cmp(&other.order.created)))
            // "The Route appearing first in alphabetical order by "{namespace}/{name}"."
            .or_else(|| by(Criterion::Name, self.order.route.cmp(&other.order.route)))
            // "If ties still exist within an HTTPRoute, matching precedence MUST be granted to the FIRST matching
            // rule (in list order) with a match meeting the above criteria."
            .or_else(|| by(Criterion::Rule, self.order.rule.cmp(&other.order.rule)))
            .or_else(|| by(Criterion::Match, self.order.index.cmp(&other.order.index)))
    }
}

impl Ord for Precedence<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.decided_by(other).map_or(Ordering::Equal, |(_, ordering)| ordering)
    }
}

impl PartialOrd for Precedence<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> HostnameRank<'a> {
    /// The rank of a route's hostname.
    #[must_use]
    pub fn of(hostname: Option<&'a Hostname>) -> Self {
        match hostname {
            Some(Hostname::Exact(name)) => HostnameRank::Exact(Reverse(name.len()), name),
            Some(Hostname::Wildcard(suffix)) => HostnameRank::Wildcard(Reverse(suffix.len()), suffix),
            None => HostnameRank::Any,
        }
    }
}

impl<'a> PathRank<'a> {
    /// The rank of a path match.
    #[must_use]
    pub fn of(path: &'a PathMatch) -> Self {
        match path {
            PathMatch::Exact(text) | PathMatch::Prefix(text) if !text.starts_with('/') => PathRank::Nowhere,
            PathMatch::Exact(path) => PathRank::Exact(Reverse(path.len()), path),
            PathMatch::Regex(pattern) => PathRank::Regex(Reverse(pattern.text().len())),
            PathMatch::Prefix(prefix) => {
                let prefix = significant_prefix(prefix);
                PathRank::Prefix(Reverse(prefix.len()), prefix)
            }
            PathMatch::Call(call) if !call.is_possible() => PathRank::Nowhere,
            PathMatch::Call(call) => {
                PathRank::Call(NameRank::of(call.service.as_ref()), NameRank::of(call.method.as_ref()))
            }
        }
    }

    /// In what two ranks that differ do so.
    fn criterion(&self, other: &Self) -> Criterion {
        match (self, other) {
            (PathRank::Call(one, _), PathRank::Call(two, _)) if one != two => Criterion::GrpcService,
            (PathRank::Call(..), PathRank::Call(..)) => Criterion::GrpcMethod,
            (PathRank::Call(..), _) | (_, PathRank::Call(..)) => Criterion::Protocol,
            _ => Criterion::Path,
        }
    }
}

impl<'a> NameRank<'a> {
    /// The rank of a service or of a method.
    fn of(wanted: Option<&'a ValueMatch>) -> Self {
        match wanted {
            Some(ValueMatch::Exact(name)) => NameRank::Exact(Reverse(name.len()), name),
            Some(ValueMatch::Regex(pattern)) => NameRank::Regex(Reverse(pattern.text().len())),
            None => NameRank::Any,
        }
    }
}

/// "A trailing "/" is ignored": `/abc/` is `/abc`, and what is left of `/` is nothing, with which every path begins.
#[must_use]
pub fn significant_prefix(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Criterion::Hostname => "more specific hostname",
            Criterion::Protocol => "for gRPC calls alone",
            Criterion::GrpcService => "more specific gRPC service",
            Criterion::GrpcMethod => "more specific gRPC method",
            Criterion::Path => "more specific path",
            Criterion::Method => "names the method",
            Criterion::Headers => "more headers",
            Criterion::Query => "more query parameters",
            Criterion::Age => "older route",
            Criterion::Name => "route first by namespace/name",
            Criterion::Rule => "earlier rule",
            Criterion::Match => "earlier match of the rule",
        })
    }
}
