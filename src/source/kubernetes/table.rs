//! The one table of watches: each kind with its plural and whether a cluster may lack it.

use kube::core::{ApiResource, GroupVersionKind};

use super::Selectors;
use crate::api::Kind;

/// A kind to watch.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The kind.
    pub kind: Kind,
    /// Its name in paths.
    pub plural: &'static str,
}

/// Every kind that is watched, in the order of the data flow.
pub const TABLE: &[Row] = &[
    Row { kind: Kind::GatewayClass, plural: "gatewayclasses" },
    Row { kind: Kind::Gateway, plural: "gateways" },
    Row { kind: Kind::ListenerSet, plural: "listenersets" },
    Row { kind: Kind::HttpRoute, plural: "httproutes" },
    Row { kind: Kind::GrpcRoute, plural: "grpcroutes" },
    Row { kind: Kind::TlsRoute, plural: "tlsroutes" },
    Row { kind: Kind::TcpRoute, plural: "tcproutes" },
    Row { kind: Kind::UdpRoute, plural: "udproutes" },
    Row { kind: Kind::ReferenceGrant, plural: "referencegrants" },
    Row { kind: Kind::BackendTlsPolicy, plural: "backendtlspolicies" },
    Row { kind: Kind::Namespace, plural: "namespaces" },
    Row { kind: Kind::Service, plural: "services" },
    Row { kind: Kind::EndpointSlice, plural: "endpointslices" },
    Row { kind: Kind::Secret, plural: "secrets" },
    Row { kind: Kind::ConfigMap, plural: "configmaps" },
];

impl Row {
    /// The resource in this version.
    pub fn resource(self, version: &str) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.kind.group(), version, self.kind.name());
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }

    /// Labels that objects must have to be seen at all.
    pub fn selector(self, selectors: &Selectors) -> Option<&str> {
        match self.kind {
            Kind::GatewayClass => selectors.gateway_classes.as_deref(),
            Kind::Gateway => selectors.gateways.as_deref(),
            Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => {
                selectors.routes.as_deref()
            }
            _ => None,
        }
    }

    /// Fields that objects must have: Secrets of other types are never asked for.
    pub fn fields(self) -> Option<&'static str> {
        match self.kind {
            // Helm's releases, tokens of service accounts: none of our business, and large
            Kind::Secret => Some("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_watched_once_in_the_order_of_the_flow() {
        assert!(TABLE.iter().map(|row| row.kind).eq(Kind::ALL));
    }
}
