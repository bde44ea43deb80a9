//! What a translation has looked at: objects that mean nothing by themselves and much to who refers to them.
//!
//! A cluster is full of Secrets, ConfigMaps, Services and Namespaces that no Gateway and no route refers to; a change
//! of one of those costs no translation.

use std::collections::HashSet;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::api::{Kind, Object, ObjectKey, ObjectRef};
use crate::store::Resources;

/// The objects that were referred to, whether they are there or not. Kept as hashes: two that fall on one cost a
/// translation too many, never one too few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    hashes: HashSet<u64, FixedState>,
    every_namespace: bool,
}

impl References {
    /// Notes a reference.
    pub(super) fn add(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.hashes.insert(hash(kind, namespace, name));
    }

    /// Notes that labels of namespaces decide something.
    pub(super) fn add_every_namespace(&mut self) {
        self.every_namespace = true;
    }

    /// Whether the translation would come out otherwise if this object changed.
    #[must_use]
    pub fn has(&self, object: &ObjectRef) -> bool {
        let key = &object.key;
        (self.every_namespace && object.kind == Kind::Namespace)
            || self.hashes.contains(&hash(object.kind, &key.namespace, &key.name))
    }

    /// Copies of all that was looked at: whoever has them gets the same out of them.
    #[must_use]
    pub fn looked_at(&self, resources: &Resources) -> Vec<Object> {
        let is_looked_at = |service: &ObjectKey| self.has(&ObjectRef { kind: Kind::Service, key: service.clone() });
        let of_services = resources.slices_of.iter().filter(|(service, _)| is_looked_at(service));
        let slices: HashSet<&ObjectKey> = of_services.flat_map(|(_, slices)| slices).collect();
        resources.copies(|object| match object.kind {
            Kind::Namespace | Kind::Service | Kind::Secret | Kind::ConfigMap => self.has(object),
            Kind::EndpointSlice => slices.contains(&object.key),
            _ => true,
        })
    }
}

fn hash(kind: Kind, namespace: &str, name: &str) -> u64 {
    FixedState::default().hash_one((kind, namespace, name))
}
