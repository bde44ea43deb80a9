//! GROUND. The vocabulary of Kubernetes and Gateway API objects: types only, one file per kind.
//!
//! What comes in: nothing. What goes out: types that every other room of wing A speaks. A type is named as
//! the specification names it, and one concept of the specification is one type. Core kinds (Service,
//! EndpointSlice, Secret, ConfigMap, Namespace) are `k8s-openapi`'s. This room knows no I/O, no validation
//! (the API server or `source/` does that before an object gets here) and no meaning (`translate/` does).

pub mod backend_tls_policy;
pub mod common;
pub mod external_auth;
pub mod gateway;
pub mod gateway_class;
pub mod grpc_route;
pub mod http_route;
pub mod kind;
pub mod l4_route;
pub mod label;
pub mod listener_set;
pub mod object;
pub mod reference_grant;
pub mod seen;
pub mod session_persistence;
pub mod tls_route;
pub mod upstream_policy;

pub use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
pub use k8s_openapi::api::discovery::v1::EndpointSlice;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

pub use common::{
    BackendObjectReference, BackendRef, Condition, LocalObjectReference, ParentReference, ParentRouteStatus, Resource,
    RouteStatus, SecretObjectReference,
};
pub use kind::Kind;
pub use object::{Object, ObjectKey, ObjectRef};
pub use seen::{Seen, Sighting};
