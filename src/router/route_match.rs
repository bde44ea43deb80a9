//! What a request must be like: path, method, headers, query. All parts must hold.
//!
//! These are the words that a table is built from; how they are judged fast is in [`condition`](super::condition),
//! how well they fit in [`precedence`](super::precedence).
//!
//! Fixed readings where the Gateway API leaves several:
//! - A request header that is repeated, in several lines, matches if *any one* of its values does. A line is one
//!   value: `a,b` is not split.
//! - Of a repeated query parameter the first counts. Names and values are compared after percent-decoding, with
//!   `+` for a space; a malformed triplet stands for itself, and `a` without `=` has the empty value.
//! - A header value that is no UTF-8 matches no regular expression; exact values are compared byte by byte.

use http::{HeaderMap, HeaderName, Method};
use serde::Serialize;

use super::call::CallMatch;
use super::pattern::Pattern;

/// A request as the router sees it. `host` is lower case and without port; `path` is normalised (see [`super::path`]).
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// Host, lower case, without port and trailing dot.
    pub host: &'a str,
    /// Method.
    pub method: &'a Method,
    /// Path, normalised, without query.
    pub path: &'a str,
    /// Query, without `?`.
    pub query: Option<&'a str>,
    /// Headers.
    pub headers: &'a HeaderMap,
}

/// One match of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteMatch {
    /// Which paths.
    pub path: PathMatch,
    /// Which method; none is any.
    #[serde(serialize_with = "as_text")]
    pub method: Option<Method>,
    /// Which headers; a name stands once.
    pub headers: Vec<HeaderMatch>,
    /// Which query parameters; a name stands once.
    pub query: Vec<QueryMatch>,
}

impl Default for RouteMatch {
    /// Every request.
    fn default() -> Self {
        RouteMatch { path: PathMatch::Prefix("/".to_owned()), method: None, headers: Vec::new(), query: Vec::new() }
    }
}

impl RouteMatch {
    /// Drops what repeats a name.
    ///
    /// "If multiple entries specify equivalent header names, only the first entry with an equivalent name MUST be
    /// considered for a match. Subsequent entries [...] MUST be ignored." The same holds for query parameters.
    pub fn drop_repeated_names(&mut self) {
        keep_first(&mut self.headers, |a, b| a.name == b.name);
        keep_first(&mut self.query, |a, b| a.name == b.name);
    }
}

fn keep_first<M>(list: &mut Vec<M>, same: impl Fn(&M, &M) -> bool) {
    if list.len() < 2 {
        return;
    }
    let mut kept: Vec<M> = Vec::with_capacity(list.len());
    for item in list.drain(..) {
        if !kept.iter().any(|earlier| same(earlier, &item)) {
            kept.push(item);
        }
    }
    *list = kept;
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// This path, to the letter.
    Exact(String),
    /// This path and everything below it, by whole segments; a trailing slash is ignored.
    Prefix(String),
    /// A regular expression that the whole path must match.
    Regex(Pattern),
    /// Those of gRPC calls, and only in requests that are calls.
    Call(CallMatch),
}

/// A header that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderMatch {
    /// Case-insensitive.
    #[serde(serialize_with = "as_text_value")]
    pub name: HeaderName,
    /// Its value.
    pub value: ValueMatch,
}

/// A query parameter that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueryMatch {
    /// Case-sensitive, decoded.
    pub name: String,
    /// Value of its first occurrence, decoded.
    pub value: ValueMatch,
}

/// Which value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    /// This value, to the letter.
    Exact(String),
    /// A regular expression that the whole value must match.
    Regex(Pattern),
}

impl Serialize for PathMatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::fmt::Display for PathMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PathMatch::Exact(path) => write!(f, "Exact {path}"),
            PathMatch::Prefix(path) => write!(f, "PathPrefix {path}"),
            PathMatch::Regex(pattern) => write!(f, "RegularExpression {pattern}"),
            PathMatch::Call(call) => write!(f, "gRPC {call}"),
        }
    }
}

impl std::fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ValueMatch::Exact(value) => f.write_str(value),
            ValueMatch::Regex(pattern) => write!(f, "~ {pattern}"),
        }
    }
}

impl Serialize for ValueMatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[allow(clippy::ref_option, reason = "the shape that serde calls")]
fn as_text<S: serde::Serializer>(method: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
    match method {
        Some(method) => serializer.serialize_str(method.as_str()),
        None => serializer.serialize_none(),
    }
}

fn as_text_value<S: serde::Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}
