//! Namespaces: their labels, and the selectors that choose among them.

use std::collections::BTreeMap;

use super::Settings;
use super::gateway::GatewayNode;
use super::problem::SelectorFault;
use crate::api::{LabelSelector, ObjectKey};
use crate::store::Resources;
use crate::translate::{Origin, References};

/// The label by which an API server names every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Labels of namespaces.
#[derive(Clone, Copy)]
pub struct Namespaces<'a> {
    resources: &'a Resources,
    origin: Origin,
}

impl<'a> Namespaces<'a> {
    /// Over the Namespaces held. From files, one that is absent exists with its name label alone.
    pub fn new(resources: &'a Resources, settings: &Settings) -> Self {
        Namespaces { resources, origin: settings.origin }
    }

    /// Whether the namespace of this name is one that a sound selector chooses.
    pub fn select(&self, selector: &LabelSelector, name: &str) -> bool {
        let held = self.resources.namespaces.get(&ObjectKey::new("", name));
        if held.is_none() && self.origin == Origin::Kubernetes {
            return false;
        }
        let labels = held.and_then(|namespace| namespace.metadata.labels.as_ref());
        let value = |label: &str| match labels.and_then(|all| all.get(label)) {
            Some(value) => Some(value.as_str()),
            None if label == NAME_LABEL && self.origin == Origin::Files => Some(name),
            None => None,
        };
        matches(selector, value)
    }
}

/// Notes whether a listener chooses namespaces by their labels.
pub fn note(gateways: &[GatewayNode<'_>], references: &mut References) {
    let allowed =
        gateways.iter().flat_map(|node| &node.gateway.spec.listeners).filter_map(|l| l.allowed_routes.as_ref());
    if allowed.filter_map(|allowed| allowed.namespaces.as_ref()).any(|from| from.selector.is_some()) {
        references.add_every_namespace();
    }
}

/// What keeps a selector from being evaluated: such a selector chooses nothing.
pub fn fault(selector: &LabelSelector) -> Option<SelectorFault<'_>> {
    selector.match_expressions.iter().flatten().find_map(|expression| {
        let some = expression.values.as_ref().is_some_and(|values| !values.is_empty());
        match expression.operator.as_str() {
            "In" | "NotIn" => (!some).then_some(SelectorFault::NoValues(&expression.key)),
            "Exists" | "DoesNotExist" => some.then_some(SelectorFault::SomeValues(&expression.key)),
            other => Some(SelectorFault::Operator(other)),
        }
    })
}

/// All of `matchLabels` and all of `matchExpressions`; an empty selector chooses everything.
fn matches<'v>(selector: &LabelSelector, value: impl Fn(&str) -> Option<&'v str>) -> bool {
    let empty = BTreeMap::new();
    let labels = selector.match_labels.as_ref().unwrap_or(&empty);
    labels.iter().all(|(label, wanted)| value(label) == Some(wanted.as_str()))
        && selector.match_expressions.iter().flatten().all(|expression| {
            let found = value(&expression.key);
            let listed = || found.is_some_and(|v| expression.values.iter().flatten().any(|wanted| wanted == v));
            match expression.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}
