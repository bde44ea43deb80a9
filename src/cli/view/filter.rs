//! Filters as people and scripts read them, in the words of the Gateway API: an object with its `type` and the
//! fields of the spec, or one line.

use std::fmt;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::percent;
use crate::router::{PathMatch, RouteMatch, shown_value};
use crate::snapshot::filter::{Cors, HeaderChanges, Mirror, Names, Origin, Origins, PathChange, Redirect, UrlRewrite};
use crate::snapshot::{Action, Filter, Filters, Rule, Snapshot};

/// A filter with its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum FilterView {
    /// Changes headers of the request.
    RequestHeaderModifier(ChangesView),
    /// Changes headers of the answer.
    ResponseHeaderModifier(ChangesView),
    /// Changes host and path of the request.
    #[serde(rename = "URLRewrite")]
    UrlRewrite {
        /// What the backend is told as `Host`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        hostname: Option<String>,
        /// What it is asked for.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        path: Option<PathView>,
    },
    /// Sends a copy of the request to somebody else.
    RequestMirror {
        /// Who gets it.
        backend: MirroredView,
        /// Of how many requests.
        fraction: FractionView,
    },
    /// Redirects.
    RequestRedirect {
        /// Of the new URL.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        scheme: Option<String>,
        /// Of the new URL.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        hostname: Option<String>,
        /// Of the new URL.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        port: Option<u16>,
        /// Of the new URL.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        path: Option<PathView>,
        /// Of the answer.
        status_code: u16,
    },
    /// Answers preflights, and says who may read the answer.
    #[serde(rename = "CORS")]
    Cors(CorsView),
}

/// Changes of headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesView {
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    set: Vec<HeaderView>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    add: Vec<HeaderView>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    remove: Vec<String>,
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderView {
    name: String,
    value: String,
}

/// A change of the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum PathView {
    /// All of it.
    ReplaceFullPath {
        /// The new path.
        replace_full_path: String,
    },
    /// The prefix that matched.
    ReplacePrefixMatch {
        /// What matched.
        matched_prefix: String,
        /// What stands in its place.
        replace_prefix_match: String,
    },
}

/// Who gets a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirroredView {
    namespace: String,
    name: String,
    port: u16,
    endpoints: Vec<String>,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FractionView {
    numerator: u32,
    denominator: u32,
}

/// Who may read an answer from a page of another origin, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CorsView {
    allow_origins: Vec<String>,
    allow_credentials: bool,
    allow_methods: Vec<String>,
    allow_headers: Vec<String>,
    expose_headers: Vec<String>,
    max_age: u32,
}

impl FilterView {
    /// The filters of a rule, a redirect among them, for the match that fitted.
    #[must_use]
    pub fn all(snapshot: &Snapshot, rule: &Rule, matches: &RouteMatch) -> Vec<FilterView> {
        let mut views = FilterView::list(snapshot, &rule.filters, matches);
        if let Action::Redirect(redirect) = &rule.action {
            views.push(FilterView::redirect(redirect, matches));
        }
        views
    }

    /// Filters of a rule or a share, for the match that fitted.
    #[must_use]
    pub fn list(snapshot: &Snapshot, filters: &Filters, matches: &RouteMatch) -> Vec<FilterView> {
        filters.iter().map(|filter| FilterView::of(snapshot, filter, matches)).collect()
    }

    fn of(snapshot: &Snapshot, filter: &Filter, matches: &RouteMatch) -> FilterView {
        match filter {
            Filter::RequestHeaders(changes) => FilterView::RequestHeaderModifier(ChangesView::of(changes)),
            Filter::ResponseHeaders(changes) => FilterView::ResponseHeaderModifier(ChangesView::of(changes)),
            Filter::Rewrite(UrlRewrite { host, path }) => FilterView::UrlRewrite {
                hostname: host.as_deref().map(str::to_owned),
                path: path.as_ref().map(|path| PathView::of(path, matches)),
            },
            Filter::Mirror(mirror) => FilterView::RequestMirror {
                backend: MirroredView::of(snapshot, mirror),
                fraction: FractionView { numerator: mirror.numerator, denominator: mirror.denominator },
            },
            Filter::Cors(cors) => FilterView::Cors(CorsView::of(cors)),
        }
    }

    /// The filter where there is little room: without lists.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            FilterView::RequestHeaderModifier(_) => "RequestHeaderModifier".to_owned(),
            FilterView::ResponseHeaderModifier(_) => "ResponseHeaderModifier".to_owned(),
            FilterView::Cors(_) => "CORS".to_owned(),
            FilterView::UrlRewrite { .. } | FilterView::RequestMirror { .. } | FilterView::RequestRedirect { .. } => {
                self.to_string()
            }
        }
    }

    /// What a redirect changes, if this is one that does.
    #[must_use]
    pub fn leads_to(&self) -> Option<String> {
        let FilterView::RequestRedirect { scheme, hostname, port, path, .. } = self else { return None };
        let parts = [
            scheme.clone(),
            hostname.as_ref().map(|host| format!("host {host}")),
            port.map(|port| format!("port {port}")),
            path.as_ref().map(said),
        ];
        Some(joined(parts)).filter(|words| !words.is_empty())
    }

    fn redirect(redirect: &Redirect, matches: &RouteMatch) -> FilterView {
        FilterView::RequestRedirect {
            scheme: redirect.scheme.map(|scheme| scheme.as_str().to_owned()),
            hostname: redirect.host.as_deref().map(str::to_owned),
            port: redirect.port.map(std::num::NonZeroU16::get),
            path: redirect.path.as_ref().map(|path| PathView::of(path, matches)),
            status_code: redirect.status,
        }
    }
}

impl ChangesView {
    fn of(changes: &HeaderChanges) -> ChangesView {
        let pairs = |list: &[(HeaderName, HeaderValue)]| {
            list.iter().map(|(name, value)| HeaderView::of((name, value))).collect()
        };
        ChangesView {
            set: pairs(&changes.set),
            add: pairs(&changes.add),
            remove: changes.remove.iter().map(ToString::to_string).collect(),
        }
    }
}

impl HeaderView {
    /// Of a request.
    #[must_use]
    pub fn asked((name, value): (&HeaderName, &HeaderValue)) -> HeaderView {
        HeaderView { name: name.to_string(), value: shown_value(name, value.as_bytes()) }
    }

    /// The view of a header.
    #[must_use]
    pub fn of((name, value): (&HeaderName, &HeaderValue)) -> HeaderView {
        HeaderView { name: name.to_string(), value: String::from_utf8_lossy(value.as_bytes()).into_owned() }
    }
}

impl PathView {
    fn of(change: &PathChange, matches: &RouteMatch) -> PathView {
        match change {
            PathChange::Full(path) => PathView::ReplaceFullPath { replace_full_path: path.to_string() },
            PathChange::Prefix(path) => PathView::ReplacePrefixMatch {
                // the translator refuses it beside any other kind of match
                matched_prefix: match &matches.path {
                    PathMatch::Prefix(prefix) => prefix.clone(),
                    PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Call(_) => "/".to_owned(),
                },
                replace_prefix_match: if path.is_empty() { "/".to_owned() } else { path.to_string() },
            },
        }
    }
}

impl MirroredView {
    fn of(snapshot: &Snapshot, mirror: &Mirror) -> MirroredView {
        let upstream = snapshot.upstream(mirror.upstream);
        MirroredView {
            namespace: upstream.map(|u| u.id.namespace.clone()).unwrap_or_default(),
            name: upstream.map(|u| u.id.service.clone()).unwrap_or_default(),
            port: upstream.map(|u| u.id.port).unwrap_or_default(),
            endpoints: upstream.map(super::endpoints).unwrap_or_default(),
        }
    }
}

impl CorsView {
    fn of(cors: &Cors) -> CorsView {
        let names = |names: &Names| match names {
            Names::Any => vec!["*".to_owned()],
            Names::Listed(names) => names.iter().map(ToString::to_string).collect(),
        };
        CorsView {
            allow_origins: match &cors.origins {
                Origins::Any => vec!["*".to_owned()],
                Origins::Listed(origins) => origins.iter().map(origin).collect(),
            },
            allow_credentials: cors.credentials,
            allow_methods: names(&cors.methods),
            allow_headers: names(&cors.headers),
            expose_headers: names(&cors.expose),
            max_age: cors.max_age,
        }
    }
}

fn origin(origin: &Origin) -> String {
    let host = origin.host.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
    let default = match &*origin.scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let port = origin.port.filter(|port| Some(*port) != default).map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", origin.scheme)
}

impl fmt::Display for FilterView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterView::RequestHeaderModifier(changes) => write!(f, "RequestHeaderModifier {changes}"),
            FilterView::ResponseHeaderModifier(changes) => write!(f, "ResponseHeaderModifier {changes}"),
            FilterView::UrlRewrite { hostname, path } => {
                let parts = [hostname.as_ref().map(|host| format!("host {host}")), path.as_ref().map(said)];
                write!(f, "URLRewrite {}", joined(parts))
            }
            FilterView::RequestMirror { backend, fraction } => {
                write!(f, "RequestMirror {fraction} -> {}/{}:{}", backend.namespace, backend.name, backend.port)?;
                if backend.endpoints.is_empty() { f.write_str(" (no endpoints)") } else { Ok(()) }
            }
            FilterView::RequestRedirect { status_code, .. } => {
                write!(f, "RequestRedirect {status_code}")?;
                self.leads_to().map_or(Ok(()), |to| write!(f, " {to}"))
            }
            FilterView::Cors(cors) => write!(f, "CORS {cors}"),
        }
    }
}

impl fmt::Display for ChangesView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |verb: &str, header: &HeaderView| format!("{verb} {}: {}", header.name, header.value);
        let set = self.set.iter().map(|header| pair("set", header));
        let add = self.add.iter().map(|header| pair("add", header));
        let remove = self.remove.iter().map(|name| format!("remove {name}"));
        f.write_str(&set.chain(add).chain(remove).collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for HeaderView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

impl fmt::Display for FractionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&percent(self.numerator, u64::from(self.denominator)))
    }
}

impl fmt::Display for CorsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
        let parts = [
            Some(self.allow_origins.join(", ")),
            list("methods", &self.allow_methods),
            list("headers", &self.allow_headers),
            list("expose", &self.expose_headers),
            self.allow_credentials.then(|| "with credentials".to_owned()),
            Some(format!("max age {} s", self.max_age)),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

fn said(path: &PathView) -> String {
    match path {
        PathView::ReplaceFullPath { replace_full_path } => format!("path {replace_full_path}"),
        PathView::ReplacePrefixMatch { matched_prefix, replace_prefix_match } => {
            format!("prefix {matched_prefix} -> {replace_prefix_match}")
        }
    }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
