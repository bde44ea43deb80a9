//! `UpstreamPolicy`, v1alpha1: Transom's own kind. How the endpoints of a Service are chosen, watched, left out and
//! connected to, where the Gateway API has no field for it.
//!
//! The schema is `config/crd/upstreampolicies.yaml`; `tests/api_round_trip.rs` holds both together. Target and status
//! are those of `BackendTLSPolicy`.

use serde::{Deserialize, Serialize};

use super::backend_tls_policy::{LocalPolicyTargetReferenceWithSectionName, PolicyStatus};
use super::common::{Resource, open_enum};

/// `transom.dev/UpstreamPolicy`.
pub type UpstreamPolicy = Resource<UpstreamPolicySpec, PolicyStatus>;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamPolicySpec {
    /// 1 to 16 Services of the policy's namespace, or ports of them.
    pub target_refs: Vec<LocalPolicyTargetReferenceWithSectionName>,
    /// How an endpoint is chosen; default `LeastRequest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
    /// Active checks of each endpoint; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// When an endpoint that fails is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    /// Of connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<UpstreamTimeouts>,
    /// How many connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancing {
    /// Default `LeastRequest`.
    #[serde(rename = "type", default = "least_request")]
    pub kind: LoadBalancingType,
    /// With `ConsistentHash`, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistent_hash: Option<ConsistentHash>,
}

open_enum! {
    /// The ways of choosing an endpoint.
    LoadBalancingType { LeastRequest = "LeastRequest", RoundRobin = "RoundRobin", ConsistentHash = "ConsistentHash" }
}

/// What requests that go to one endpoint have in common. Exactly the member that the type names is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistentHash {
    /// Discriminator.
    #[serde(rename = "type")]
    pub kind: ConsistentHashType,
    /// With `Header`: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// With `Cookie`: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

open_enum! {
    /// What is hashed.
    ConsistentHashType { Header = "Header", Cookie = "Cookie", ClientAddress = "ClientAddress" }
}

/// Active checks of each endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// Discriminator.
    #[serde(rename = "type")]
    pub kind: HealthCheckType,
    /// GEP-2257 duration from the start of one check to the start of the next, at least 100 ms; default 10 s.
    #[serde(default = "ten_seconds")]
    pub interval: String,
    /// GEP-2257 duration of one check, at most `interval`; default 1 s, or the interval if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Good checks in a row that make an endpoint healthy; at least 1, default 2.
    #[serde(default = "two")]
    pub healthy_threshold: i32,
    /// Bad checks in a row that make it unhealthy; at least 1, default 3.
    #[serde(default = "three")]
    pub unhealthy_threshold: i32,
    /// Only with `HTTP`; its defaults apply without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpHealthCheck>,
}

open_enum! {
    /// What a check asks.
    HealthCheckType { Http = "HTTP", Tcp = "TCP" }
}

/// What is asked by HTTP, and what the answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHealthCheck {
    /// Absolute path, with query if need be; default `/`.
    #[serde(default = "slash")]
    pub path: String,
    /// `Host`; default the endpoint's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Status codes `404` and ranges `200-299`, 1 to 16; default `200-299`.
    #[serde(default = "success")]
    pub expected_statuses: Vec<String>,
}

/// When an endpoint that fails is left out for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ejection {
    /// Failures in a row that eject; 0 never ejects; default 5.
    #[serde(default = "five")]
    pub consecutive_failures: i32,
    /// GEP-2257 duration of the first time; default 5 s, or `maxTime` if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_time: Option<String>,
    /// GEP-2257 duration of the longest time, at least `baseTime`; default 5 min, or `baseTime` if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_time: Option<String>,
}

/// Timeouts of connections, as GEP-2257 durations of more than 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpstreamTimeouts {
    /// For a TCP connection; default the process's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// How long an unused connection is kept; default the process's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
}

/// How many connections there may be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// In use to one endpoint at a time; at least 1, default no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_endpoint: Option<i32>,
}

impl Default for HttpHealthCheck {
    /// What the schema fills in.
    fn default() -> Self {
        HttpHealthCheck { path: slash(), host: None, expected_statuses: success() }
    }
}

fn least_request() -> LoadBalancingType {
    LoadBalancingType::LeastRequest
}

fn ten_seconds() -> String {
    "10s".to_owned()
}

fn two() -> i32 {
    2
}

fn three() -> i32 {
    3
}

fn five() -> i32 {
    5
}

fn slash() -> String {
    "/".to_owned()
}

fn success() -> Vec<String> {
    vec!["200-299".to_owned()]
}
