//! References, statuses and conditions that several kinds share.

use serde::{Deserialize, Serialize};

use super::ObjectMeta;
use super::kind::GATEWAY_GROUP;

/// An enumeration that stays open: a value from a newer schema is kept as [`Other`](Self), never an error,
/// so that one object of tomorrow cannot stop a watch of today. What it means is decided in `translate/`.
macro_rules! open_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[allow(missing_docs, reason = "a variant is named as its value")]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $text)] $variant,)*
            /// A value that this version does not know.
            #[serde(untagged)]
            Other(String),
        }

        impl $name {
            /// The value as written in a manifest.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $($name::$variant => $text,)* $name::Other(other) => other }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use open_enum;

/// An object: metadata, spec, status. `apiVersion` and `kind` are known from where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource<Spec, Status> {
    /// Name, namespace, labels, generation, age.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: Spec,
    /// What is; written by controllers.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// A status of which nothing is read (yet).
pub type OpaqueStatus = serde_json::Value;

/// `LocalObjectReference`: an object of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalObjectReference {
    /// API group; empty for core.
    #[serde(default)]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// `SecretObjectReference`: a certificate, by default a core `Secret`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretObjectReference {
    /// API group, default core.
    #[serde(default)]
    pub group: String,
    /// Kind, default `Secret`.
    #[serde(default = "secret")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, default that of the referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// `ObjectReference`: an object of any kind, without defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectReference {
    /// API group; empty for core.
    #[serde(default)]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, default that of the referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// `ParentReference`: the Gateway, listener or port that a route wants to attach to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// API group, default `gateway.networking.k8s.io`.
    #[serde(default = "gateway_group")]
    pub group: String,
    /// Kind, default `Gateway`.
    #[serde(default = "gateway")]
    pub kind: String,
    /// Namespace, default that of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Listener name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// Listener port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// `BackendObjectReference`: what a route forwards or mirrors to, by default a core `Service`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BackendObjectReference {
    /// API group, default core.
    #[serde(default)]
    pub group: String,
    /// Kind, default `Service`.
    #[serde(default = "service")]
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, default that of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port of the Service (not of its endpoints).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// `BackendRef`: a backend and its share of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRef {
    /// The backend.
    #[serde(flatten)]
    pub object: BackendObjectReference,
    /// Share relative to the sum of all weights; default 1, 0 takes nothing, at most 1,000,000.
    #[serde(default = "one")]
    pub weight: i32,
}

/// `Condition` of the Kubernetes API conventions.
///
/// `lastTransitionTime` is not here: it is set by who writes a status, since the translator has no clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type in CamelCase.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Machine-readable reason in CamelCase.
    #[serde(default)]
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The generation of the object that this was judged on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// `RouteParentStatus`: what one controller says of one `parentRef`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRouteStatus {
    /// As in the route's spec.
    pub parent_ref: ParentReference,
    /// Who says it.
    pub controller_name: String,
    /// What it says.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// `RouteStatus`: one entry a parent and controller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouteStatus {
    /// At most 32.
    #[serde(default)]
    pub parents: Vec<ParentRouteStatus>,
}

fn secret() -> String {
    "Secret".to_owned()
}

fn service() -> String {
    "Service".to_owned()
}

fn gateway() -> String {
    "Gateway".to_owned()
}

fn gateway_group() -> String {
    GATEWAY_GROUP.to_owned()
}

fn one() -> i32 {
    1
}
