//! Ports of this machine: those that listeners ask for and that cannot be had here, now, by this user.

use serde_json::Value;

use super::unseen::Objects;
use crate::api::{Kind, ObjectKey, ObjectRef};
use crate::cli::diagnostic::{Diagnostic, Severity};
use crate::cli::view;
use crate::proxy;
use crate::snapshot::{ListenerId, Snapshot};

/// Every listener whose address would be refused. `seen` tells which of them are served already: then it is most
/// likely Transom itself that holds the port.
pub fn diagnose(snapshot: &Snapshot, seen: &Objects) -> Vec<Diagnostic> {
    let mut told = Vec::new();
    for (address, bind) in &snapshot.binds {
        let Some(why) = proxy::refusal(*address) else { continue };
        for listener in &bind.listeners {
            let gateway = format!("Gateway {}/{}", listener.id.namespace, listener.id.gateway);
            let (port, address) = (listener.port, view::address(*address));
            let (severity, but) = if serves(&listener.id, seen) {
                (Severity::Note, "; the listener is programmed: if by this install, it is held as it should be")
            } else {
                (Severity::Problem, "")
            };
            let message = format!("port {port} cannot be bound on this machine: {address}: {why}{but}");
            let field = format!("spec.listeners[{}]", listener.id.listener);
            told.push(Diagnostic { field, ..Diagnostic::new(gateway, severity, "PortUnavailable", message) });
        }
    }
    told
}

/// Whether a listener's status says that it is programmed.
fn serves(id: &ListenerId, seen: &Objects) -> bool {
    let gateway = ObjectRef { kind: Kind::Gateway, key: ObjectKey::new(&*id.namespace, &*id.gateway) };
    let list = |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let listeners =
        seen.get(&gateway).and_then(|gateway| gateway.get("status")).map(|status| list(status, "listeners"));
    let named = |listener: &Value| listener.get("name").and_then(Value::as_str) == Some(&*id.listener);
    let listener = listeners.into_iter().flatten().find(named);
    let conditions = listener.map(|listener| list(&listener, "conditions")).unwrap_or_default();
    let is = |condition: &Value, field: &str, text: &str| condition.get(field).and_then(Value::as_str) == Some(text);
    conditions.iter().any(|condition| is(condition, "type", "Programmed") && is(condition, "status", "True"))
}
