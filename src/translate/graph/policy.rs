//! UpstreamPolicies: which one is in force for each port of a Service, why others are not, and through which Gateways
//! a target is reached.
//!
//! The policies and Services held come in, then the routes; what an upstream is treated by goes out. A policy is in
//! force as a whole or not at all: the one that names the port before the one for its Service, among equals the older.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;

use super::created;
use super::grant::Grants;
use super::problem::{PolicyProblem, TargetProblem};
use super::route::RouteNode;
use super::treatment;
use crate::api::backend_tls_policy::LocalPolicyTargetReferenceWithSectionName;
use crate::api::upstream_policy::UpstreamPolicy;
use crate::api::{Kind, ObjectKey, Service};
use crate::snapshot::{Policy, UpstreamId};
use crate::store::Resources;
use crate::translate::References;

/// Group and kind of what a policy may be for.
const SERVICE: (&str, &str) = ("", "Service");

/// Every UpstreamPolicy, and which one each port of a Service is treated by.
#[derive(Debug, Default)]
pub struct Policies<'a> {
    /// By key.
    pub nodes: Vec<PolicyNode<'a>>,
    /// Positions in `nodes`.
    in_force: HashMap<(&'a str, &'a str, u16), usize, FixedState>,
}

/// Who holds each target: namespace, Service, name of a port or the whole of it -> the policy, with its position.
type Holders<'a> = HashMap<(&'a str, &'a str, Option<&'a str>), (usize, &'a ObjectKey), FixedState>;

/// An UpstreamPolicy.
#[derive(Debug)]
pub struct PolicyNode<'a> {
    /// Namespace and name.
    pub key: &'a ObjectKey,
    /// The object.
    pub policy: &'a UpstreamPolicy,
    /// What it says, or why it has no effect at all.
    pub treatment: Result<Policy, Vec<PolicyProblem<'a>>>,
    /// Its targets, in the order of the spec.
    pub targets: Vec<TargetNode<'a>>,
}

/// What a policy is for.
#[derive(Debug)]
pub struct TargetNode<'a> {
    /// The reference.
    pub reference: &'a LocalPolicyTargetReferenceWithSectionName,
    /// Why the policy has no effect on it, the values of the policy aside.
    pub problem: Option<TargetProblem<'a>>,
    /// Positions of the Gateways of ours with a route that refers to it.
    pub gateways: BTreeSet<usize>,
    /// Its ports; none where that cannot be told.
    ports: Option<Vec<i32>>,
}

impl<'a> Policies<'a> {
    /// Resolves the targets of every policy held, and settles which policy is in force where.
    pub fn new(resources: &'a Resources) -> Self {
        let nodes = resources.upstream_policies.iter().map(|(key, policy)| PolicyNode {
            key,
            policy,
            treatment: treatment::read(&policy.spec),
            targets: policy.spec.target_refs.iter().map(|reference| target(resources, key, reference)).collect(),
        });
        let mut policies = Policies { nodes: nodes.collect(), in_force: HashMap::default() };
        policies.settle(resources);
        policies
    }

    /// Notes every Service that a policy is for.
    pub fn note(&self, references: &mut References) {
        for node in &self.nodes {
            for target in &node.targets {
                references.add(Kind::Service, &node.key.namespace, &target.reference.name);
            }
        }
    }

    /// What an upstream is treated by: a policy, or the defaults.
    pub fn of(&self, id: &UpstreamId) -> Policy {
        let position = self.in_force.get(&(id.namespace.as_str(), id.service.as_str(), id.port));
        let node = position.and_then(|position| self.nodes.get(*position));
        node.and_then(|node| node.treatment.as_ref().ok()).cloned().unwrap_or_default()
    }

    /// Finds the Gateways through which each target is reached: those that take a route of which some backendRef or
    /// mirror refers to it.
    pub fn reach(&mut self, routes: &[RouteNode<'_>], grants: &Grants<'_>) {
        let mut by_service: HashMap<(&str, &str), Vec<&mut TargetNode<'a>>, FixedState> = HashMap::default();
        for node in &mut self.nodes {
            for target in &mut node.targets {
                if target.problem != Some(TargetProblem::Kind) {
                    let service = (node.key.namespace.as_str(), target.reference.name.as_str());
                    by_service.entry(service).or_default().push(target);
                }
            }
        }
        if by_service.is_empty() {
            return;
        }
        for route in routes {
            let from = route.key.namespace.as_str();
            let taken = route.parents.iter().filter(|parent| parent.outcome.is_ok()).map(|parent| parent.gateway);
            let gateways: BTreeSet<usize> = taken.collect();
            for reference in route.asked.references() {
                let namespace = reference.namespace.as_deref().unwrap_or(from);
                let to = (reference.group.as_str(), reference.kind.as_str());
                let Some(targets) = by_service.get_mut(&(namespace, reference.name.as_str())) else { continue };
                if to != SERVICE || !grants.permit(route.asked.kind(), from, to, namespace, &reference.name) {
                    continue;
                }
                for target in targets.iter_mut().filter(|target| target.has(reference.port)) {
                    target.gateways.extend(&gateways);
                }
            }
        }
    }

    /// Gives each target to the oldest of the valid policies that have it, then to each port its policy.
    fn settle(&mut self, resources: &'a Resources) {
        let mut by_age: Vec<(usize, &mut PolicyNode<'a>)> = self.nodes.iter_mut().enumerate().collect();
        by_age.sort_by_key(|(_, node)| (created(&node.policy.metadata), node.key));
        let mut taken = Holders::default();
        for (position, node) in by_age.into_iter().filter(|(_, node)| node.treatment.is_ok()) {
            for target in node.targets.iter_mut().filter(|target| target.problem.is_none()) {
                let TargetNode { reference, .. } = target;
                let wanted = (node.key.namespace.as_str(), reference.name.as_str(), reference.section_name.as_deref());
                let (_, holder) = *taken.entry(wanted).or_insert((position, node.key));
                if holder != node.key {
                    target.problem = Some(TargetProblem::Conflicted(holder));
                }
            }
        }
        let services: BTreeSet<(&'a str, &'a str)> =
            taken.keys().map(|(namespace, name, _)| (*namespace, *name)).collect();
        for (namespace, name) in services {
            let service = resources.services.get(&ObjectKey::new(namespace, name));
            let mut seen = BTreeSet::new();
            // of several ports with one number the first counts, as for backendRefs
            for (number, port_name) in service.into_iter().flat_map(ports).filter(|(number, _)| seen.insert(*number)) {
                let held = |section| taken.get(&(namespace, name, section)).map(|(position, _)| *position);
                let named = port_name.and_then(|port| held(Some(port)));
                if let (Some(position), Ok(number)) = (named.or_else(|| held(None)), u16::try_from(number)) {
                    self.in_force.insert((namespace, name, number), position);
                }
            }
        }
    }
}

impl TargetNode<'_> {
    /// Whether a reference to this port of the Service refers to the target.
    fn has(&self, port: Option<i32>) -> bool {
        self.ports.as_ref().is_none_or(|ports| port.is_some_and(|port| ports.contains(&port)))
    }
}

fn target<'a>(
    resources: &'a Resources,
    policy: &ObjectKey,
    reference: &'a LocalPolicyTargetReferenceWithSectionName,
) -> TargetNode<'a> {
    let found = ports_of(resources, &policy.namespace, reference);
    let (problem, ports) = found.map_or_else(|problem| (Some(problem), None), |ports| (None, Some(ports)));
    TargetNode { reference, problem, gateways: BTreeSet::new(), ports }
}

fn ports_of<'a>(
    resources: &Resources,
    namespace: &str,
    reference: &LocalPolicyTargetReferenceWithSectionName,
) -> Result<Vec<i32>, TargetProblem<'a>> {
    if (reference.group.as_str(), reference.kind.as_str()) != SERVICE {
        return Err(TargetProblem::Kind);
    }
    let key = ObjectKey::new(namespace, reference.name.as_str());
    let service = resources.services.get(&key).ok_or(TargetProblem::NotFound)?;
    let section = reference.section_name.as_deref();
    let wanted = ports(service).filter(|(_, name)| section.is_none() || *name == section);
    let numbers: Vec<i32> = wanted.map(|(number, _)| number).collect();
    if section.is_some() && numbers.is_empty() { Err(TargetProblem::PortNotFound) } else { Ok(numbers) }
}

/// Number and name of each TCP port.
fn ports(service: &Service) -> impl Iterator<Item = (i32, Option<&str>)> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    tcp.map(|port| (port.port, port.name.as_deref()))
}
