//! What a route asks for, whatever its kind: HTTPRoute and GRPCRoute in the same words, so that everything behind reads
//! both by one code path. In come objects, out go views of them; nothing is judged here.

use crate::api::common::{BackendRef, LocalObjectReference};
use crate::api::grpc_route::{
    GrpcBackendRef, GrpcRoute, GrpcRouteFilter, GrpcRouteFilterType, GrpcRouteMatch, GrpcRouteRule,
};
use crate::api::http_route::{
    HttpBackendRef, HttpCorsFilter, HttpHeaderFilter, HttpRequestMirrorFilter, HttpRequestRedirectFilter, HttpRoute,
    HttpRouteFilter, HttpRouteFilterType, HttpRouteMatch, HttpRouteRetry, HttpRouteRule, HttpRouteTimeouts,
    HttpUrlRewriteFilter,
};
use crate::api::{BackendObjectReference, Kind, ObjectMeta, ParentReference};

/// A route.
#[derive(Debug, Clone, Copy)]
pub enum RouteAsked<'a> {
    /// An HTTPRoute.
    Http(&'a HttpRoute),
    /// A GRPCRoute.
    Grpc(&'a GrpcRoute),
}

/// A rule of a route.
#[derive(Debug, Clone, Copy)]
pub enum RuleAsked<'a> {
    /// Of an HTTPRoute.
    Http(&'a HttpRouteRule),
    /// Of a GRPCRoute.
    Grpc(&'a GrpcRouteRule),
    /// That of a GRPCRoute without any.
    Empty,
}

/// What a rule takes.
#[derive(Debug, Clone, Copy)]
pub enum MatchesAsked<'a> {
    /// Requests.
    Http(&'a [HttpRouteMatch]),
    /// Calls.
    Grpc(&'a [GrpcRouteMatch]),
}

/// A list of filters.
#[derive(Debug, Clone, Copy)]
pub enum FiltersAsked<'a> {
    /// Of an HTTPRoute.
    Http(&'a [HttpRouteFilter]),
    /// Of a GRPCRoute.
    Grpc(&'a [GrpcRouteFilter]),
}

/// A backendRef and its filters.
#[derive(Debug, Clone, Copy)]
pub struct BackendAsked<'a> {
    /// Backend and weight.
    pub backend: &'a BackendRef,
    /// Only when this backend is chosen.
    pub filters: FiltersAsked<'a>,
}

/// A filter. Of the fields the one of its type is to be given.
#[derive(Debug, Clone, Copy)]
pub struct FilterAsked<'a> {
    /// What it is; none is a type that its kind of route does not know.
    pub kind: Option<&'a HttpRouteFilterType>,
    /// Its type, as it is written.
    pub name: &'a str,
    /// `requestHeaderModifier`.
    pub request_header_modifier: Option<&'a HttpHeaderFilter>,
    /// `responseHeaderModifier`.
    pub response_header_modifier: Option<&'a HttpHeaderFilter>,
    /// `requestMirror`.
    pub request_mirror: Option<&'a HttpRequestMirrorFilter>,
    /// `requestRedirect`.
    pub request_redirect: Option<&'a HttpRequestRedirectFilter>,
    /// `urlRewrite`.
    pub url_rewrite: Option<&'a HttpUrlRewriteFilter>,
    /// `cors`.
    pub cors: Option<&'a HttpCorsFilter>,
    /// Whether `externalAuth` is given.
    pub external_auth: bool,
    /// `extensionRef`.
    pub extension_ref: Option<&'a LocalObjectReference>,
}

impl<'a> RouteAsked<'a> {
    /// Its kind.
    pub fn kind(self) -> Kind {
        match self {
            RouteAsked::Http(_) => Kind::HttpRoute,
            RouteAsked::Grpc(_) => Kind::GrpcRoute,
        }
    }

    /// Its metadata.
    pub fn metadata(self) -> &'a ObjectMeta {
        match self {
            RouteAsked::Http(route) => &route.metadata,
            RouteAsked::Grpc(route) => &route.metadata,
        }
    }

    /// What it wants to attach to.
    pub fn parent_refs(self) -> &'a [ParentReference] {
        match self {
            RouteAsked::Http(route) => &route.spec.parent_refs,
            RouteAsked::Grpc(route) => &route.spec.parent_refs,
        }
    }

    /// `useDefaultGateways`.
    pub fn default_gateways(self) -> Option<&'a str> {
        match self {
            RouteAsked::Http(route) => route.spec.use_default_gateways.as_deref(),
            RouteAsked::Grpc(route) => route.spec.use_default_gateways.as_deref(),
        }
    }

    /// Its hosts.
    pub fn hostnames(self) -> &'a [String] {
        match self {
            RouteAsked::Http(route) => &route.spec.hostnames,
            RouteAsked::Grpc(route) => &route.spec.hostnames,
        }
    }

    /// Its rules. An HTTPRoute without any is given one that takes everything and has no backend, by its CRD; a
    /// GRPCRoute is read alike.
    pub fn rules(self) -> impl Iterator<Item = RuleAsked<'a>> {
        let (http, grpc, empty) = match self {
            RouteAsked::Http(route) => (&route.spec.rules[..], &[][..], None),
            RouteAsked::Grpc(route) if route.spec.rules.is_empty() => (&[][..], &[][..], Some(RuleAsked::Empty)),
            RouteAsked::Grpc(route) => (&[][..], &route.spec.rules[..], None),
        };
        http.iter().map(RuleAsked::Http).chain(grpc.iter().map(RuleAsked::Grpc)).chain(empty)
    }

    /// Everything that it refers to: what it forwards to, and what it mirrors to, in a rule or for one backend.
    pub fn references(self) -> impl Iterator<Item = &'a BackendObjectReference> {
        let mirrors =
            |filters: FiltersAsked<'a>| filters.iter().filter_map(|filter| Some(&filter.request_mirror?.backend_ref));
        self.rules().flat_map(move |rule| {
            let shares = rule
                .backends()
                .flat_map(move |asked| std::iter::once(&asked.backend.object).chain(mirrors(asked.filters)));
            mirrors(rule.filters()).chain(shares)
        })
    }
}

impl<'a> RuleAsked<'a> {
    /// Its name.
    pub fn name(self) -> Option<&'a str> {
        match self {
            RuleAsked::Http(rule) => rule.name.as_deref(),
            RuleAsked::Grpc(rule) => rule.name.as_deref(),
            RuleAsked::Empty => None,
        }
    }

    /// What it takes.
    pub fn matches(self) -> MatchesAsked<'a> {
        match self {
            RuleAsked::Http(rule) => MatchesAsked::Http(&rule.matches),
            RuleAsked::Grpc(rule) => MatchesAsked::Grpc(&rule.matches),
            RuleAsked::Empty => MatchesAsked::Grpc(&[]),
        }
    }

    /// What is done on the way.
    pub fn filters(self) -> FiltersAsked<'a> {
        match self {
            RuleAsked::Http(rule) => FiltersAsked::Http(&rule.filters),
            RuleAsked::Grpc(rule) => FiltersAsked::Grpc(&rule.filters),
            RuleAsked::Empty => FiltersAsked::Grpc(&[]),
        }
    }

    /// Where it goes.
    pub fn backends(self) -> impl Iterator<Item = BackendAsked<'a>> + Clone {
        let (http, grpc) = match self {
            RuleAsked::Http(rule) => (&rule.backend_refs[..], &[][..]),
            RuleAsked::Grpc(rule) => (&[][..], &rule.backend_refs[..]),
            RuleAsked::Empty => (&[][..], &[][..]),
        };
        let http = http
            .iter()
            .map(|HttpBackendRef { backend, filters }| BackendAsked { backend, filters: FiltersAsked::Http(filters) });
        http.chain(
            grpc.iter().map(|GrpcBackendRef { backend, filters }| BackendAsked {
                backend,
                filters: FiltersAsked::Grpc(filters),
            }),
        )
    }

    /// Bounds in time.
    pub fn timeouts(self) -> Option<&'a HttpRouteTimeouts> {
        if let RuleAsked::Http(rule) = self { rule.timeouts.as_ref() } else { None }
    }

    /// When it is sent again.
    pub fn retry(self) -> Option<&'a HttpRouteRetry> {
        if let RuleAsked::Http(rule) = self { rule.retry.as_ref() } else { None }
    }

    /// Whether it asks for `sessionPersistence`.
    pub fn session_persistence(self) -> bool {
        match self {
            RuleAsked::Http(rule) => rule.session_persistence.is_some(),
            RuleAsked::Grpc(rule) => rule.session_persistence.is_some(),
            RuleAsked::Empty => false,
        }
    }
}

impl MatchesAsked<'_> {
    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            MatchesAsked::Http(matches) => matches.len(),
            MatchesAsked::Grpc(matches) => matches.len(),
        }
    }
}

impl<'a> FiltersAsked<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        match self {
            FiltersAsked::Http(filters) => filters.len(),
            FiltersAsked::Grpc(filters) => filters.len(),
        }
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = FilterAsked<'a>> + Clone {
        let (http, grpc) = match self {
            FiltersAsked::Http(filters) => (filters, &[][..]),
            FiltersAsked::Grpc(filters) => (&[][..], filters),
        };
        http.iter().map(FilterAsked::http).chain(grpc.iter().map(FilterAsked::grpc))
    }
}

impl<'a> FilterAsked<'a> {
    fn http(filter: &'a HttpRouteFilter) -> Self {
        FilterAsked {
            kind: Some(&filter.kind),
            name: filter.kind.as_str(),
            request_header_modifier: filter.request_header_modifier.as_ref(),
            response_header_modifier: filter.response_header_modifier.as_ref(),
            request_mirror: filter.request_mirror.as_ref(),
            request_redirect: filter.request_redirect.as_ref(),
            url_rewrite: filter.url_rewrite.as_ref(),
            cors: filter.cors.as_ref(),
            external_auth: filter.external_auth.is_some(),
            extension_ref: filter.extension_ref.as_ref(),
        }
    }

    fn grpc(filter: &'a GrpcRouteFilter) -> Self {
        FilterAsked {
            kind: match &filter.kind {
                GrpcRouteFilterType::RequestHeaderModifier => Some(&HttpRouteFilterType::RequestHeaderModifier),
                GrpcRouteFilterType::ResponseHeaderModifier => Some(&HttpRouteFilterType::ResponseHeaderModifier),
                GrpcRouteFilterType::RequestMirror => Some(&HttpRouteFilterType::RequestMirror),
                GrpcRouteFilterType::ExtensionRef => Some(&HttpRouteFilterType::ExtensionRef),
                GrpcRouteFilterType::Other(_) => None,
            },
            name: filter.kind.as_str(),
            request_header_modifier: filter.request_header_modifier.as_ref(),
            response_header_modifier: filter.response_header_modifier.as_ref(),
            request_mirror: filter.request_mirror.as_ref(),
            request_redirect: None,
            url_rewrite: None,
            cors: None,
            external_auth: false,
            extension_ref: filter.extension_ref.as_ref(),
        }
    }
}
