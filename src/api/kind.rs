//! The kinds Transom knows, with their API groups, served versions and scope.

use std::fmt;

use serde::{Deserialize, Serialize};

/// API group of the Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// API group of the Gateway API's experimental kinds.
pub const GATEWAY_X_GROUP: &str = "gateway.networking.x-k8s.io";
/// Transom's own API group.
pub const TRANSOM_GROUP: &str = "transom.dev";

/// A kind of object that Transom holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// `gateway.networking.k8s.io/GatewayClass`, cluster-scoped.
    GatewayClass,
    /// `gateway.networking.k8s.io/Gateway`.
    Gateway,
    /// `gateway.networking.k8s.io/ListenerSet`.
    ListenerSet,
    /// `gateway.networking.k8s.io/HTTPRoute`.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// `gateway.networking.k8s.io/GRPCRoute`.
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
    /// `gateway.networking.k8s.io/TLSRoute`.
    #[serde(rename = "TLSRoute")]
    TlsRoute,
    /// `gateway.networking.k8s.io/TCPRoute`.
    #[serde(rename = "TCPRoute")]
    TcpRoute,
    /// `gateway.networking.k8s.io/UDPRoute`.
    #[serde(rename = "UDPRoute")]
    UdpRoute,
    /// `gateway.networking.k8s.io/ReferenceGrant`.
    ReferenceGrant,
    /// `gateway.networking.k8s.io/BackendTLSPolicy`.
    #[serde(rename = "BackendTLSPolicy")]
    BackendTlsPolicy,
    /// `transom.dev/UpstreamPolicy`, of Transom itself.
    UpstreamPolicy,
    /// `v1/Namespace`, cluster-scoped.
    Namespace,
    /// `v1/Service`.
    Service,
    /// `discovery.k8s.io/v1/EndpointSlice`.
    EndpointSlice,
    /// `v1/Secret`.
    Secret,
    /// `v1/ConfigMap`.
    ConfigMap,
}

impl Kind {
    /// Every kind, in the order of the data flow.
    pub const ALL: [Kind; 16] = [
        Kind::GatewayClass,
        Kind::Gateway,
        Kind::ListenerSet,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::TlsRoute,
        Kind::TcpRoute,
        Kind::UdpRoute,
        Kind::ReferenceGrant,
        Kind::BackendTlsPolicy,
        Kind::UpstreamPolicy,
        Kind::Namespace,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Secret,
        Kind::ConfigMap,
    ];

    /// The kind of this group and name, in any version.
    #[must_use]
    pub fn find(group: &str, kind: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.group() == group && k.name() == kind)
    }

    /// The API group; empty for the core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Kind::Namespace | Kind::Service | Kind::Secret | Kind::ConfigMap => "",
            Kind::EndpointSlice => "discovery.k8s.io",
            Kind::UpstreamPolicy => TRANSOM_GROUP,
            _ => GATEWAY_GROUP,
        }
    }

    /// The name as written in `kind:`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::GatewayClass => "GatewayClass",
            Kind::Gateway => "Gateway",
            Kind::ListenerSet => "ListenerSet",
            Kind::HttpRoute => "HTTPRoute",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::TlsRoute => "TLSRoute",
            Kind::TcpRoute => "TCPRoute",
            Kind::UdpRoute => "UDPRoute",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::BackendTlsPolicy => "BackendTLSPolicy",
            Kind::UpstreamPolicy => "UpstreamPolicy",
            Kind::Namespace => "Namespace",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Secret => "Secret",
            Kind::ConfigMap => "ConfigMap",
        }
    }

    /// The name in paths of an API server.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Kind::GatewayClass => "gatewayclasses",
            Kind::Gateway => "gateways",
            Kind::ListenerSet => "listenersets",
            Kind::HttpRoute => "httproutes",
            Kind::GrpcRoute => "grpcroutes",
            Kind::TlsRoute => "tlsroutes",
            Kind::TcpRoute => "tcproutes",
            Kind::UdpRoute => "udproutes",
            Kind::ReferenceGrant => "referencegrants",
            Kind::BackendTlsPolicy => "backendtlspolicies",
            Kind::UpstreamPolicy => "upstreampolicies",
            Kind::Namespace => "namespaces",
            Kind::Service => "services",
            Kind::EndpointSlice => "endpointslices",
            Kind::Secret => "secrets",
            Kind::ConfigMap => "configmaps",
        }
    }

    /// The versions understood, newest first. Older ones have the same shape (gateway-api.md 1.1).
    #[must_use]
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Kind::GatewayClass | Kind::Gateway | Kind::HttpRoute | Kind::ReferenceGrant => &["v1", "v1beta1"],
            Kind::TlsRoute => &["v1", "v1alpha3", "v1alpha2"],
            Kind::BackendTlsPolicy => &["v1", "v1alpha3"],
            Kind::UpstreamPolicy => &["v1alpha1"],
            Kind::TcpRoute | Kind::UdpRoute => &["v1", "v1alpha2"],
            _ => &["v1"],
        }
    }

    /// Whether objects of this kind may have a status of ours.
    #[must_use]
    pub fn has_status(self) -> bool {
        !matches!(
            self,
            Kind::ReferenceGrant
                | Kind::Namespace
                | Kind::Service
                | Kind::EndpointSlice
                | Kind::Secret
                | Kind::ConfigMap
        )
    }

    /// Whether objects of this kind live in a namespace.
    #[must_use]
    pub fn namespaced(self) -> bool {
        !matches!(self, Kind::GatewayClass | Kind::Namespace)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
