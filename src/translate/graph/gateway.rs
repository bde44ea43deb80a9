//! Gateways of our classes: addresses, class, and the listeners that they hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::bind::{self, BindOutcome};
use super::certificate::Certificates;
use super::class::ClassNode;
use super::conflict;
use super::listener::{self, ListenerNode};
use super::problem::{GatewayProblem, Remark};
use super::{Remarks, Settings, created};
use crate::api::gateway::{AllowedListeners, FromNamespaces, Gateway, GatewaySpecAddress};
use crate::api::{Kind, ObjectKey};
use crate::store::Resources;
use crate::translate::Origin;

/// Stands for every address of both families.
pub const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A Gateway of a class of ours.
#[derive(Debug)]
pub struct GatewayNode<'a> {
    /// Namespace and name.
    pub key: &'a ObjectKey,
    /// The object.
    pub gateway: &'a Gateway,
    /// What is not as asked, of the Gateway as a whole.
    pub problems: Vec<GatewayProblem<'a>>,
    /// Local addresses to bind, sorted, without doubles; [`ANY`] among them for all.
    pub addresses: Vec<IpAddr>,
    /// Its listeners, in the order of the spec.
    pub listeners: Vec<ListenerNode<'a>>,
}

impl GatewayNode<'_> {
    /// Whether nothing speaks against the Gateway as a whole (its listeners are another question).
    pub fn accepted(&self) -> bool {
        !self.problems.iter().any(GatewayProblem::refuses)
    }

    /// An address that was asked for and that this machine does not have, with the words of the system.
    pub fn unusable_address(&self) -> Option<(IpAddr, &str)> {
        self.listeners.iter().flat_map(|listener| &listener.binds).find_map(|(address, outcome)| match outcome {
            BindOutcome::NoSuchAddress(words) => Some((address.ip(), *words)),
            _ => None,
        })
    }
}

impl GatewayProblem<'_> {
    /// Whether the Gateway is not accepted, and nothing of it is served.
    pub fn refuses(&self) -> bool {
        matches!(
            self,
            GatewayProblem::ClassNotAccepted(_)
                | GatewayProblem::Parameters(_)
                | GatewayProblem::AddressType { .. }
                | GatewayProblem::Routability { .. }
        )
    }
}

/// Resolves our Gateways, sorted by key, with their listeners, conflicts and the fate of their ports.
pub fn gateways<'a>(
    resources: &'a Resources,
    settings: &Settings,
    classes: &BTreeMap<&str, ClassNode<'a>>,
    certificates: &mut Certificates<'a>,
    remarks: &mut Remarks<'a>,
) -> Vec<GatewayNode<'a>> {
    let mut nodes = Vec::new();
    for (key, gateway) in &resources.gateways {
        let name = gateway.spec.gateway_class_name.as_str();
        let Some(class) = classes.get(name) else {
            let absent = !resources.gateway_classes.contains_key(&ObjectKey::new("", name));
            if absent && settings.origin == Origin::Files {
                remarks.add(Kind::Gateway, key, Remark::ClassNotFound(name));
            }
            continue;
        };
        let mut node = GatewayNode { key, gateway, problems: Vec::new(), addresses: Vec::new(), listeners: Vec::new() };
        if class.problem.is_some() {
            node.problems.push(GatewayProblem::ClassNotAccepted(name));
        }
        read_addresses(&mut node, &gateway.spec.addresses);
        read_settings(&mut node, settings);
        node.listeners = listener::listeners(&mut node.problems, key, gateway, settings, certificates);
        conflict::within(&mut node.listeners);
        nodes.push(node);
    }

    let mut by_age: Vec<&mut GatewayNode<'a>> = nodes.iter_mut().filter(|node| node.accepted()).collect();
    by_age.sort_by_key(|node| (created(&node.gateway.metadata), node.key));
    for node in &mut by_age {
        for listener in &mut node.listeners {
            listener.addresses = bind::addresses(&node.addresses, listener.bound_port);
        }
    }
    conflict::across(by_age);
    for node in &mut nodes {
        let accepted = node.accepted();
        for listener in &mut node.listeners {
            listener.settle(accepted);
            listener.binds = bind::outcomes(listener, resources, settings);
        }
        conflict::overlaps(&mut node.listeners);
    }
    nodes
}

fn read_addresses<'a>(node: &mut GatewayNode<'a>, asked: &'a [GatewaySpecAddress]) {
    if asked.is_empty() {
        node.addresses.push(ANY);
    }
    for (index, address) in asked.iter().enumerate() {
        if address.kind != "IPAddress" {
            node.problems.push(GatewayProblem::AddressType { index, found: &address.kind });
        }
        if let Some(found) = address.routability.as_deref().filter(|text| !text.is_empty()) {
            node.problems.push(GatewayProblem::Routability { index, found });
        }
        if address.kind != "IPAddress" {
            continue;
        }
        // GatewaySpecAddress.value: "If empty, the implementation may assign any available address of the type".
        match address.value.as_deref().filter(|value| !value.is_empty()) {
            None => node.addresses.push(ANY),
            Some(value) => match value.parse::<IpAddr>() {
                // 0.0.0.0 and :: both ask for all of them: one socket, so that Gateways there meet and are judged
                Ok(ip) if ip.is_unspecified() => node.addresses.push(ANY),
                Ok(ip) => node.addresses.push(ip),
                Err(_) => node.problems.push(GatewayProblem::AddressNotIp { index, found: value }),
            },
        }
    }
    node.addresses.sort_unstable();
    node.addresses.dedup();
}

fn read_settings(node: &mut GatewayNode<'_>, settings: &Settings) {
    let spec = &node.gateway.spec;
    if let Some(infrastructure) = &spec.infrastructure {
        if let Some(parameters) = &infrastructure.parameters_ref {
            node.problems.push(GatewayProblem::Parameters(parameters));
        }
        let asked = !infrastructure.labels.is_empty() || !infrastructure.annotations.is_empty();
        if asked && settings.origin == Origin::Files {
            node.problems.push(GatewayProblem::InfrastructureUnused);
        }
    }
    if spec.listeners.is_empty() {
        node.problems.push(GatewayProblem::NoListeners);
    }
    if spec.tls.as_ref().and_then(|tls| tls.backend.as_ref()).is_some_and(|b| b.client_certificate_ref.is_some()) {
        node.problems.push(GatewayProblem::BackendClientCertificate);
    }
    if spec.allowed_listeners.as_ref().is_some_and(asks_for_sets) {
        node.problems.push(GatewayProblem::AllowedListeners);
    }
    if let Some(scope) = spec.default_scope.as_deref().filter(|scope| !scope.is_empty() && *scope != "None") {
        node.problems.push(GatewayProblem::DefaultScope(scope));
    }
}

fn asks_for_sets(allowed: &AllowedListeners) -> bool {
    let from = allowed.namespaces.as_ref().and_then(|namespaces| namespaces.from.as_ref());
    from.is_some_and(|from| *from != FromNamespaces::None)
}
