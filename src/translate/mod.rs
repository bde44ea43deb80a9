//! PURE. Objects in, a [`Snapshot`] and [`Statuses`] out; total, deterministic, no I/O, no clock, no logging.
//!
//! Three stages: `graph/` resolves every reference and keeps what is wrong as data; `compile/` reads the graph
//! into what the data plane serves; `report/` reads the same graph into what people are told.

mod compile;
mod graph;
mod judged;
mod reference;
pub mod report;

use std::collections::BTreeMap;

use crate::snapshot::{EndpointSet, Snapshot, UpstreamId};
use crate::store::Resources;

pub use judged::Judged;
pub use reference::References;
pub use report::{Applied, Audience, Finding, GatewayService, Infrastructure, ServicePort, Severity, Statuses};

/// What the translator must know beside the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The `controllerName` whose GatewayClasses are ours.
    pub controller_name: String,
    /// Where the objects come from: files may leave out what an API server would add.
    pub origin: Origin,
    /// Whether `Resources::binds` tells the truth yet, or every bind is taken to succeed (`transom check`).
    pub binds: Binds,
    /// Added to each listener port below 1024 when it is bound.
    pub port_offset: u16,
    /// How listeners are reached.
    pub exposure: Exposure,
    /// Addresses that Gateways on the host's network show, instead of those of the nodes (`Resources::host_addresses`).
    pub publish_addresses: Vec<String>,
    /// Who must serve a Gateway before it is programmed.
    pub fleet: Fleet,
}

/// How listeners are reached from outside the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// By their own ports on the machine (files, `hostNetwork`).
    Host,
    /// By a Service for each Gateway, whose target ports are bound (architecture.md, decision 9).
    Service,
}

/// Who must serve a Gateway before it is programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fleet {
    /// This process.
    Alone,
    /// Every ready data plane, as `Resources::applied` tells.
    Shared,
}

/// Where the objects come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Files: Namespaces may be absent, a missing generation counts as 1.
    Files,
    /// An API server.
    Kubernetes,
}

/// How `Programmed` is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binds {
    /// As if every address could be bound.
    Assumed,
    /// So, and as if target ports had been chosen where nobody has chosen any yet: before an install runs.
    Foreseen,
    /// By `Resources::binds`; an address that is not in it is pending.
    Observed,
}

/// Everything read off one graph.
#[derive(Debug)]
pub struct Translation {
    /// For the data plane.
    pub snapshot: Snapshot,
    /// For the API, or `check -o yaml`.
    pub statuses: Statuses,
    /// Every problem and note, for people, sorted by object.
    pub findings: Vec<Finding>,
    /// What was looked at on the way.
    pub references: References,
    /// What is wished for around the data plane.
    pub infrastructure: Infrastructure,
    /// By uid of the Gateway, the generation that this process serves: nothing of it waits to be bound.
    pub applied: BTreeMap<String, i64>,
    /// Which objects all of it is about.
    pub judged: Judged,
}

/// Translates everything: resolve once, then read both the snapshot and the reports off the same graph.
#[must_use]
pub fn translate(resources: &Resources, settings: &Settings) -> Translation {
    graph::resolve(resources, settings, |graph| {
        let (statuses, findings) = report::report(&graph, settings);
        let snapshot = compile::compile(&graph, settings);
        let (infrastructure, applied) = (report::infrastructure(&graph, settings), report::applied(&graph));
        let judged = Judged::of(resources);
        Translation { snapshot, statuses, findings, references: graph.references, judged, infrastructure, applied }
    })
}

/// The endpoints of one upstream, without translating anything else.
#[must_use]
pub fn endpoints(resources: &Resources, id: &UpstreamId) -> EndpointSet {
    graph::endpoint::of_upstream(resources, id)
}
