//! `HTTPExternalAuthFilter` (experimental, GEP-1494), of HTTPRoutes and listeners.

use serde::{Deserialize, Serialize};

use super::common::{BackendObjectReference, open_enum};

/// `HTTPExternalAuthFilter`: who is asked whether a request may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpExternalAuthFilter {
    /// How the authorization service is spoken to.
    pub protocol: HttpExternalAuthProtocol,
    /// The authorization service.
    pub backend_ref: BackendObjectReference,
    /// With protocol `GRPC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAuthConfig>,
    /// With protocol `HTTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpAuthConfig>,
    /// Whether the request's body is sent along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_body: Option<ForwardBodyConfig>,
}

open_enum! {
    /// `HTTPRouteExternalAuthProtocol`.
    HttpExternalAuthProtocol { Http = "HTTP", Grpc = "GRPC" }
}

/// `GRPCAuthConfig`: Envoy's `ext_authz` protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcAuthConfig {
    /// Headers sent along; none sends all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
}

/// `HTTPAuthConfig`: a plain request, 200 lets pass.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuthConfig {
    /// Put before the request's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Headers sent beside those that always are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
    /// Headers of the answer that are added to the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_response_headers: Vec<String>,
}

/// `ForwardBodyConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardBodyConfig {
    /// Bytes; none or 0 forwards no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<i32>,
}
