//! Status of a GatewayClass, and the table of what is claimed.

use super::condition::{ACCEPTED, TRUE, conclude, condition};
use super::{condition, generation};
use crate::api::gateway_class::{GatewayClassStatus, SupportedFeature};
use crate::translate::Settings;
use crate::translate::graph::class::ClassNode;

/// The Gateway API version whose objects are understood.
const VERSION: &str = "v1.7.0";

/// Names of the conformance suite's features that hold, ascending.
const FEATURES: &[&str] = &[
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
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
        supported_features: FEATURES.iter().map(|name| SupportedFeature { name: (*name).to_owned() }).collect(),
    }
}
