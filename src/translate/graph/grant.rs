//! ReferenceGrants: who may refer across namespaces.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::api::Kind;
use crate::api::reference_grant::ReferenceGrantSpec;
use crate::store::Resources;

/// Every grant, by the namespace it lives in, which is the target's.
#[derive(Debug, Default)]
pub struct Grants<'a> {
    by_namespace: HashMap<&'a str, Vec<&'a ReferenceGrantSpec>, FixedState>,
}

impl<'a> Grants<'a> {
    /// Indexes every grant held.
    pub fn new(resources: &'a Resources) -> Self {
        let mut grants = Grants::default();
        for (key, grant) in &resources.reference_grants {
            grants.by_namespace.entry(&key.namespace).or_default().push(&grant.spec);
        }
        grants
    }

    /// Whether an object of `from` in `from_namespace` may refer to the `to` (group and kind) named so. Within one namespace always.
    ///
    /// Spec: "each entry in this list MUST be considered to be an additional place that references can be valid
    /// from": `from` entries, `to` entries and grants are all ORed; an empty name grants every object of the kind.
    pub fn permit(&self, from: Kind, from_namespace: &str, to: (&str, &str), namespace: &str, name: &str) -> bool {
        from_namespace == namespace
            || self.by_namespace.get(namespace).into_iter().flatten().any(|grant| {
                grant
                    .from
                    .iter()
                    .any(|f| f.group == from.group() && f.kind == from.name() && f.namespace == from_namespace)
                    && grant.to.iter().any(|t| {
                        (t.group.as_str(), t.kind.as_str()) == to
                            && t.name.as_deref().is_none_or(|granted| granted.is_empty() || granted == name)
                    })
            })
    }
}
