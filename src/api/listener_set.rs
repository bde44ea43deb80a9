//! `ListenerSet`, v1.

use super::common::{OpaqueStatus, Resource};

/// `gateway.networking.k8s.io/ListenerSet`.
pub type ListenerSet = Resource<serde_json::Value, OpaqueStatus>;
