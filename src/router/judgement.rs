//! Whether one part of a match fits a request: plain, one at a time, for explaining.
//!
//! The table does the same for all entries at once and fast; the property tests hold the two together.

use http::{HeaderMap, Method};

use super::call::Call;
use super::precedence::significant_prefix;
use super::query;
use super::route_match::{HeaderMatch, PathMatch, QueryMatch, RequestParts, ValueMatch};

impl PathMatch {
    /// Whether a request has one of these paths; `*` is only with OPTIONS, and only for the prefix `/`.
    #[must_use]
    pub fn matches(&self, request: &RequestParts<'_>) -> bool {
        let RequestParts { method, path, .. } = *request;
        if !path.starts_with('/') {
            let takes_all = matches!(self, PathMatch::Prefix(prefix) if prefix == "/");
            return path == "*" && *method == Method::OPTIONS && takes_all;
        }
        match self {
            PathMatch::Exact(wanted) => wanted == path,
            PathMatch::Regex(pattern) => pattern.is_match(path),
            PathMatch::Call(wanted) => Call::of(request).is_some_and(|call| wanted.takes(call)),
            PathMatch::Prefix(prefix) => {
                // "Matching is case-sensitive and done on a path element by element basis."
                let rest = path.strip_prefix(significant_prefix(prefix));
                prefix.starts_with('/') && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl HeaderMatch {
    /// Whether any one of the header's values is wanted.
    #[must_use]
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().any(|value| match &self.value {
            ValueMatch::Exact(wanted) => value.as_bytes() == wanted.as_bytes(),
            ValueMatch::Regex(pattern) => pattern.is_match_bytes(value.as_bytes()),
        })
    }
}

impl QueryMatch {
    /// Whether the first value of the parameter is the wanted one.
    #[must_use]
    pub fn matches(&self, query: Option<&str>) -> bool {
        let raw = query.and_then(|query| query::first_value(query, &self.name));
        raw.is_some_and(|raw| match &self.value {
            ValueMatch::Exact(wanted) => query::is_equal(raw, wanted.as_bytes()),
            ValueMatch::Regex(pattern) => query::is_taken(raw, |value| pattern.is_match(value)),
        })
    }
}
