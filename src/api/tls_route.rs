//! `TLSRoute`, v1.

use super::common::{OpaqueStatus, Resource};

/// `gateway.networking.k8s.io/TLSRoute`.
pub type TlsRoute = Resource<serde_json::Value, OpaqueStatus>;
