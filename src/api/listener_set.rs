//! `ListenerSet`, v1: listeners added to a Gateway by others. A listener and its status are the Gateway's.

use serde::{Deserialize, Serialize};

use super::common::{Condition, Resource};
use super::gateway::{Listener, ListenerStatus};
use super::kind::GATEWAY_GROUP;

/// `gateway.networking.k8s.io/ListenerSet`.
pub type ListenerSet = Resource<ListenerSetSpec, ListenerSetStatus>;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// The Gateway that they are added to.
    pub parent_ref: ParentGatewayReference,
    /// `ListenerEntry`; 1 to 64.
    pub listeners: Vec<Listener>,
}

/// `ParentGatewayReference`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentGatewayReference {
    /// API group, default `gateway.networking.k8s.io`.
    #[serde(default = "gateway_group")]
    pub group: String,
    /// Kind, default `Gateway`.
    #[serde(default = "gateway")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, default that of the ListenerSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListenerSetStatus {
    /// `Accepted`, `Programmed`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// `ListenerEntryStatus`; one a listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerStatus>,
}

fn gateway_group() -> String {
    GATEWAY_GROUP.to_owned()
}

fn gateway() -> String {
    "Gateway".to_owned()
}
