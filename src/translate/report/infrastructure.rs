//! What is wished for around the data plane: a Service for each Gateway. Who writes it chooses the target ports; the
//! Service is their record, and is read back as an object.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::api::ObjectKey;
use crate::snapshot::BindProtocol;
use crate::translate::graph::Graph;
use crate::translate::graph::gateway::GatewayNode;
use crate::translate::graph::listener::ListenerNode;
use crate::translate::graph::spec_address::SpecAddress;
use crate::translate::{Exposure, Settings};

pub use crate::translate::graph::gateway_service::{MANAGED_BY, TARGET_PORTS};

/// Everything wished for. Empty where listeners are bound on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Infrastructure {
    /// By Gateway. A Service of ours for a Gateway that is not here is to go.
    pub services: BTreeMap<ObjectKey, GatewayService>,
}

/// The Service that a Gateway is to have, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayService {
    /// Name of the Service.
    pub name: String,
    /// Name of the Gateway's class, in full.
    pub class: String,
    /// Of the Gateway, which owns the Service.
    pub owner_uid: String,
    /// By the port that clients use; at least one.
    pub ports: BTreeMap<u16, ServicePort>,
    /// `spec.infrastructure.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.addresses` with a value, sorted, but for those of the cluster.
    pub requested: BTreeSet<IpAddr>,
    /// The first of those that are to be a cluster IP; only a new Service can be given one.
    pub cluster_ip: Option<IpAddr>,
    /// Who the addresses are for.
    pub audience: Audience,
}

/// Who the addresses of a Service are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever the pattern of Services says.
    Everyone,
    /// Those inside the cluster: nothing else is asked for, so there is to be no load balancer and no port of a node.
    Cluster,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `appProtocol`, for clouds that look at it.
    pub app_protocol: &'static str,
}

/// Reads the wishes off the graph.
pub fn infrastructure(graph: &Graph<'_>, settings: &Settings) -> Infrastructure {
    match settings.exposure {
        Exposure::Host => Infrastructure::default(),
        Exposure::Service => {
            let wishes = graph.gateways.iter().filter_map(|node| Some((node.key.clone(), wish(node)?)));
            Infrastructure { services: wishes.collect() }
        }
    }
}

/// Nothing for a Gateway that is not accepted, in itself or in any listener, nor for one that is being deleted. A port
/// whose listener cannot serve yet, for want of a certificate, has its place already: its address is to stay.
fn wish(node: &GatewayNode<'_>) -> Option<GatewayService> {
    let metadata = &node.gateway.metadata;
    let named = node.service.as_ref().and_then(|service| service.key.as_ref());
    let key = named.filter(|_| node.accepted() && metadata.deletion_timestamp.is_none())?;
    let ports: BTreeMap<u16, ServicePort> = node.listeners.iter().filter_map(port).collect();
    if ports.is_empty() {
        return None;
    }
    let infrastructure = node.gateway.spec.infrastructure.as_ref();
    Some(GatewayService {
        name: key.name.clone(),
        class: node.gateway.spec.gateway_class_name.clone(),
        owner_uid: metadata.uid.clone()?,
        ports,
        labels: infrastructure.map(|infrastructure| infrastructure.labels.clone()).unwrap_or_default(),
        annotations: infrastructure.map(|infrastructure| infrastructure.annotations.clone()).unwrap_or_default(),
        requested: node.asked.iter().filter_map(SpecAddress::ordinary_ip).collect(),
        cluster_ip: node.asked.iter().find_map(SpecAddress::cluster_ip),
        audience: audience(node),
    })
}

/// "An internal-only Gateway" asks for addresses of the cluster, and for no other.
fn audience(node: &GatewayNode<'_>) -> Audience {
    let may_be_outside = |asked: &SpecAddress<'_>| asked.routability.may_be_outside();
    if node.asked.is_empty() || node.asked.iter().any(may_be_outside) { Audience::Everyone } else { Audience::Cluster }
}

fn port(listener: &ListenerNode<'_>) -> Option<(u16, ServicePort)> {
    let app_protocol = match listener.protocol? {
        BindProtocol::Http => "http",
        BindProtocol::Https => "https",
    };
    let port = listener.port.filter(|_| listener.accepted())?;
    Some((port, ServicePort { app_protocol }))
}

/// By uid, the generation of each Gateway of which nothing waits to be bound here.
pub fn applied(graph: &Graph<'_>) -> BTreeMap<String, i64> {
    let gateways = graph.gateways.iter().filter_map(|node| {
        let metadata = &node.gateway.metadata;
        let waits = node.listeners.iter().any(|l| l.pending().is_some() || l.awaited_target().is_some());
        let (uid, generation) = (metadata.uid.clone()?, metadata.generation?);
        (!waits).then_some((uid, generation))
    });
    gateways.collect()
}
