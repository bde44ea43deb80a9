//! `GRPCRoute`, v1.

use super::common::{OpaqueStatus, Resource};

/// `gateway.networking.k8s.io/GRPCRoute`.
pub type GrpcRoute = Resource<serde_json::Value, OpaqueStatus>;
