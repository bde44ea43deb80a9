//! `BackendTLSPolicy`, v1.

use super::common::{OpaqueStatus, Resource};

/// `gateway.networking.k8s.io/BackendTLSPolicy`.
pub type BackendTlsPolicy = Resource<serde_json::Value, OpaqueStatus>;
