//! Gateways of our classes: addresses, class, and the listeners that they hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::address::{self, Addresses};
use super::bind;
use super::certificate::Certificates;
use super::class::ClassNode;
use super::conflict;
use super::gateway_service::{self, ServiceNode};
use super::listener::{self, ListenerNode};
use super::problem::{GatewayProblem, Remark};
use super::spec_address::{Routability, SpecAddress, SpecValue};
use super::{Remarks, Settings, created};
use crate::api::gateway::{AllowedListeners, FromNamespaces, Gateway};
use crate::api::{Condition, Kind, ObjectKey};
use crate::store::Resources;
use crate::translate::{Exposure, Fleet, Origin};

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
    /// Addresses of IP asked for, without doubles.
    pub asked: Vec<SpecAddress<'a>>,
    /// The Service in front of it, where listeners are exposed by one.
    pub service: Option<ServiceNode<'a>>,
    /// Under which addresses it is reached.
    pub reached: Addresses<'a>,
    /// Its listeners, in the order of the spec.
    pub listeners: Vec<ListenerNode<'a>>,
    /// The status that it has says `Programmed` of this very generation.
    pub was_programmed: bool,
    /// Every data plane that is waited for serves this generation.
    pub serves_everywhere: bool,
}

impl GatewayNode<'_> {
    /// Whether nothing speaks against the Gateway as a whole (its listeners are another question).
    pub fn accepted(&self) -> bool {
        !self.problems.iter().any(GatewayProblem::refuses)
    }

    /// Where listeners are bound on the host, the addresses to bind, sorted. [`ANY`] stands among them for all.
    pub fn host_ips(&self) -> Vec<IpAddr> {
        if self.gateway.spec.addresses.is_empty() {
            return vec![ANY];
        }
        let ips = self.asked.iter().filter_map(|asked| match asked.value {
            SpecValue::Any => Some(ANY),
            SpecValue::Ip(ip) => Some(ip),
            SpecValue::NotIp(_) => None,
        });
        let mut ips: Vec<IpAddr> = ips.collect();
        ips.sort_unstable();
        ips.dedup();
        ips
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
        let mut node = GatewayNode {
            key,
            gateway,
            problems: Vec::new(),
            asked: Vec::new(),
            service: None,
            reached: Addresses::default(),
            listeners: Vec::new(),
            was_programmed: says_programmed(
                gateway.status.iter().flat_map(|status| &status.conditions),
                gateway,
                settings,
            ),
            serves_everywhere: serves_everywhere(gateway, resources, settings),
        };
        if class.problem.is_some() {
            node.problems.push(GatewayProblem::ClassNotAccepted(name));
        }
        read_addresses(&mut node, settings.exposure);
        read_settings(&mut node, settings);
        node.listeners = listener::listeners(&mut node.problems, key, gateway, settings, certificates);
        for listener in &mut node.listeners {
            let statuses = gateway.status.iter().flat_map(|status| &status.listeners);
            let own = statuses.filter(|status| status.name == listener.listener.name);
            listener.was_programmed = says_programmed(own.flat_map(|status| &status.conditions), gateway, settings);
        }
        conflict::within(&mut node.listeners);
        nodes.push(node);
    }

    let mut by_age: Vec<&mut GatewayNode<'a>> = nodes.iter_mut().collect();
    by_age.sort_by_key(|node| (created(&node.gateway.metadata), node.key));
    match settings.exposure {
        Exposure::Host => by_age.iter_mut().for_each(|node| on_host(node)),
        Exposure::Service => gateway_service::expose(&mut by_age, resources, settings.binds),
    }
    by_age.retain(|node| node.accepted());
    conflict::across(by_age);
    for node in &mut nodes {
        let accepted = node.accepted();
        for listener in &mut node.listeners {
            listener.settle(accepted);
            listener.binds = bind::outcomes(listener, resources, settings);
        }
        conflict::overlaps(&mut node.listeners);
        node.reached = address::addresses(node, resources, settings);
    }
    nodes
}

fn on_host(node: &mut GatewayNode<'_>) {
    let ips = node.host_ips();
    for listener in &mut node.listeners {
        listener.addresses = bind::addresses(&ips, listener.bound_port);
    }
}

/// Whether these conditions say that the Gateway's generation is programmed. A process that has just started, and
/// has not heard of its own ports and of the other data planes, does not take that back.
fn says_programmed<'c>(
    conditions: impl IntoIterator<Item = &'c Condition>,
    gateway: &Gateway,
    settings: &Settings,
) -> bool {
    // From files, a status is whatever somebody wrote down.
    let generation = gateway.metadata.generation.filter(|_| settings.origin == Origin::Kubernetes);
    let mut programmed = conditions.into_iter().filter(|c| c.kind == "Programmed" && c.status == "True");
    generation.is_some() && programmed.any(|condition| condition.observed_generation == generation)
}

fn serves_everywhere(gateway: &Gateway, resources: &Resources, settings: &Settings) -> bool {
    let metadata = &gateway.metadata;
    let applied = metadata.uid.as_ref().and_then(|uid| resources.applied.get(uid)).copied();
    settings.fleet == Fleet::Alone || applied >= Some(metadata.generation.unwrap_or_default())
}

fn read_addresses(node: &mut GatewayNode<'_>, exposure: Exposure) {
    for (index, entry) in node.gateway.spec.addresses.iter().enumerate() {
        let asked = SpecAddress::read(index, entry);
        if entry.kind != "IPAddress" {
            node.problems.push(GatewayProblem::AddressType { index, found: &entry.kind });
        }
        // an address of a machine has no cluster IP in front of it, and says nothing of who reaches it
        if exposure == Exposure::Host && asked.routability != Routability::Any {
            let found = entry.routability.as_deref().unwrap_or_default();
            node.problems.push(GatewayProblem::Routability { index, found });
        }
        if entry.kind != "IPAddress" {
            continue;
        }
        if let SpecValue::NotIp(found) = asked.value {
            node.problems.push(GatewayProblem::AddressNotIp { index, found });
        }
        if !node.asked.iter().any(|other| asked.repeats(other)) {
            node.asked.push(asked);
        }
    }
}

fn read_settings(node: &mut GatewayNode<'_>, settings: &Settings) {
    let spec = &node.gateway.spec;
    if let Some(infrastructure) = &spec.infrastructure {
        if let Some(parameters) = &infrastructure.parameters_ref {
            node.problems.push(GatewayProblem::Parameters(parameters));
        }
        let asked = !infrastructure.labels.is_empty() || !infrastructure.annotations.is_empty();
        if asked && settings.exposure == Exposure::Host {
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
