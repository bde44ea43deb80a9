//! What a request must be like: path, method, headers, query. All parts must hold.

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;
use serde::Serialize;

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
#[derive(Debug, Clone, Serialize)]
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

/// Which paths.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// This path, to the letter.
    Exact(String),
    /// This path and everything below it, by whole segments; a trailing slash is ignored.
    Prefix(String),
    /// A regular expression that the whole path must match.
    Regex(Pattern),
}

/// A header that must be there.
#[derive(Debug, Clone, Serialize)]
pub struct HeaderMatch {
    /// Case-insensitive.
    #[serde(serialize_with = "as_text_value")]
    pub name: HeaderName,
    /// Its value.
    pub value: ValueMatch,
}

/// A query parameter that must be there.
#[derive(Debug, Clone, Serialize)]
pub struct QueryMatch {
    /// Case-sensitive, decoded.
    pub name: String,
    /// Value of its first occurrence, decoded.
    pub value: ValueMatch,
}

/// Which value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// This value, to the letter.
    Exact(String),
    /// A regular expression that the whole value must match.
    Regex(Pattern),
}

/// A regular expression, anchored at both ends. Syntax: the `regex` crate's (RE2-like, linear time).
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`, bounded in size, so that it matches whole values only.
    ///
    /// # Errors
    /// What the `regex` crate says of the text. There is no pattern then: a broken match never matches.
    pub fn new(text: &str) -> Result<Pattern, regex::Error> {
        Regex::new(text)?; // alone first: `a)(?:b` must not become valid inside the group
        regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 20).build().map(Pattern)
    }

    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn is_match(&self, value: &str) -> bool {
        self.0.is_match(value)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.as_str();
        f.write_str(text.strip_prefix("^(?:").and_then(|t| t.strip_suffix(")$")).unwrap_or(text))
    }
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
        }
    }
}

impl Serialize for ValueMatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ValueMatch::Exact(value) => serializer.serialize_str(value),
            ValueMatch::Regex(pattern) => serializer.collect_str(&format_args!("~ {pattern}")),
        }
    }
}

fn as_text<S: serde::Serializer>(method: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
    match method {
        Some(method) => serializer.serialize_str(method.as_str()),
        None => serializer.serialize_none(),
    }
}

fn as_text_value<S: serde::Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}
