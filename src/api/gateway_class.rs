//! `GatewayClass`, v1.

use serde::{Deserialize, Serialize};

use super::common::{Condition, Resource};

/// `gateway.networking.k8s.io/GatewayClass`.
pub type GatewayClass = Resource<GatewayClassSpec, GatewayClassStatus>;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// The controller that serves Gateways of this class.
    pub controller_name: String,
    /// Settings of the class, in a kind of the controller's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_ref: Option<super::common::ObjectReference>,
    /// For people, at most 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassStatus {
    /// `Accepted`, `SupportedVersion`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Names of conformance features, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supported_features: Vec<SupportedFeature>,
}

/// One feature of the conformance suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportedFeature {
    /// Its name.
    pub name: String,
}
