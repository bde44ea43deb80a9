//! `TCPRoute` and `UDPRoute`, v1.

use super::common::{OpaqueStatus, Resource};

/// `gateway.networking.k8s.io/TCPRoute`.
pub type TcpRoute = Resource<serde_json::Value, OpaqueStatus>;
/// `gateway.networking.k8s.io/UDPRoute`.
pub type UdpRoute = Resource<serde_json::Value, OpaqueStatus>;
