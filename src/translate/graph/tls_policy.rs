//! BackendTLSPolicies: not served yet, so what they target must fail closed, "never plaintext" (gateway-api.md 6.4).

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::api::{Kind, ObjectKey};
use crate::store::Resources;

/// Every Service that a policy targets.
#[derive(Debug, Default)]
pub struct TlsPolicies<'a> {
    by_namespace: HashMap<&'a str, Vec<Target<'a>>, FixedState>,
}

#[derive(Debug)]
struct Target<'a> {
    policy: &'a ObjectKey,
    service: &'a str,
    /// Name of the Service's port; none is every port.
    section: Option<&'a str>,
}

impl<'a> TlsPolicies<'a> {
    /// Reads the targets of every policy held.
    pub fn new(resources: &'a Resources) -> Self {
        let mut policies = TlsPolicies::default();
        for (key, policy) in &resources.backend_tls_policies {
            for target in policy.spec.target_refs.iter().filter(|target| target.kind == Kind::Service.name()) {
                policies.by_namespace.entry(&key.namespace).or_default().push(Target {
                    policy: key,
                    service: &target.name,
                    section: target.section_name.as_deref(),
                });
            }
        }
        policies
    }

    /// The name of a policy that targets this port of a Service. Policies reach their own namespace only.
    pub fn of(&self, namespace: &str, service: &str, port_name: &str) -> Option<&'a str> {
        let targets = self.by_namespace.get(namespace)?;
        let hit = targets
            .iter()
            .find(|target| target.service == service && target.section.is_none_or(|section| section == port_name));
        hit.map(|target| target.policy.name.as_str())
    }

    /// The Services that a policy targets, by name.
    pub fn services(&self, policy: &ObjectKey) -> impl Iterator<Item = &'a str> {
        let targets = self.by_namespace.get(policy.namespace.as_str()).into_iter().flatten();
        targets.filter(move |target| target.policy == policy).map(|target| target.service)
    }
}
