//! The finalizer of a GatewayClass, while Gateways use it. Pure: what was seen and judged comes in, the finalizers to
//! write go out.
//!
//! "Controllers implementing this resource SHOULD add it to the associated GatewayClass whenever at least one Gateway
//! exists that uses it" (`gateway-exists-finalizer.gateway.networking.k8s.io`). It goes with the last Gateway, at once,
//! so that the deletion of a class waits for nothing else.

use super::Verdicts;
use crate::api::{Kind, ObjectRef, Seen};

/// Of the Gateway API, not of one controller: a class has only one.
const GATEWAY_EXISTS: &str = "gateway-exists-finalizer.gateway.networking.k8s.io";

/// The finalizers that a class of ours is to have, if they are not what it has.
pub fn wanted(object: &ObjectRef, seen: &Seen, verdicts: &Verdicts) -> Option<Vec<String>> {
    if object.kind != Kind::GatewayClass {
        return None;
    }
    let status = verdicts.statuses.gateway_classes.get(&object.key)?;
    let has = seen.finalizers.iter().any(|finalizer| finalizer == GATEWAY_EXISTS);
    let is_used = verdicts.judged.is_in_use(&object.key.name);
    let accepted = || status.conditions.iter().any(|c| c.kind == "Accepted" && c.status == "True");
    if has && !is_used {
        return Some(seen.finalizers.iter().filter(|finalizer| *finalizer != GATEWAY_EXISTS).cloned().collect());
    }
    // an API server takes no new finalizer once the deletion has begun
    (!has && is_used && !seen.deleting && accepted()).then(|| {
        let ours = std::iter::once(GATEWAY_EXISTS.to_owned());
        seen.finalizers.iter().cloned().chain(ours).collect()
    })
}
