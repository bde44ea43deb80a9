//! Which objects a translation was made of, to the version: what it says of one of them is said of no other that
//! comes to have its name, and of no older or newer version.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::api::{Kind, ObjectKey, ObjectRef};
use crate::store::Resources;

/// The versions that were judged, as hashes, and the classes that Gateways name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    versions: HashSet<u64, FixedState>,
    classes: BTreeSet<String>,
}

impl Judged {
    /// Everything that may have a status.
    #[must_use]
    pub fn of(resources: &Resources) -> Self {
        let mut versions = HashSet::default();
        resources.each(|kind, key, metadata| {
            if kind.has_status() {
                let uid = metadata.uid.as_deref().unwrap_or_default();
                versions.insert(hash(kind, key, uid, metadata.generation.unwrap_or_default()));
            }
        });
        let classes = resources.gateways.values().map(|gateway| gateway.spec.gateway_class_name.clone()).collect();
        Judged { versions, classes }
    }

    /// Whether this very version of an object was judged. No uid is empty, no generation 0.
    #[must_use]
    pub fn has(&self, object: &ObjectRef, uid: &str, generation: i64) -> bool {
        self.versions.contains(&hash(object.kind, &object.key, uid, generation))
    }

    /// Whether a Gateway names this GatewayClass.
    #[must_use]
    pub fn is_in_use(&self, class: &str) -> bool {
        self.classes.contains(class)
    }
}

fn hash(kind: Kind, key: &ObjectKey, uid: &str, generation: i64) -> u64 {
    FixedState::default().hash_one((kind, key, uid, generation))
}
