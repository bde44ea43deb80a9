//! Status of a GatewayClass, and the table of what is claimed.

use super::condition::{ACCEPTED, TRUE, conclude, condition};
use super::{condition, generation};
use crate::api::gateway_class::{GatewayClassStatus, SupportedFeature};
use crate::translate::graph::class::ClassNode;
use crate::translate::{Exposure, Origin, Settings};

/// The Gateway API version whose objects are understood.
const VERSION: &str = "v1.7.0";

/// Names of the conformance suite's features that hold, ascending; see [`holds`].
const FEATURES: &[&str] = &[
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetryCodes",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
];

/// Those that hold as listeners are exposed.
fn features(settings: &Settings) -> impl Iterator<Item = &'static str> {
    FEATURES.iter().copied().filter(|name| holds(name, settings))
}

/// On the host of a cluster nothing is made for a Gateway that could carry its labels, and an address that is asked
/// for is that of one node only: the others cannot have it.
fn holds(feature: &str, settings: &Settings) -> bool {
    match feature {
        "GatewayInfrastructure" => settings.exposure == Exposure::Service,
        "GatewayStaticAddresses" => settings.exposure == Exposure::Service || settings.origin == Origin::Files,
        _ => true,
    }
}

/// Accepted, SupportedVersion, and the features.
pub fn status(node: &ClassNode<'_>, settings: &Settings) -> GatewayClassStatus {
    let generation = generation(&node.class.metadata, settings);
    let told: Vec<_> = node.problem.iter().map(condition::class).collect();
    let understood = format!("objects of Gateway API {VERSION} are understood");
    GatewayClassStatus {
        conditions: vec![
            conclude(ACCEPTED, &told, ("Accepted", "accepted"), generation),
            condition("SupportedVersion", TRUE, "SupportedVersion", understood, generation),
        ],
        supported_features: features(settings).map(|name| SupportedFeature { name: (*name).to_owned() }).collect(),
    }
}
