//! Status of a Gateway.

use super::condition::{self, ACCEPTED, FALSE, PROGRAMMED, RESOLVED_REFS, TRUE, Telling};
use super::{address, generation, listener, wording};
use crate::api::Condition;
use crate::api::gateway::{GatewayStatus, ListenerStatus};
use crate::translate::Settings;
use crate::translate::graph::bind::BindOutcome;
use crate::translate::graph::gateway::GatewayNode;
use crate::translate::graph::listener::ListenerNode;

/// Everything told of a Gateway, and its status.
pub fn report(node: &GatewayNode<'_>, settings: &Settings) -> (Vec<Telling>, GatewayStatus) {
    let generation = generation(&node.gateway.metadata, settings);
    let mut told: Vec<Telling> = node.problems.iter().map(condition::gateway).collect();
    told.extend(address::unusable(node));
    let mut listeners = Vec::with_capacity(node.listeners.len());
    let mut of_listeners = Vec::new();
    for own in &node.listeners {
        let tellings = listener::told(own);
        listeners.push(listener::status(own, &tellings, node, generation));
        of_listeners.extend(tellings);
        of_listeners.extend(listener::overlap_note(own));
    }

    let accepted = accepted(node, &told, &listeners, generation);
    let programmed = programmed(node, &told, &accepted, generation);
    let resolved = resolved(&told, &listeners, generation);
    let (addresses, assigned) = match accepted.status.as_str() {
        TRUE => (address::status(node), address::assigned(node, generation)),
        _ => (Vec::new(), None),
    };
    told.extend(of_listeners);
    let conditions = [accepted, programmed, resolved].into_iter().chain(assigned).collect();
    (told, GatewayStatus { addresses, conditions, listeners, attached_listener_sets: None })
}

/// The names of the listeners of which this condition is false.
fn failing<'l>(listeners: &'l [ListenerStatus], kind: &str) -> Vec<&'l str> {
    let fails = |status: &&ListenerStatus| status.conditions.iter().any(|c| c.kind == kind && c.status == FALSE);
    listeners.iter().filter(fails).map(|status| status.name.as_str()).collect()
}

/// Spec: "ListenersNotValid [...] when one or more Listeners have an invalid or unsupported configuration"; True if
/// some listener is good, False if none is. A reference that does not resolve is not a configuration that is invalid.
fn accepted(
    node: &GatewayNode<'_>,
    told: &[Telling],
    listeners: &[ListenerStatus],
    generation: Option<i64>,
) -> Condition {
    let bad = failing(listeners, ACCEPTED);
    if told.iter().any(|telling| telling.is(ACCEPTED)) || bad.is_empty() {
        return condition::conclude(ACCEPTED, told, ("Accepted", "accepted"), generation);
    }
    let status = if bad.len() < node.listeners.len() { TRUE } else { FALSE };
    let good: Vec<&str> = node.listeners.iter().map(ListenerNode::name).filter(|name| !bad.contains(name)).collect();
    let rest = if good.is_empty() { String::new() } else { format!("; accepted: {}", wording::names(&good)) };
    let message = format!("listeners not accepted, see their status: {}{rest}", wording::names(&bad));
    condition::condition(ACCEPTED, status, "ListenersNotValid", message, generation)
}

/// Whether the data plane has it: what speaks against the Gateway, then its ports, its addresses, and the other data
/// planes. What was programmed in this generation stays so while nothing is heard of ports and data planes: they are
/// asked anew at every start.
fn programmed(node: &GatewayNode<'_>, told: &[Telling], accepted: &Condition, generation: Option<i64>) -> Condition {
    let no = |reason, message: String| condition::condition(PROGRAMMED, FALSE, reason, message, generation);
    let binds = || node.listeners.iter().flat_map(|listener| &listener.binds);
    let out_of = binds().find_map(|(address, outcome)| match outcome {
        BindOutcome::NoResources(words) => Some((address, words)),
        _ => None,
    });
    if let (Some((address, words)), true) = (out_of, binds().all(|(_, o)| matches!(o, BindOutcome::NoResources(_)))) {
        return no("NoResources", format!("{address} cannot be bound: {}", wording::clip(words)));
    }
    if accepted.status == FALSE {
        return no("Invalid", "the Gateway is not accepted".to_owned());
    }
    if told.iter().any(|telling| telling.is(PROGRAMMED)) {
        return condition::conclude(PROGRAMMED, told, ("Programmed", ""), generation);
    }
    if let Some((listener, lack)) = node.listeners.iter().find_map(|l| Some((l.name(), l.awaited_target()?))) {
        return no("Pending", format!("listener {listener}: {}", address::target(lack)));
    }
    if let Some(pending) = node.listeners.iter().find_map(ListenerNode::pending).filter(|_| !node.was_programmed) {
        return no("Pending", format!("waiting for {pending} to be bound"));
    }
    if node.reached.published.is_empty() {
        return no("AddressNotAssigned", address::unassigned(node));
    }
    if !node.serves_everywhere && !node.was_programmed {
        return no("Pending", listener::not_everywhere(node));
    }
    condition::condition(PROGRAMMED, TRUE, "Programmed", "served", generation)
}

/// Spec: of the Gateway's own references, "and also provides a positive-polarity summary of Listener's ResolvedRefs".
fn resolved(told: &[Telling], listeners: &[ListenerStatus], generation: Option<i64>) -> Condition {
    let own = condition::conclude(RESOLVED_REFS, told, ("ResolvedRefs", "every reference resolves"), generation);
    let bad = failing(listeners, RESOLVED_REFS);
    if own.status == FALSE || bad.is_empty() {
        return own;
    }
    let message = format!("references of listeners do not resolve, see their status: {}", wording::names(&bad));
    condition::condition(RESOLVED_REFS, FALSE, "ListenersNotResolved", message, generation)
}
