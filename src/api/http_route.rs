//! `HTTPRoute`, v1.

use serde::{Deserialize, Serialize};

use super::common::{
    BackendObjectReference, BackendRef, LocalObjectReference, ParentReference, Resource, RouteStatus, open_enum,
};
use super::external_auth::HttpExternalAuthFilter;
use super::session_persistence::SessionPersistence;

/// `gateway.networking.k8s.io/HTTPRoute`.
pub type HttpRoute = Resource<HttpRouteSpec, RouteStatus>;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// Gateways to attach to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Experimental (GEP-3793).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<String>,
    /// Hosts; none takes every host of the listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// 1 to 16; default one rule with prefix `/` and no backend.
    #[serde(default = "default_rules")]
    pub rules: Vec<HttpRouteRule>,
}

/// `HTTPRouteRule`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Unique in the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Any of them; default prefix `/`.
    #[serde(default = "default_matches")]
    pub matches: Vec<HttpRouteMatch>,
    /// What is done to the request and the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
    /// Where it goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<HttpBackendRef>,
    /// Bounds in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpRouteTimeouts>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<HttpRouteRetry>,
    /// Experimental (GEP-1619).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

/// `HTTPRouteMatch`: all of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    /// Default prefix `/`.
    #[serde(default = "root_prefix", skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
    /// All of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeaderMatch>,
    /// All of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<HttpQueryParamMatch>,
    /// Exactly this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// `HTTPPathMatch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpPathMatch {
    /// Default `PathPrefix`.
    #[serde(rename = "type", default = "path_prefix")]
    pub kind: PathMatchType,
    /// Default `/`.
    #[serde(default = "slash")]
    pub value: String,
}

open_enum! {
    /// `PathMatchType`.
    PathMatchType { Exact = "Exact", PathPrefix = "PathPrefix", RegularExpression = "RegularExpression" }
}

open_enum! {
    /// `HeaderMatchType`, `QueryParamMatchType`.
    ValueMatchType { Exact = "Exact", RegularExpression = "RegularExpression" }
}

/// `HTTPHeaderMatch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeaderMatch {
    /// Default `Exact`.
    #[serde(rename = "type", default = "exact")]
    pub kind: ValueMatchType,
    /// Case-insensitive.
    pub name: String,
    /// Case-sensitive.
    pub value: String,
}

/// `HTTPQueryParamMatch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpQueryParamMatch {
    /// Default `Exact`.
    #[serde(rename = "type", default = "exact")]
    pub kind: ValueMatchType,
    /// Case-sensitive.
    pub name: String,
    /// Case-sensitive.
    pub value: String,
}

/// `HTTPBackendRef`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpBackendRef {
    /// Backend and weight.
    #[serde(flatten)]
    pub backend: BackendRef,
    /// Only when this backend is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
}

/// `HTTPRouteFilter`: `kind` says which of the other fields is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteFilter {
    /// Discriminator.
    #[serde(rename = "type")]
    pub kind: HttpRouteFilterType,
    /// `RequestHeaderModifier`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HttpHeaderFilter>,
    /// `ResponseHeaderModifier`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HttpHeaderFilter>,
    /// `RequestMirror`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<HttpRequestMirrorFilter>,
    /// `RequestRedirect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<HttpRequestRedirectFilter>,
    /// `URLRewrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<HttpUrlRewriteFilter>,
    /// `CORS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<HttpCorsFilter>,
    /// `ExternalAuth` (experimental, GEP-1494).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<HttpExternalAuthFilter>,
    /// `ExtensionRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension_ref: Option<LocalObjectReference>,
}

open_enum! {
    /// `HTTPRouteFilterType`.
    HttpRouteFilterType {
        RequestHeaderModifier = "RequestHeaderModifier",
        ResponseHeaderModifier = "ResponseHeaderModifier",
        RequestMirror = "RequestMirror",
        RequestRedirect = "RequestRedirect",
        UrlRewrite = "URLRewrite",
        Cors = "CORS",
        ExternalAuth = "ExternalAuth",
        ExtensionRef = "ExtensionRef",
    }
}

/// `HTTPHeaderFilter`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HttpHeaderFilter {
    /// Replace all values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HttpHeader>,
    /// Append a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HttpHeader>,
    /// Drop all values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// `HTTPHeader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Case-insensitive.
    pub name: String,
    /// As sent.
    pub value: String,
}

/// `HTTPRequestMirrorFilter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestMirrorFilter {
    /// Who gets the copy.
    pub backend_ref: BackendObjectReference,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// Instead of percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
}

/// `Fraction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fraction {
    /// 0 or more.
    pub numerator: i32,
    /// Default 100, at least 1.
    #[serde(default = "hundred")]
    pub denominator: i32,
}

/// `HTTPRequestRedirectFilter`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestRedirectFilter {
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Default the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Default the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
    /// Default by scheme, else the listener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// 301, 302 (default), 303, 307, 308.
    #[serde(default = "found", skip_serializing_if = "Option::is_none")]
    pub status_code: Option<i32>,
}

/// `HTTPURLRewriteFilter`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HttpUrlRewriteFilter {
    /// New Host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// New path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
}

/// `HTTPPathModifier`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathModifier {
    /// Discriminator: `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The whole path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// In place of the matched prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
}

/// `HTTPCORSFilter`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpCorsFilter {
    /// `scheme://host[:port]`, `*`, or with a wildcard host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<String>,
    /// Whether credentials may be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Methods or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Headers or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Headers or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// Seconds, default 5.
    #[serde(default = "five_seconds", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i32>,
}

/// `HTTPRouteTimeouts`: GEP-2257 durations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// From the full request to the answer; `0s` disables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Per try; at most `request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<String>,
}

/// `HTTPRouteRetry`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HttpRouteRetry {
    /// Status codes that are tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<i32>,
    /// Tries beside the first; default 1, 0 disables.
    #[serde(default = "one_attempt", skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
    /// Base interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<String>,
}

fn default_rules() -> Vec<HttpRouteRule> {
    vec![HttpRouteRule { matches: default_matches(), ..HttpRouteRule::default() }]
}

fn default_matches() -> Vec<HttpRouteMatch> {
    vec![HttpRouteMatch { path: root_prefix(), ..HttpRouteMatch::default() }]
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn root_prefix() -> Option<HttpPathMatch> {
    Some(HttpPathMatch { kind: PathMatchType::PathPrefix, value: slash() })
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn found() -> Option<i32> {
    Some(302)
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn five_seconds() -> Option<i32> {
    Some(5)
}

#[allow(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn one_attempt() -> Option<i32> {
    Some(1)
}

fn path_prefix() -> PathMatchType {
    PathMatchType::PathPrefix
}

pub(super) fn exact() -> ValueMatchType {
    ValueMatchType::Exact
}

fn slash() -> String {
    "/".to_owned()
}

fn hundred() -> i32 {
    100
}
