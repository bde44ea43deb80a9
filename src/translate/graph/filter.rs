//! Filters of a rule and of its backendRefs: one reading for both lists. What is not served, or cannot be, is a
//! problem of the rule or of the share, which then answers 500. Never skipped: "An ExtensionRef that cannot be
//! resolved, or an unknown filter, must never be skipped" (gateway-api.md 6.5).

use super::asked::{FilterAsked, FiltersAsked};
use super::filter_fault::{FilterFault, FilterList, FilterPlace};
use super::header::{self, Message};
use super::mirror::{self, MirrorNode};
use super::problem::RouteProblem;
use super::reading::Reading;
use super::url::Prefixes;
use super::{cors, url};
use crate::api::http_route::HttpRouteFilterType;
use crate::snapshot::{Filter, Redirect};

/// A filter that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterNode {
    /// One that refers to nothing.
    Plain(Filter),
    /// A mirror, which refers to an upstream.
    Mirror(MirrorNode),
}

/// What a list of filters comes to.
#[derive(Debug, Default)]
pub struct FilterNodes {
    /// In the order of the route, without those that do nothing.
    pub filters: Vec<FilterNode>,
    /// The redirect, which is all that its rule does.
    pub redirect: Option<Redirect>,
}

/// Filters that may stand once in a list.
const ONCE: &[HttpRouteFilterType] = &[
    HttpRouteFilterType::RequestHeaderModifier,
    HttpRouteFilterType::ResponseHeaderModifier,
    HttpRouteFilterType::RequestRedirect,
    HttpRouteFilterType::UrlRewrite,
    HttpRouteFilterType::Cors,
];

/// Reads one list. `forwards` says whether its rule has backendRefs.
pub fn read<'a>(
    asked: FiltersAsked<'a>,
    list: FilterList,
    forwards: bool,
    prefixes: Prefixes,
    reading: &mut Reading<'_, 'a>,
) -> FilterNodes {
    let mut nodes = FilterNodes::default();
    if asked.len() == 0 {
        return nodes;
    }
    if let Some((first, second)) = incompatible(asked, forwards) {
        reading.problems.push(RouteProblem::IncompatibleFilters { list, first, second });
    }
    nodes.filters.reserve_exact(asked.len());
    for (index, filter) in asked.iter().enumerate() {
        let place = FilterPlace { list, index, kind: filter.name };
        for stray in strays(&filter) {
            reading.fault(place, FilterFault::Stray(stray));
        }
        match one(filter, place, prefixes, reading) {
            Ok(Outcome::Filter(node)) => nodes.filters.push(node),
            Ok(Outcome::Redirect(redirect)) => nodes.redirect = Some(redirect),
            Ok(Outcome::Nothing) => {}
            Err(fault) => reading.fault(place, fault),
        }
    }
    nodes
}

/// What one filter comes to.
enum Outcome {
    Filter(FilterNode),
    Redirect(Redirect),
    /// It asks for no change, or is a mirror that is left out.
    Nothing,
}

fn one<'a>(
    filter: FilterAsked<'a>,
    place: FilterPlace<'a>,
    prefixes: Prefixes,
    reading: &mut Reading<'_, 'a>,
) -> Result<Outcome, FilterFault<'a>> {
    use HttpRouteFilterType as Type;
    let missing = |field| FilterFault::Missing(field);
    Ok(match filter.kind.ok_or(FilterFault::UnknownType)? {
        Type::RequestHeaderModifier => {
            let asked = filter.request_header_modifier.ok_or(missing("requestHeaderModifier"))?;
            let changes = header::changes(asked, Message::Request, place, reading);
            plain(changes, Filter::RequestHeaders)
        }
        Type::ResponseHeaderModifier => {
            let asked = filter.response_header_modifier.ok_or(missing("responseHeaderModifier"))?;
            let changes = header::changes(asked, Message::Response, place, reading);
            plain(changes, Filter::ResponseHeaders)
        }
        Type::UrlRewrite => {
            let asked = filter.url_rewrite.ok_or(missing("urlRewrite"))?;
            plain(url::rewrite(asked, prefixes, place, reading), Filter::Rewrite)
        }
        Type::RequestMirror => {
            let asked = filter.request_mirror.ok_or(missing("requestMirror"))?;
            let mirror = mirror::read(asked, place, reading).map(FilterNode::Mirror);
            mirror.map_or(Outcome::Nothing, Outcome::Filter)
        }
        // A preflight is answered before a share is drawn, so a share cannot answer it. A redirect there has no
        // feature: "BackendRequestRedirect never made a release" (gateway-api.md 3.3).
        Type::Cors | Type::RequestRedirect if place.list.backend.is_some() => return Err(FilterFault::RuleOnly),
        Type::Cors => {
            let asked = filter.cors.ok_or(missing("cors"))?;
            Outcome::Filter(FilterNode::Plain(Filter::Cors(Box::new(cors::read(asked, place, reading)))))
        }
        Type::RequestRedirect => {
            let asked = filter.request_redirect.ok_or(missing("requestRedirect"))?;
            Outcome::Redirect(url::redirect(asked, prefixes, place, reading))
        }
        Type::ExternalAuth => return Err(FilterFault::NotServed),
        Type::ExtensionRef => {
            let reference = filter.extension_ref.ok_or(missing("extensionRef"))?;
            return Err(FilterFault::Extension(reference));
        }
        Type::Other(_) => return Err(FilterFault::UnknownType),
    })
}

/// A filter, unless it asks for no change.
fn plain<T: Default + PartialEq>(asked: T, filter: impl FnOnce(T) -> Filter) -> Outcome {
    if asked == T::default() { Outcome::Nothing } else { Outcome::Filter(FilterNode::Plain(filter(asked))) }
}

/// Fields that belong to other types than the filter's.
fn strays(filter: &FilterAsked<'_>) -> impl Iterator<Item = &'static str> {
    use HttpRouteFilterType as Type;
    let fields = [
        (Type::RequestHeaderModifier, "requestHeaderModifier", filter.request_header_modifier.is_some()),
        (Type::ResponseHeaderModifier, "responseHeaderModifier", filter.response_header_modifier.is_some()),
        (Type::RequestMirror, "requestMirror", filter.request_mirror.is_some()),
        (Type::RequestRedirect, "requestRedirect", filter.request_redirect.is_some()),
        (Type::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (Type::Cors, "cors", filter.cors.is_some()),
        (Type::ExternalAuth, "externalAuth", filter.external_auth),
        (Type::ExtensionRef, "extensionRef", filter.extension_ref.is_some()),
    ];
    let own = filter.kind;
    let strays = fields.into_iter().filter(move |(kind, _, given)| *given && Some(kind) != own);
    strays.map(|(_, field, _)| field)
}

/// Two filters that cannot stand together, or a redirect where there is a backend.
fn incompatible<'a>(filters: FiltersAsked<'_>, forwards: bool) -> Option<(&'a str, &'a str)> {
    let count = |kind: &HttpRouteFilterType| filters.iter().filter(|filter| filter.kind == Some(kind)).count();
    let redirect = count(&HttpRouteFilterType::RequestRedirect) > 0;
    if redirect && count(&HttpRouteFilterType::UrlRewrite) > 0 {
        return Some(("RequestRedirect", "URLRewrite"));
    }
    if redirect && forwards {
        return Some(("RequestRedirect", "backendRefs"));
    }
    let twice = ONCE.iter().find(|kind| count(kind) > 1)?;
    Some((twice.as_str(), twice.as_str()))
}
