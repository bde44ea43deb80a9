//! Filters: what is done to a request and its answer. One list serves a rule and a backendRef of it, HTTPRoute and
//! GRPCRoute alike; its order is the route's. Names are parsed, values are checked, durations are durations.

use std::num::NonZeroU16;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::upstream::UpstreamIndex;
use crate::router::Hostname;

/// Filters in the order of the route. Most rules have none, which costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Filters(Box<[Filter]>);

/// One filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Filter {
    /// Changes headers of the request.
    RequestHeaders(HeaderChanges),
    /// Changes headers of the answer.
    ResponseHeaders(HeaderChanges),
    /// Changes host and path of the request.
    Rewrite(UrlRewrite),
    /// Sends a copy of the request to somebody else.
    Mirror(Mirror),
    /// Answers preflights, and says who may read the answer.
    Cors(Box<Cors>),
}

/// Changes of headers, in the order `set`, `add`, `remove`. No name stands twice in one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Replaces every value.
    pub set: Box<[(HeaderName, HeaderValue)]>,
    /// Appends a value.
    pub add: Box<[(HeaderName, HeaderValue)]>,
    /// Drops every value.
    pub remove: Box<[HeaderName]>,
}

/// RFC 9110, 7.6.1: fields of one connection only, "that ought to be removed before forwarding"; and those that say
/// where a message ends (RFC 9112, 6). The gateway writes them itself, and no filter touches them.
pub const FRAMING: &[&str] = &[
    "Connection",
    "Content-Length",
    "HTTP2-Settings",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// Whether the field of this name frames a message or concerns one connection.
#[must_use]
pub fn is_framing(name: &str) -> bool {
    FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name))
}

/// A new host, a new path, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UrlRewrite {
    /// What the upstream is told as `Host`.
    pub host: Option<Box<str>>,
    /// The path it is asked for; the query stays.
    pub path: Option<PathChange>,
}

/// How a path changes. Both are absolute paths in the form that is forwarded, or `Prefix("")`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum PathChange {
    /// All of it.
    Full(Box<str>),
    /// The prefix of the match that won.
    Prefix(Box<str>),
}

/// A redirect, which is all that its rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// Default: the request's.
    pub scheme: Option<Scheme>,
    /// Default: the request's.
    pub host: Option<Box<str>>,
    /// Default: by a given scheme its well-known port, else the listener's.
    pub port: Option<NonZeroU16>,
    /// Default: the request's. The query stays.
    pub path: Option<PathChange>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Scheme {
    /// Port 80.
    Http,
    /// Port 443.
    Https,
}

/// A copy of some requests for somebody else, whose answer nobody reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// Who gets the copy.
    pub upstream: UpstreamIndex,
    /// Of so many requests …
    pub numerator: u32,
    /// … of so many; at least 1.
    pub denominator: u32,
}

/// Who may read an answer from a page of another origin, and with what (Fetch standard, section 3.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cors {
    /// Origins that may.
    pub origins: Origins,
    /// Whether with cookies and the like.
    pub credentials: bool,
    /// Methods that may be used.
    pub methods: Names,
    /// Request headers that may be sent.
    pub headers: Names,
    /// Answer headers that may be read.
    pub expose: Names,
    /// For how many seconds a preflight is good.
    pub max_age: u32,
}

/// `*`, or names as the route writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Names {
    /// `*`.
    Any,
    /// These.
    Listed(Box<[Box<str>]>),
}

/// Which origins may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Origins {
    /// `*`.
    Any,
    /// Those that match one of these.
    Listed(Box<[Origin]>),
}

/// An origin, or all under a wildcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// In lower case.
    pub scheme: Box<str>,
    /// A host, or `*.` and a domain: one or more labels to the left, never the domain itself; none is any host.
    pub host: Option<Hostname>,
    /// Explicit, or the scheme's default; none where the scheme has no default and none was written.
    pub port: Option<u16>,
}

/// Bounds in time. `0s` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// From the request's header to the end of the answer, over all tries.
    pub request: Option<Duration>,
    /// Of one try.
    pub backend: Option<Duration>,
}

/// When a request is sent again (spec, `HTTPRouteRetry`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Status codes that are tried again, sorted.
    pub codes: Box<[u16]>,
    /// Tries beside the first; 0 is none.
    pub attempts: u32,
    /// Base interval of the backoff.
    pub backoff: Duration,
}

impl Filters {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the route.
    pub fn iter(&self) -> std::slice::Iter<'_, Filter> {
        self.0.iter()
    }

    /// The CORS filter, of which a list has at most one.
    #[must_use]
    pub fn cors(&self) -> Option<&Cors> {
        self.iter().find_map(|filter| match filter {
            Filter::Cors(cors) => Some(&**cors),
            _ => None,
        })
    }
}

impl FromIterator<Filter> for Filters {
    fn from_iter<I: IntoIterator<Item = Filter>>(filters: I) -> Self {
        Filters(filters.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Filters {
    type Item = &'a Filter;
    type IntoIter = std::slice::Iter<'a, Filter>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Timeouts {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.request.is_none() && self.backend.is_none()
    }
}

impl Scheme {
    /// As in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL may leave out.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl Serialize for HeaderChanges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs = |list: &[(HeaderName, HeaderValue)]| -> Vec<String> {
            list.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect()
        };
        let mut changes = serializer.serialize_struct("HeaderChanges", 3)?;
        changes.serialize_field("set", &pairs(&self.set))?;
        changes.serialize_field("add", &pairs(&self.add))?;
        changes.serialize_field("remove", &self.remove.iter().map(HeaderName::as_str).collect::<Vec<_>>())?;
        changes.end()
    }
}
