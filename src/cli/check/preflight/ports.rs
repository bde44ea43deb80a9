//! Ports of this machine: those that listeners ask for and that cannot be had here, now, by this user.

use crate::cli::diagnostic::{Diagnostic, Severity};
use crate::cli::view;
use crate::proxy;
use crate::snapshot::Snapshot;

/// Every listener whose address would be refused.
pub fn diagnose(snapshot: &Snapshot) -> Vec<Diagnostic> {
    let mut told = Vec::new();
    for (address, bind) in &snapshot.binds {
        let Some(why) = proxy::refusal(*address) else { continue };
        for listener in &bind.listeners {
            let gateway = format!("Gateway {}/{}", listener.id.namespace, listener.id.gateway);
            let message =
                format!("port {} cannot be bound on this machine: {}: {why}", listener.port, view::address(*address));
            let field = format!("spec.listeners[{}]", listener.id.listener);
            told.push(Diagnostic { field, ..Diagnostic::new(gateway, Severity::Problem, "PortUnavailable", message) });
        }
    }
    told
}
