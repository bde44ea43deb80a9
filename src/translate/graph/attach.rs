//! Attachment: which listeners take a route.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::Remarks;
use super::gateway::GatewayNode;
use super::listener::{ListenerNode, ListenerState, share_hosts};
use super::namespace::Namespaces;
use super::problem::{AttachProblem, Refusal, RefusalReason, Remark};
use crate::api::gateway::FromNamespaces;
use crate::api::kind::GATEWAY_GROUP;
use crate::api::{Kind, ObjectKey, ParentReference};
use crate::router::Hostname;
use crate::store::Resources;
use crate::translate::Origin;

/// A parentRef to a Gateway of ours, and what became of it.
#[derive(Debug)]
pub struct ParentNode<'a> {
    /// The reference.
    pub reference: &'a ParentReference,
    /// Its position in the spec.
    pub position: usize,
    /// Position of the Gateway in the graph.
    pub gateway: usize,
    /// Positions of the listeners that take the route.
    pub outcome: Result<Vec<usize>, AttachProblem<'a>>,
}

/// The hosts of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteHosts {
    /// Every host of the listener.
    Any,
    /// These, without doubles. None, if each one was malformed: that is not every host.
    Listed(Vec<Hostname>),
}

impl RouteHosts {
    /// Whether there is a host at all.
    pub fn any(&self) -> bool {
        !matches!(self, RouteHosts::Listed(hosts) if hosts.is_empty())
    }

    /// Whether some host is taken by both.
    pub fn meet(&self, listener: Option<&Hostname>) -> bool {
        match self {
            RouteHosts::Any => true,
            RouteHosts::Listed(hosts) => hosts.iter().any(|host| share_hosts(Some(host), listener)),
        }
    }
}

/// Where a parentRef leads.
pub enum Target {
    /// To a Gateway of ours, by its position.
    Ours(usize),
    /// To somewhere else.
    Elsewhere,
}

/// What attaching needs to know.
pub struct Parents<'a> {
    resources: &'a Resources,
    origin: Origin,
    namespaces: Namespaces<'a>,
    by_key: HashMap<(&'a str, &'a str), usize, FixedState>,
}

impl<'a> Parents<'a> {
    /// Over the Gateways of the graph.
    pub fn new(
        resources: &'a Resources,
        origin: Origin,
        namespaces: Namespaces<'a>,
        gateways: &[GatewayNode<'a>],
    ) -> Self {
        let key = |node: &GatewayNode<'a>| (node.key.namespace.as_str(), node.key.name.as_str());
        let by_key = gateways.iter().enumerate().map(|(index, node)| (key(node), index)).collect();
        Parents { resources, origin, namespaces, by_key }
    }

    /// Where a parentRef of a route leads; what it leads past is remarked.
    pub fn find(
        &self,
        route: (Kind, &'a ObjectKey),
        index: usize,
        reference: &'a ParentReference,
        remarks: &mut Remarks<'a>,
    ) -> Target {
        if reference.group != GATEWAY_GROUP || reference.kind != Kind::Gateway.name() {
            remarks.add(route.0, route.1, Remark::ParentKind { index, parent: reference.clone() });
            return Target::Elsewhere;
        }
        let namespace = reference.namespace.as_deref().unwrap_or(&route.1.namespace);
        if let Some(&gateway) = self.by_key.get(&(namespace, reference.name.as_str())) {
            return Target::Ours(gateway);
        }
        let absent = || !self.resources.gateways.contains_key(&ObjectKey::new(namespace, reference.name.as_str()));
        if self.origin == Origin::Files && absent() {
            remarks.add(route.0, route.1, Remark::ParentNotFound { index, parent: reference });
        }
        Target::Elsewhere
    }

    /// Which listeners of a Gateway take a route by one parentRef. The reasons are looked at in the order
    /// NoMatchingParent, NotAllowedByListeners, NoMatchingListenerHostname (gateway-api.md 6.3).
    pub fn attach(
        &self,
        gateway: &GatewayNode<'a>,
        reference: &ParentReference,
        kind: Kind,
        namespace: &str,
        hosts: &RouteHosts,
    ) -> Result<Vec<usize>, AttachProblem<'a>> {
        let mut named = false;
        let mut refusals = Vec::new();
        let mut other_hosts = Vec::new();
        let mut taken = Vec::new();
        for (position, listener) in gateway.listeners.iter().enumerate() {
            let section = reference.section_name.as_deref().is_none_or(|name| name == listener.name());
            let port = reference.port.is_none_or(|port| port == listener.listener.port);
            if !(section && port) {
                continue;
            }
            named = true;
            if let Some(why) = self.refusal(gateway.key, listener, kind, namespace) {
                refusals.push(Refusal { listener: listener.name(), why });
            } else if hosts.meet(listener.hostname.as_ref()) {
                taken.push(position);
            } else {
                other_hosts.push(listener.name());
            }
        }
        if !taken.is_empty() {
            Ok(taken)
        } else if !named {
            Err(AttachProblem::NoMatchingParent {
                section: reference.section_name.clone(),
                port: reference.port,
                listeners: gateway.listeners.iter().map(|there| (there.name(), there.listener.port)).collect(),
            })
        } else if other_hosts.is_empty() {
            Err(AttachProblem::NotAllowed(refusals))
        } else {
            Err(AttachProblem::NoMatchingHostname(other_hosts))
        }
    }

    /// Why a listener does not allow a route; "only listener allowedRoutes decides" (6.6), no grant is needed.
    fn refusal(
        &self,
        gateway: &ObjectKey,
        listener: &ListenerNode<'a>,
        kind: Kind,
        namespace: &str,
    ) -> Option<RefusalReason> {
        if !listener.kinds.iter().any(|allowed| allowed.kind == kind.name()) {
            return Some(RefusalReason::Kind);
        }
        if listener.state == ListenerState::Rejected {
            return Some(RefusalReason::Listener);
        }
        let allowed = listener.listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        let from = allowed.and_then(|namespaces| namespaces.from.as_ref()).unwrap_or(&FromNamespaces::Same);
        let permitted = match from {
            FromNamespaces::All => true,
            FromNamespaces::Same => namespace == gateway.namespace,
            FromNamespaces::Selector => {
                let selector = allowed.and_then(|namespaces| namespaces.selector.as_ref());
                selector.is_some_and(|s| super::namespace::fault(s).is_none() && self.namespaces.select(s, namespace))
            }
            FromNamespaces::None | FromNamespaces::Other(_) => false,
        };
        (!permitted).then_some(RefusalReason::Namespace)
    }
}
