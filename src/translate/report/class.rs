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
    "GatewayAddressRoutability",
    "GatewayAddressRoutabilityCluster",
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

/// On the host of a cluster nothing is made for a Gateway that could carry its labels or has an address of the cluster,
/// and an address that is asked for is that of one node only: the others cannot have it.
fn holds(feature: &str, settings: &Settings) -> bool {
    match feature {
        "GatewayInfrastructure" | "GatewayAddressRoutability" | "GatewayAddressRoutabilityCluster" => {
            settings.exposure == Exposure::Service
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::{Binds, Fleet};

    fn claimed(origin: Origin, exposure: Exposure) -> Vec<&'static str> {
        let settings = Settings {
            controller_name: "c/c".to_owned(),
            origin,
            binds: Binds::Assumed,
            port_offset: 0,
            exposure,
            publish_addresses: Vec::new(),
            fleet: Fleet::Alone,
        };
        features(&settings).collect()
    }

    #[test]
    fn what_an_exposure_cannot_do_is_not_claimed() {
        let has = |origin, exposure| {
            let claimed = claimed(origin, exposure);
            let names = ["GatewayInfrastructure", "GatewayAddressRoutability", "GatewayAddressRoutabilityCluster"];
            assert!(names.windows(2).all(|pair| claimed.contains(&pair[0]) == claimed.contains(&pair[1])));
            ["GatewayInfrastructure", "GatewayStaticAddresses", "GatewayAddressEmpty"]
                .map(|name| claimed.contains(&name))
        };
        assert_eq!(claimed(Origin::Kubernetes, Exposure::Service), FEATURES);
        assert_eq!(has(Origin::Kubernetes, Exposure::Host), [false, false, true]);
        assert_eq!(has(Origin::Files, Exposure::Host), [false, true, true]);
    }
}
