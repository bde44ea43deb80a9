//! `ReferenceGrant`, v1: lives in the namespace of the target.

use serde::{Deserialize, Serialize};

use super::common::{OpaqueStatus, Resource};

/// `gateway.networking.k8s.io/ReferenceGrant`.
pub type ReferenceGrant = Resource<ReferenceGrantSpec, OpaqueStatus>;

/// What is granted: any of `from` may refer to any of `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantSpec {
    /// Referrers.
    pub from: Vec<ReferenceGrantFrom>,
    /// Targets in this namespace.
    pub to: Vec<ReferenceGrantTo>,
}

/// `ReferenceGrantFrom`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantFrom {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// `ReferenceGrantTo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantTo {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// None or empty: every object of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
