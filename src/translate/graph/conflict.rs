//! Listeners that cannot be told apart: within a Gateway, between Gateways on one address, and TLS that overlaps.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use foldhash::fast::FixedState;

use super::gateway::GatewayNode;
use super::listener::{ListenerNode, ListenerState, Overlap, share_hosts};
use super::problem::{Effect, Holder, ListenerProblem, PortClash};
use crate::router::Hostname;
use crate::snapshot::{BindProtocol, ListenerId};

/// Marks the indistinct listeners of one Gateway.
///
/// Spec: "The implementation MUST NOT pick one conflicting Listener as the winner. ALL indistinct Listeners must
/// not be accepted for processing." A protocol that is not served takes no part: "If an implementation does not
/// support TCP Protocol Listeners, then the previous rule does not apply."
pub fn within(listeners: &mut [ListenerNode<'_>]) {
    let mut ports: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        if let (Some(port), true) = (listener.port, listener.effect() < Effect::Rejected) {
            ports.entry(port).or_default().push(index);
        }
    }
    let mut conflicts = Vec::new();
    for members in ports.values() {
        for &index in members {
            let Some(listener) = listeners.get(index) else { continue };
            let others = || members.iter().filter(|&&other| other != index).filter_map(|&other| listeners.get(other));
            let foreign: Vec<_> =
                others().filter(|o| o.protocol != listener.protocol).map(ListenerNode::name).collect();
            let same: Vec<_> = others().filter(|o| o.hostname == listener.hostname).map(ListenerNode::name).collect();
            if !foreign.is_empty() {
                conflicts.push((index, ListenerProblem::ProtocolConflict(foreign)));
            } else if !same.is_empty() {
                conflicts.push((index, ListenerProblem::HostnameConflict(same)));
            }
        }
    }
    for (index, problem) in conflicts {
        if let Some(listener) = listeners.get_mut(index) {
            listener.problems.push(problem);
        }
    }
}

/// Who has what on one address.
struct Claim {
    protocol: BindProtocol,
    first: ListenerId,
    hosts: HashMap<Option<Hostname>, ListenerId, FixedState>,
}

/// Lets the listeners of several Gateways, oldest first, claim their addresses. Distinct ones share; of the
/// others the older Gateway keeps the address (product.md section 5).
pub fn across(by_age: Vec<&mut GatewayNode<'_>>) {
    let mut claims: BTreeMap<SocketAddr, Claim> = BTreeMap::new();
    for gateway in by_age {
        for listener in &mut gateway.listeners {
            let Some(protocol) = listener.protocol.filter(|_| listener.accepted()) else { continue };
            let clash = listener.addresses.iter().find_map(|address| {
                let claim = claims.get(address)?;
                if claim.protocol != protocol {
                    return Some((*address, claim.first.clone(), PortClash::Protocol));
                }
                let holder = claim.hosts.get(&listener.hostname)?;
                Some((*address, holder.clone(), PortClash::Hostname))
            });
            if let Some((address, id, why)) = clash {
                let same = (id.namespace == gateway.key.namespace) && (id.gateway == gateway.key.name);
                let by = if same { Holder::Same(id.listener) } else { Holder::Older(id) };
                listener.problems.push(ListenerProblem::PortHeld { address, by, why });
                continue;
            }
            for address in &listener.addresses {
                let id = listener.id(gateway.key);
                let claim = claims.entry(*address).or_insert_with(|| Claim {
                    protocol,
                    first: id.clone(),
                    hosts: HashMap::default(),
                });
                claim.hosts.insert(listener.hostname.clone(), id);
            }
        }
    }
}

/// Marks the HTTPS listeners of one port whose hostnames, or else certificates, overlap.
///
/// Spec: OverlappingTLSConfig "indicates that TLS configuration within this Listener conflicts with TLS
/// configuration in another Listener on the same port". Nothing stops working: 421 is the remedy.
pub fn overlaps(listeners: &mut [ListenerNode<'_>]) {
    let https = |l: &ListenerNode<'_>| l.protocol == Some(BindProtocol::Https) && l.state != ListenerState::Rejected;
    let mut found = Vec::new();
    for (index, a) in listeners.iter().enumerate().filter(|(_, l)| https(l) && l.accepted()) {
        let others = || {
            let same_port =
                |l: &&ListenerNode<'_>| https(l) && l.accepted() && l.port == a.port && l.name() != a.name();
            listeners.iter().filter(same_port)
        };
        let names = |by: fn(&ListenerNode<'_>, &ListenerNode<'_>) -> bool| -> Vec<_> {
            others().filter(|b| by(a, b)).map(ListenerNode::name).collect()
        };
        let hostnames = names(|a, b| share_hosts(a.hostname.as_ref(), b.hostname.as_ref()));
        let certificates = names(certificates_overlap);
        if !hostnames.is_empty() {
            found.push((index, Overlap::Hostnames(hostnames)));
        } else if !certificates.is_empty() {
            found.push((index, Overlap::Certificates(certificates)));
        }
    }
    for (index, overlap) in found {
        if let Some(listener) = listeners.get_mut(index) {
            listener.overlap = Some(overlap);
        }
    }
}

fn certificates_overlap(a: &ListenerNode<'_>, b: &ListenerNode<'_>) -> bool {
    let names = |l: &ListenerNode<'_>| -> Vec<Hostname> {
        l.certificates.iter().flat_map(|c| &c.names).filter_map(|name| Hostname::parse(name)).collect()
    };
    let theirs = names(b);
    names(a).iter().any(|name| theirs.iter().any(|other| share_hosts(Some(name), Some(other))))
}
