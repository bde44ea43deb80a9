//! `BackendTLSPolicy`, v1: how TLS is spoken to the endpoints of a Service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::common::{Condition, LocalObjectReference, ParentReference, Resource, open_enum};

/// `gateway.networking.k8s.io/BackendTLSPolicy`.
pub type BackendTlsPolicy = Resource<BackendTlsPolicySpec, PolicyStatus>;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    /// 1 to 16 Services of the policy's namespace, or ports of them.
    pub target_refs: Vec<LocalPolicyTargetReferenceWithSectionName>,
    /// What the backend must show.
    pub validation: BackendTlsPolicyValidation,
    /// Implementation's options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// `LocalPolicyTargetReferenceWithSectionName`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalPolicyTargetReferenceWithSectionName {
    /// API group; empty for core.
    #[serde(default)]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Name of a Service's port; none is the whole Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// `BackendTLSPolicyValidation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicyValidation {
    /// Trust anchors; either these or `wellKnownCACertificates`.
    #[serde(rename = "caCertificateRefs", default, skip_serializing_if = "Vec::is_empty")]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    /// `System`, or an implementation's own set.
    #[serde(rename = "wellKnownCACertificates", default, skip_serializing_if = "Option::is_none")]
    pub well_known_ca_certificates: Option<String>,
    /// SNI, and the name that the certificate must bear unless `subjectAltNames` says otherwise.
    pub hostname: String,
    /// The certificate must bear one of them; at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// `SubjectAltName`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectAltName {
    /// Discriminator.
    #[serde(rename = "type")]
    pub kind: SubjectAltNameType,
    /// With `Hostname`; may begin with `*.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// With `URI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

open_enum! {
    /// `SubjectAltNameType`.
    SubjectAltNameType { Hostname = "Hostname", Uri = "URI" }
}

/// `PolicyStatus`: one entry an ancestor (a Gateway that the target is reached through) and controller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// At most 16.
    #[serde(default)]
    pub ancestors: Vec<PolicyAncestorStatus>,
}

/// `PolicyAncestorStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    /// The ancestor.
    pub ancestor_ref: ParentReference,
    /// Who says it.
    pub controller_name: String,
    /// What it says: `Accepted`, `ResolvedRefs`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}
