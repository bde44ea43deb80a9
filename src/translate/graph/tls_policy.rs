//! BackendTLSPolicies: not served yet, so what they target must fail closed, "never plaintext" (gateway-api.md 6.4).

use std::collections::HashMap;

use foldhash::fast::FixedState;
use serde_json::Value;

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
    service: String,
    /// Name of the Service's port; none is every port.
    section: Option<String>,
}

impl<'a> TlsPolicies<'a> {
    /// Reads the targets of every policy held; a target that cannot be read is none.
    pub fn new(resources: &'a Resources) -> Self {
        let mut policies = TlsPolicies::default();
        for (key, policy) in &resources.backend_tls_policies {
            let spec = serde_json::to_value(&policy.spec).unwrap_or_default();
            let refs = spec.get("targetRefs").and_then(Value::as_array).cloned().unwrap_or_default();
            for target in refs {
                let text = |field: &str| target.get(field).and_then(Value::as_str).map(str::to_owned);
                let service = text("kind").is_some_and(|kind| kind == Kind::Service.name());
                let Some(name) = text("name").filter(|_| service) else { continue };
                policies.by_namespace.entry(&key.namespace).or_default().push(Target {
                    policy: key,
                    service: name,
                    section: text("sectionName"),
                });
            }
        }
        policies
    }

    /// The name of a policy that targets this port of a Service. Policies reach their own namespace only.
    pub fn of(&self, namespace: &str, service: &str, port_name: &str) -> Option<&'a str> {
        let targets = self.by_namespace.get(namespace)?;
        let hit = targets.iter().find(|target| {
            target.service == service && target.section.as_deref().is_none_or(|section| section == port_name)
        });
        hit.map(|target| target.policy.name.as_str())
    }

    /// The Services that a policy targets, by name.
    pub fn services<'s>(&'s self, policy: &ObjectKey) -> impl Iterator<Item = &'s str> {
        let targets = self.by_namespace.get(policy.namespace.as_str()).into_iter().flatten();
        targets.filter(move |target| target.policy == policy).map(|target| target.service.as_str())
    }
}
