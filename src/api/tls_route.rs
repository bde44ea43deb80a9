//! `TLSRoute`, v1: chosen by SNI, passed through or terminated.

use serde::{Deserialize, Serialize};

use super::common::{ParentReference, Resource, RouteStatus};
use super::l4_route::L4RouteRule;

/// `gateway.networking.k8s.io/TLSRoute`.
pub type TlsRoute = Resource<TlsRouteSpec, RouteStatus>;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    /// Gateways to attach to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Experimental (GEP-3793).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<String>,
    /// Server names; required since v1alpha3, none (v1alpha2) takes every name of the listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// `TLSRouteRule`; exactly one.
    pub rules: Vec<L4RouteRule>,
}
