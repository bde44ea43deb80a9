//! Status of a listener.

use std::net::SocketAddr;

use super::condition::{self, ACCEPTED, CONFLICTED, FALSE, OVERLAPPING_TLS, PROGRAMMED, RESOLVED_REFS, TRUE, Telling};
use super::{Severity, address, wording};
use crate::api::Condition;
use crate::api::gateway::ListenerStatus;
use crate::translate::graph::bind::BindOutcome;
use crate::translate::graph::gateway::GatewayNode;
use crate::translate::graph::gateway_service::TargetLack;
use crate::translate::graph::listener::{ListenerNode, ListenerState, Overlap};

/// What is told of a listener, and of its addresses.
pub fn told(listener: &ListenerNode<'_>) -> Vec<Telling> {
    let own = listener.problems.iter().map(|problem| condition::listener(listener.index, problem));
    own.chain(listener.binds.iter().filter_map(|(address, outcome)| refused(listener.index, *address, outcome)))
        .chain(listener.awaited_target().and_then(|lack| target_to_mend(listener.index, lack)))
        .collect()
}

/// What is awaited comes by itself; what somebody wrote into a Service of ours, or under its name, may not go by itself.
fn target_to_mend(position: usize, lack: &TargetLack<'_>) -> Option<Telling> {
    let mend = matches!(lack, TargetLack::Names(_) | TargetLack::Foreign(..) | TargetLack::Held { .. });
    let field = format!("spec.listeners[{position}].port");
    mend.then(|| Telling::only(Severity::Problem, "Pending", field, address::target(lack)))
}

/// A port that cannot be had is the listener's; an address that is not there is told of the Gateway.
fn refused(position: usize, address: SocketAddr, outcome: &BindOutcome<'_>) -> Option<Telling> {
    let (BindOutcome::Refused(words) | BindOutcome::NoResources(words)) = outcome else { return None };
    let field = format!("spec.listeners[{position}].port");
    Some(Telling::no(
        ACCEPTED,
        "PortUnavailable",
        field,
        format!("{address} cannot be bound: {}", wording::clip(words)),
    ))
}

/// Accepted, ResolvedRefs, Programmed; Conflicted and OverlappingTLSConfig only when true.
pub fn status(
    listener: &ListenerNode<'_>,
    told: &[Telling],
    gateway: &GatewayNode<'_>,
    generation: Option<i64>,
) -> ListenerStatus {
    let mut conditions = vec![
        condition::conclude(ACCEPTED, told, ("Accepted", "accepted"), generation),
        condition::conclude(RESOLVED_REFS, told, ("ResolvedRefs", "every reference resolves"), generation),
        programmed(listener, told, gateway, generation),
    ];
    let conflict = told.iter().find(|t| matches!(t.reason, "HostnameConflict" | "ProtocolConflict"));
    if let Some(telling) = conflict {
        conditions.push(condition::condition(CONFLICTED, TRUE, telling.reason, telling.message.as_str(), generation));
    }
    if let Some(overlap) = &listener.overlap {
        let (reason, message) = overlap_words(overlap);
        conditions.push(condition::condition(OVERLAPPING_TLS, TRUE, reason, message, generation));
    }
    ListenerStatus {
        name: listener.name().to_owned(),
        supported_kinds: listener.kinds.clone(),
        attached_routes: listener.attached_routes,
        conditions,
    }
}

fn programmed(
    listener: &ListenerNode<'_>,
    told: &[Telling],
    gateway: &GatewayNode<'_>,
    generation: Option<i64>,
) -> Condition {
    let no = |reason, message: String| condition::condition(PROGRAMMED, FALSE, reason, message, generation);
    if told.iter().any(|telling| telling.is(PROGRAMMED)) {
        return condition::conclude(PROGRAMMED, told, ("Programmed", ""), generation);
    }
    if listener.state != ListenerState::Serving {
        let why = if listener.accepted() && !gateway.accepted() {
            "the Gateway is not accepted"
        } else if listener.accepted() {
            "its references do not resolve"
        } else {
            "it is not accepted"
        };
        return no("Invalid", format!("the listener does not serve: {why}"));
    }
    if told.iter().any(|telling| telling.is(ACCEPTED)) {
        return no("Invalid", "an address of the listener cannot be bound, see Accepted".to_owned());
    }
    if let Some(lack) = listener.awaited_target() {
        return no("Pending", address::target(lack));
    }
    let keeps = gateway.was_programmed || listener.was_programmed;
    if let Some(address) = listener.pending().filter(|_| !keeps) {
        return no("Pending", format!("waiting for {address} to be bound"));
    }
    if listener.binds.iter().all(|(_, outcome)| matches!(outcome, BindOutcome::NoSuchAddress(_))) {
        return no("Invalid", "no address of the Gateway can be used".to_owned());
    }
    if !gateway.serves_everywhere && !keeps {
        return no("Pending", not_everywhere(gateway));
    }
    condition::condition(PROGRAMMED, TRUE, "Programmed", "served", generation)
}

/// The words for a generation that some data planes may not have yet.
pub fn not_everywhere(gateway: &GatewayNode<'_>) -> String {
    let generation = gateway.gateway.metadata.generation.unwrap_or_default();
    format!("not every ready data plane serves generation {generation} yet")
}

fn overlap_words(overlap: &Overlap<'_>) -> (&'static str, String) {
    let remedy = "a request for the other's host on a reused connection is answered with 421";
    match overlap {
        Overlap::Hostnames(with) => {
            ("OverlappingHostnames", format!("hostnames overlap with {}; {remedy}", wording::names(with)))
        }
        Overlap::Certificates(with) => {
            ("OverlappingCertificates", format!("certificates overlap with {}; {remedy}", wording::names(with)))
        }
    }
}

/// The same as a finding: worth knowing, nothing is wrong.
pub fn overlap_note(listener: &ListenerNode<'_>) -> Option<Telling> {
    let (reason, message) = overlap_words(listener.overlap.as_ref()?);
    Some(Telling::only(Severity::Note, reason, format!("spec.listeners[{}].hostname", listener.index), message))
}
