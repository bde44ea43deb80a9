//! What an object means, apart from what an API server notes on it.
//!
//! The object held and the one that comes are compared; whether anything must be translated anew goes out.
//! `resourceVersion`, `managedFields` and the status take no part: every write of a status, our own first, comes
//! back as an event. This room knows nothing of translation but which statuses it reads: the load balancer's of a
//! Service, and nobody's that would ask for a translation anew.

use k8s_openapi::api::core::v1::LoadBalancerIngress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::api::{ConfigMap, EndpointSlice, Namespace, ObjectMeta, Resource, Secret, Service};

use super::service_of;

/// An object that can be told from an earlier version of itself.
pub(super) trait Meaning {
    /// Whether both mean the same.
    fn means_the_same_as(&self, other: &Self) -> bool;
}

impl<Spec: PartialEq, Status> Meaning for Resource<Spec, Status> {
    fn means_the_same_as(&self, other: &Self) -> bool {
        self.spec == other.spec && self.metadata.means_the_same_as(&other.metadata)
    }
}

impl Meaning for ObjectMeta {
    /// Name and namespace are the identity, under which both were found.
    fn means_the_same_as(&self, other: &Self) -> bool {
        self.generation == other.generation
            && self.labels == other.labels
            && self.annotations == other.annotations
            && self.creation_timestamp == other.creation_timestamp
            && self.deletion_timestamp == other.deletion_timestamp
            && self.uid == other.uid
    }
}

impl Meaning for Namespace {
    fn means_the_same_as(&self, other: &Self) -> bool {
        self.metadata.means_the_same_as(&other.metadata)
    }
}

impl Meaning for Service {
    /// Two things more count than elsewhere: whose it is, since a Gateway has a Service of its own, and the addresses
    /// that a load balancer gave it. Those are no answer of ours: they come from outside.
    fn means_the_same_as(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.metadata.means_the_same_as(&other.metadata)
            && owners(self) == owners(other)
            && balanced(self).eq(balanced(other))
    }
}

fn owners(service: &Service) -> &[OwnerReference] {
    service.metadata.owner_references.as_deref().unwrap_or_default()
}

fn balanced(service: &Service) -> impl Iterator<Item = &LoadBalancerIngress> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten())
}

impl Meaning for Secret {
    fn means_the_same_as(&self, other: &Self) -> bool {
        self.type_ == other.type_
            && self.data == other.data
            && self.string_data == other.string_data
            && self.metadata.means_the_same_as(&other.metadata)
    }
}

impl Meaning for ConfigMap {
    fn means_the_same_as(&self, other: &Self) -> bool {
        self.data == other.data
            && self.binary_data == other.binary_data
            && self.metadata.means_the_same_as(&other.metadata)
    }
}

impl Meaning for EndpointSlice {
    /// Of its metadata only whose it is: heartbeats write the rest.
    fn means_the_same_as(&self, other: &Self) -> bool {
        self.endpoints == other.endpoints
            && self.ports == other.ports
            && self.address_type == other.address_type
            && service_of(self) == service_of(other)
    }
}
