//! Status of a Gateway.

use super::condition::{self, ACCEPTED, FALSE, PROGRAMMED, RESOLVED_REFS, TRUE, Telling};
use super::{generation, listener, wording};
use crate::api::Condition;
use crate::api::gateway::{GatewayStatus, GatewayStatusAddress, ListenerStatus};
use crate::translate::graph::bind::BindOutcome;
use crate::translate::graph::gateway::{ANY, GatewayNode};
use crate::translate::graph::listener::ListenerNode;
use crate::translate::{Origin, Settings};

/// Everything told of a Gateway, and its status.
pub fn report(node: &GatewayNode<'_>, settings: &Settings) -> (Vec<Telling>, GatewayStatus) {
    let generation = generation(&node.gateway.metadata, settings);
    let mut told: Vec<Telling> = node.problems.iter().map(condition::gateway).collect();
    if let Some((address, words)) = node.unusable_address() {
        let index = node.gateway.spec.addresses.iter().position(|a| a.value.as_deref() == Some(&address.to_string()));
        let field = index.map_or("spec.addresses".to_owned(), |index| format!("spec.addresses[{index}].value"));
        let message = format!("{address} cannot be used on this machine: {}", wording::clip(words));
        told.push(Telling::no(PROGRAMMED, "AddressNotUsable", field, message));
    }
    let mut listeners = Vec::with_capacity(node.listeners.len());
    let mut of_listeners = Vec::new();
    for own in &node.listeners {
        let tellings = listener::told(own);
        listeners.push(listener::status(own, &tellings, node.accepted(), generation));
        of_listeners.extend(tellings);
        of_listeners.extend(listener::overlap_note(own));
    }

    let accepted = accepted(node, &told, &listeners, generation);
    let programmed = programmed(node, &told, &accepted, settings, generation);
    let resolved = resolved(&told, &listeners, generation);
    let addresses = if accepted.status == TRUE { addresses(node, settings) } else { Vec::new() };
    told.extend(of_listeners);
    let conditions = vec![accepted, programmed, resolved];
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

/// Whether the data plane has it: what speaks against the Gateway, then its addresses, then its ports.
fn programmed(
    node: &GatewayNode<'_>,
    told: &[Telling],
    accepted: &Condition,
    settings: &Settings,
    generation: Option<i64>,
) -> Condition {
    let no = |reason, message: String| condition::condition(PROGRAMMED, FALSE, reason, message, generation);
    let binds = || node.listeners.iter().flat_map(|listener| &listener.binds);
    let out_of = binds().find_map(|(address, outcome)| match outcome {
        BindOutcome::NoResources(words) => Some((address, words)),
        _ => None,
    });
    let pending = binds().find(|(_, outcome)| *outcome == BindOutcome::Pending);
    if let (Some((address, words)), true) = (out_of, binds().all(|(_, o)| matches!(o, BindOutcome::NoResources(_)))) {
        return no("NoResources", format!("{address} cannot be bound: {}", wording::clip(words)));
    }
    if accepted.status == FALSE {
        return no("Invalid", "the Gateway is not accepted".to_owned());
    }
    if told.iter().any(|telling| telling.is(PROGRAMMED)) {
        return condition::conclude(PROGRAMMED, told, ("Programmed", ""), generation);
    }
    if let Some((address, _)) = pending {
        return no("Pending", format!("waiting for {address} to be bound"));
    }
    if addresses(node, settings).is_empty() {
        return no("AddressNotAssigned", "no address is assigned to the Gateway yet".to_owned());
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

/// The addresses asked for that this machine has. From files, a Gateway on every address is reachable at least
/// from this machine; in a cluster its address is assigned, and reported when it is known.
fn addresses(node: &GatewayNode<'_>, settings: &Settings) -> Vec<GatewayStatusAddress> {
    let unusable = |ip: &std::net::IpAddr| {
        let mut own = node.listeners.iter().flat_map(|l| &l.binds).filter(|(address, _)| address.ip() == *ip);
        own.any(|(_, outcome)| matches!(outcome, BindOutcome::NoSuchAddress(_)))
    };
    let mut values = Vec::new();
    for ip in node.addresses.iter().filter(|ip| !unusable(ip)) {
        match (*ip == ANY, settings.origin) {
            (false, _) => values.push(ip.to_string()),
            (true, Origin::Files) => values.push("127.0.0.1".to_owned()),
            (true, Origin::Kubernetes) => {}
        }
    }
    values.dedup();
    values
        .into_iter()
        .map(|value| GatewayStatusAddress { kind: "IPAddress".to_owned(), value, routability: None })
        .collect()
}
