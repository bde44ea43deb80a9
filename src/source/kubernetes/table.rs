//! The one table of watches: which objects of a kind are asked for. Every kind is watched.

use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};

use super::Selectors;
use crate::api::Kind;

/// A kind in this version, as an API server knows it.
pub fn resource(kind: Kind, version: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group(), version, kind.name());
    ApiResource::from_gvk_with_plural(&gvk, kind.plural())
}

/// Its objects in a namespace, or (`None`) everywhere.
pub fn api(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        None => Api::all_with(client.clone(), resource),
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
    }
}

/// Labels that objects must have to be seen at all.
pub fn labels(kind: Kind, selectors: &Selectors) -> Option<&str> {
    match kind {
        Kind::GatewayClass => selectors.gateway_classes.as_deref(),
        Kind::Gateway => selectors.gateways.as_deref(),
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => {
            selectors.routes.as_deref()
        }
        _ => None,
    }
}

/// Fields that objects must have.
pub fn fields(kind: Kind) -> Option<&'static str> {
    match kind {
        // Helm's releases and tokens of service accounts: none of our business, and many
        Kind::Secret => Some("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"),
        _ => None,
    }
}
