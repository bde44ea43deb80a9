//! `TCPRoute` and `UDPRoute`, v1: every connection or datagram session of a listener.

use serde::{Deserialize, Serialize};

use super::common::{BackendRef, ParentReference, Resource, RouteStatus};

/// `gateway.networking.k8s.io/TCPRoute`.
pub type TcpRoute = Resource<L4RouteSpec, RouteStatus>;
/// `gateway.networking.k8s.io/UDPRoute`.
pub type UdpRoute = Resource<L4RouteSpec, RouteStatus>;

/// `TCPRouteSpec`, `UDPRouteSpec`: what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct L4RouteSpec {
    /// Gateways to attach to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Experimental (GEP-3793).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<String>,
    /// Exactly one.
    pub rules: Vec<L4RouteRule>,
}

/// `TCPRouteRule`, `UDPRouteRule`, `TLSRouteRule`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct L4RouteRule {
    /// Unique in the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it goes; at least one.
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
}
