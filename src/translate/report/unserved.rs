//! Status of objects whose kind is not served yet: refused, in the words of their kind.

use super::condition::{ACCEPTED, FALSE, PROGRAMMED, condition};
use super::route_condition::not_served;
use super::{Statuses, generation};
use crate::api::backend_tls_policy::{PolicyAncestorStatus, PolicyStatus};
use crate::api::listener_set::ListenerSetStatus;
use crate::api::{Kind, ObjectRef, ParentRouteStatus, RouteStatus};
use crate::translate::Settings;
use crate::translate::graph::unserved::UnservedNode;

/// Adds the status of one object, if it has to do with a Gateway of ours.
pub fn report(node: &UnservedNode<'_>, settings: &Settings, statuses: &mut Statuses) {
    if node.parents.is_empty() {
        return;
    }
    let generation = generation(node.metadata, settings);
    let refused = |reason| condition(ACCEPTED, FALSE, reason, not_served(node.kind), generation);
    match node.kind {
        Kind::ListenerSet => {
            let programmed = condition(PROGRAMMED, FALSE, "Invalid", not_served(node.kind), generation);
            // Of the reasons of the kind: no Gateway allows listeners that it cannot serve.
            let conditions = vec![refused("NotAllowed"), programmed];
            statuses.listener_sets.insert(node.key.clone(), ListenerSetStatus { conditions, listeners: Vec::new() });
        }
        Kind::BackendTlsPolicy => {
            let ancestors = node.parents.iter().map(|parent| PolicyAncestorStatus {
                ancestor_ref: parent.clone(),
                controller_name: settings.controller_name.clone(),
                conditions: vec![refused("Invalid")],
            });
            let key = ObjectRef { kind: node.kind, key: node.key.clone() };
            statuses.policies.insert(key, PolicyStatus { ancestors: ancestors.collect() });
        }
        kind => {
            let parents = node.parents.iter().map(|parent| ParentRouteStatus {
                parent_ref: parent.clone(),
                controller_name: settings.controller_name.clone(),
                conditions: vec![refused("UnsupportedValue")],
            });
            let key = ObjectRef { kind, key: node.key.clone() };
            statuses.routes.insert(key, RouteStatus { parents: parents.collect() });
        }
    }
}
