//! GROUND. From a request to the best rule: hostname, path, method, headers, query, by the precedence of the
//! Gateway API (gateway-api.md 6.1). Written as if it were a crate: it knows `http` and `regex` and nothing of ours.
//!
//! A [`RouteTable`] is built once and never changed. A lookup takes no lock, allocates nothing, and costs the
//! same with ten routes or a hundred thousand: hash tables by host and path, then a short list of candidates in
//! order of [`Precedence`]. The first candidate whose headers and query fit wins; if none does, the next less
//! specific path and then the next less specific hostname are tried. A gRPC call looks at the matches of calls of a
//! hostname before all others of it.
//!
//! The way of a request: [`normalise_host`] and [`path::normalise_for`] read what the client sent (their errors
//! are answered with 400), [`RouteTable::find`] finds, [`RouteTable::trace`] tells people why.

mod authority;
pub mod call;
mod call_index;
#[cfg(test)]
mod call_tests;
mod condition;
#[cfg(test)]
mod fixture;
mod host_map;
pub mod hostname;
mod judgement;
pub mod path;
mod path_index;
mod pattern;
pub mod precedence;
#[cfg(test)]
mod properties;
pub mod query;
pub mod route_match;
mod slots;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod trace;

use serde::Serialize;

pub use call::{Call, CallMatch, is_grpc};
pub use hostname::{HostMap, HostProblem, Hostname, normalise_host};
pub use path::PathProblem;
pub use pattern::Pattern;
pub use precedence::{Criterion, Precedence};
pub use route_match::{HeaderMatch, PathMatch, QueryMatch, RequestParts, RouteMatch, ValueMatch};
pub use table::RouteTable;
pub use trace::{Outcome, Trial, Why, shown_value};

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
