//! What is wished for around the data plane: a Service for each Gateway. Who writes it chooses the target ports; the
//! Service is their record, and is read back as an object.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::api::ObjectKey;
use crate::translate::graph::Graph;
use crate::translate::graph::bind::BindOutcome;
use crate::translate::{Exposure, Settings};

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
    /// By the port that clients use.
    pub ports: BTreeMap<u16, ServicePort>,
    /// `spec.infrastructure.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.addresses` with a value, sorted.
    pub requested: BTreeSet<IpAddr>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `appProtocol`, for clouds that look at it.
    pub app_protocol: &'static str,
}

/// Reads the wishes off the graph.
pub fn infrastructure(_graph: &Graph<'_>, settings: &Settings) -> Infrastructure {
    match settings.exposure {
        Exposure::Host | Exposure::Service => Infrastructure::default(),
    }
}

/// By uid, the generation of each Gateway of which nothing waits to be bound here.
pub fn applied(graph: &Graph<'_>) -> BTreeMap<String, i64> {
    let gateways = graph.gateways.iter().filter_map(|node| {
        let metadata = &node.gateway.metadata;
        let waits = node.listeners.iter().flat_map(|listener| &listener.binds).any(|(_, o)| *o == BindOutcome::Pending);
        let (uid, generation) = (metadata.uid.clone()?, metadata.generation?);
        (!waits).then_some((uid, generation))
    });
    gateways.collect()
}
