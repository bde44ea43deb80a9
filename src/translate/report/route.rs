//! Status of a route: one entry for each parentRef to a Gateway of ours, in the order of the spec.

use super::condition::{self, ACCEPTED, FALSE, PARTIALLY_INVALID, RESOLVED_REFS, TRUE, Telling};
use super::{generation, route_condition, wording};
use crate::api::{Condition, ParentRouteStatus, RouteStatus};
use crate::translate::Settings;
use crate::translate::graph::Graph;
use crate::translate::graph::attach::ParentNode;
use crate::translate::graph::listener::ListenerState;
use crate::translate::graph::problem::AttachProblem;
use crate::translate::graph::route::{RouteNode, RouteVerdict};

/// Everything told of a route, and its status.
pub fn report(node: &RouteNode<'_>, graph: &Graph<'_>, settings: &Settings) -> (Vec<Telling>, RouteStatus) {
    let generation = generation(node.asked.metadata(), settings);
    let own: Vec<Telling> = node.problems.iter().map(route_condition::route).collect();
    let backend = |problem| route_condition::backend(node.asked.kind(), problem);
    let refs: Vec<Telling> = node.backend_problems.iter().map(backend).collect();
    // The same for every parent: what the references are worth does not depend on who takes the route.
    let resolved = condition::conclude(RESOLVED_REFS, &refs, ("ResolvedRefs", "every reference resolves"), generation);

    let mut told = Vec::new();
    let mut parents = Vec::with_capacity(node.parents.len());
    for parent in &node.parents {
        let mut conditions = Vec::with_capacity(3);
        match &parent.outcome {
            // None of its hostnames is one: that is what is wrong, not that no listener has them.
            Err(AttachProblem::NoMatchingHostname(_)) if !node.hosts.any() => {
                conditions.push(condition::conclude(ACCEPTED, &own, ("Accepted", ""), generation));
            }
            Err(problem) => {
                let telling = condition::attach(parent.position, problem);
                let message = wording::list(&[&telling]);
                conditions.push(condition::condition(ACCEPTED, FALSE, telling.reason, message, generation));
                told.push(telling);
            }
            Ok(listeners) => {
                conditions.push(accepted(node, &own, graph, parent, listeners, generation));
                if node.verdict() == RouteVerdict::Partial {
                    conditions.push(partially_invalid(&own, generation));
                }
            }
        }
        conditions.push(resolved.clone());
        parents.push(ParentRouteStatus {
            parent_ref: parent.reference.clone(),
            controller_name: settings.controller_name.clone(),
            conditions,
        });
    }
    told.extend(own);
    told.extend(refs);
    (told, RouteStatus { parents })
}

/// Spec: a parentRef is accepted if at least one listener takes the route, whatever the listener's own state.
fn accepted(
    node: &RouteNode<'_>,
    own: &[Telling],
    graph: &Graph<'_>,
    parent: &ParentNode<'_>,
    listeners: &[usize],
    generation: Option<i64>,
) -> Condition {
    if node.verdict() == RouteVerdict::Invalid {
        return condition::conclude(ACCEPTED, own, ("Accepted", ""), generation);
    }
    let gateway = graph.gateways.get(parent.gateway);
    let serves = |position: &usize| {
        let listener = gateway.and_then(|gateway| gateway.listeners.get(*position));
        listener.is_some_and(|listener| listener.state == ListenerState::Serving)
    };
    let message = if listeners.iter().any(serves) {
        "accepted"
    } else {
        "accepted, but no listener that takes the route serves, see the Gateway's status"
    };
    condition::condition(ACCEPTED, TRUE, "Accepted", message, generation)
}

/// Spec, PartiallyInvalid: "When this happens, implementations MUST take one of the following approaches: 1) Drop
/// Rule(s): [...] the message for this condition MUST start with the prefix "Dropped Rule"".
fn partially_invalid(own: &[Telling], generation: Option<i64>) -> Condition {
    let against: Vec<&Telling> = own.iter().collect();
    let reason = against.first().map_or("UnsupportedValue", |telling| telling.reason);
    let message = format!("Dropped Rule: {}", wording::list(&against));
    condition::condition(PARTIALLY_INVALID, TRUE, reason, message, generation)
}
