//! Graph -> what people are told: statuses for the API, findings for `check` and the log.

mod address;
mod applied;
mod class;
mod condition;
mod filter;
mod gateway;
mod infrastructure;
mod listener;
mod policy;
mod route;
mod route_condition;
mod unserved;
mod wording;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::backend_tls_policy::PolicyStatus;
use crate::api::gateway::GatewayStatus;
use crate::api::gateway_class::GatewayClassStatus;
use crate::api::listener_set::ListenerSetStatus;
use crate::api::{Kind, ObjectKey, ObjectMeta, ObjectRef, RouteStatus};
use crate::translate::graph::Graph;
use crate::translate::{Origin, Settings};

use condition::Telling;

pub use applied::Applied;
pub use infrastructure::{Audience, GatewayService, Infrastructure, MANAGED_BY, ServicePort, TARGET_PORTS};
pub(super) use infrastructure::{applied, infrastructure};

/// The status of every object that is ours to report on: only our own entries and conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statuses {
    /// By name.
    pub gateway_classes: BTreeMap<ObjectKey, GatewayClassStatus>,
    /// By namespace and name.
    pub gateways: BTreeMap<ObjectKey, GatewayStatus>,
    /// Routes of every kind.
    pub routes: BTreeMap<ObjectRef, RouteStatus>,
    /// ListenerSets, by namespace and name.
    pub listener_sets: BTreeMap<ObjectKey, ListenerSetStatus>,
    /// Policies of every kind.
    pub policies: BTreeMap<ObjectRef, PolicyStatus>,
}

/// Something to tell a person about an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Whose.
    pub object: ObjectRef,
    /// Path of the field, as `spec.rules[0].backendRefs[1].name`; empty for the object as a whole.
    pub field: String,
    /// Problem or note.
    pub severity: Severity,
    /// The reason of the condition that says the same, or one word.
    pub reason: String,
    /// What was found and what is allowed.
    pub message: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// Not as asked: `check` exits with 1.
    Problem,
    /// Worth knowing; nothing is wrong.
    Note,
}

/// Reads statuses and findings off the graph. Findings are sorted and without doubles.
pub(super) fn report(graph: &Graph<'_>, settings: &Settings) -> (Statuses, Vec<Finding>) {
    let mut statuses = Statuses::default();
    let mut findings = Findings(Vec::new());
    for node in graph.classes.values() {
        statuses.gateway_classes.insert(node.key.clone(), class::status(node, settings));
        findings.add(Kind::GatewayClass, node.key, node.problem.iter().map(condition::class));
    }
    for node in &graph.gateways {
        let (told, status) = gateway::report(node, settings);
        statuses.gateways.insert(node.key.clone(), status);
        findings.add(Kind::Gateway, node.key, told);
    }
    // Collected, not inserted one by one: the routes are sorted already, which makes a map of thousands cheap.
    let routes = graph.routes.iter().map(|node| {
        let (told, status) = route::report(node, graph, settings);
        findings.add(node.asked.kind(), node.key, told);
        (ObjectRef { kind: node.asked.kind(), key: node.key.clone() }, status)
    });
    statuses.routes = routes.collect();
    for node in &graph.policies.nodes {
        let (told, status) = policy::report(node, graph, settings);
        findings.add(Kind::UpstreamPolicy, node.key, told);
        let object = ObjectRef { kind: Kind::UpstreamPolicy, key: node.key.clone() };
        statuses.policies.extend(status.map(|status| (object, status)));
    }
    for node in &graph.unserved {
        unserved::report(node, settings, &mut statuses);
    }
    for (kind, key, remark) in graph.remarks.iter() {
        findings.add(*kind, key, [route_condition::remark(remark, &settings.controller_name)]);
    }
    let mut findings = findings.0;
    findings.sort();
    findings.dedup();
    (statuses, findings)
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, kind: Kind, key: &ObjectKey, told: impl IntoIterator<Item = Telling>) {
        self.0.extend(told.into_iter().map(|telling| Finding {
            object: ObjectRef { kind, key: key.clone() },
            field: telling.field,
            severity: telling.severity,
            reason: telling.reason.to_owned(),
            message: telling.message,
        }));
    }
}

/// The generation that is judged. Files have none: it counts as 1.
fn generation(metadata: &ObjectMeta, settings: &Settings) -> Option<i64> {
    match settings.origin {
        Origin::Files => Some(metadata.generation.unwrap_or(1)),
        Origin::Kubernetes => metadata.generation,
    }
}
