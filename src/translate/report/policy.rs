//! Status of an UpstreamPolicy: one entry for each Gateway of ours through which a target is reached, by name. The
//! worst that is to be said of a target there is the reason; the message names the targets.

use std::collections::BTreeSet;

use super::condition::{self, ACCEPTED, Telling, named};
use super::{Severity, generation, wording};
use crate::api::backend_tls_policy::{PolicyAncestorStatus, PolicyStatus};
use crate::api::kind::GATEWAY_GROUP;
use crate::api::{Kind, ObjectKey, ParentReference};
use crate::translate::graph::Graph;
use crate::translate::graph::policy::{PolicyNode, TargetNode};
use crate::translate::graph::problem::{PolicyProblem, TargetProblem};
use crate::translate::{Origin, Settings};

/// What a wrong value means.
const NO_EFFECT: &str = "the policy has no effect, and the defaults apply where no other policy does";
/// The CRD allows so many ancestors.
const MOST_ANCESTORS: usize = 16;

/// Everything told of a policy, and its status; none where no Gateway of ours has to do with it.
pub fn report(node: &PolicyNode<'_>, graph: &Graph<'_>, settings: &Settings) -> (Vec<Telling>, Option<PolicyStatus>) {
    let reached: BTreeSet<usize> = node.targets.iter().flat_map(|target| target.gateways.iter().copied()).collect();
    // In a cluster it may be about another controller's Gateways; from files there is no other controller.
    if reached.is_empty() && settings.origin == Origin::Kubernetes {
        return (Vec::new(), None);
    }
    let values: Vec<Telling> = node.treatment.as_ref().err().into_iter().flatten().map(value).collect();
    let mut told: Vec<Telling> = values.iter().map(|value| with_effect(value.clone())).collect();
    let of_targets = node.targets.iter().enumerate();
    told.extend(of_targets.filter_map(|(position, of)| Some(target(node.key, position, of, of.problem?))));
    if node.treatment.is_ok() && settings.origin == Origin::Files {
        told.extend(
            node.targets.iter().enumerate().filter_map(|(position, target)| unused(node.key, position, target)),
        );
    }
    if reached.len() > MOST_ANCESTORS {
        let message = format!(
            "the targets are reached through {} Gateways; the status names the first {MOST_ANCESTORS}",
            reached.len()
        );
        told.push(Telling::only(Severity::Note, "Ancestors", "", message));
    }
    let generation = generation(&node.policy.metadata, settings);
    let ancestors = reached.into_iter().take(MOST_ANCESTORS).filter_map(|gateway| {
        let mut against = values.clone();
        against.extend(against_targets(node, gateway));
        let mut accepted = condition::conclude(ACCEPTED, &against, ("Accepted", "accepted"), generation);
        let in_force = in_force(node, gateway);
        if !values.is_empty() {
            accepted.message = format!("{}; {NO_EFFECT}", accepted.message);
        } else if !against.is_empty() && !in_force.is_empty() {
            accepted.message = format!("{}; in force for {in_force}", accepted.message);
        }
        Some(PolicyAncestorStatus {
            ancestor_ref: reference(graph.gateways.get(gateway)?.key),
            controller_name: settings.controller_name.clone(),
            conditions: vec![accepted],
        })
    });
    let ancestors: Vec<_> = ancestors.collect();
    (told, (!ancestors.is_empty()).then_some(PolicyStatus { ancestors }))
}

/// What is said of the targets towards one Gateway, the worst first. What is wrong with a target by itself is said to
/// every Gateway: nowhere else would it be. That another policy has it matters where it is reached.
fn against_targets(node: &PolicyNode<'_>, gateway: usize) -> Vec<Telling> {
    let mut against: Vec<(TargetProblem<'_>, Telling)> = Vec::new();
    for (position, of) in node.targets.iter().enumerate() {
        let Some(problem) = of.problem else { continue };
        if !matches!(problem, TargetProblem::Conflicted(_)) || of.gateways.contains(&gateway) {
            against.push((problem, target(node.key, position, of, problem)));
        }
    }
    against.sort_by_key(|(problem, _)| match problem {
        TargetProblem::Kind => 0,
        TargetProblem::NotFound | TargetProblem::PortNotFound => 1,
        TargetProblem::Conflicted(_) => 2,
    });
    against.into_iter().map(|(_, telling)| telling).collect()
}

/// The targets that the policy is in force for, as far as this Gateway has to do with them.
fn in_force(node: &PolicyNode<'_>, gateway: usize) -> String {
    if node.treatment.is_err() {
        return String::new();
    }
    let good = node.targets.iter().filter(|target| target.problem.is_none() && target.gateways.contains(&gateway));
    let names: Vec<String> = good.map(|target| who(node.key, target)).collect();
    wording::names(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn with_effect(mut telling: Telling) -> Telling {
    telling.message = format!("{}; {NO_EFFECT}", telling.message);
    telling
}

/// Of a value.
fn value(problem: &PolicyProblem<'_>) -> Telling {
    let (field, message) = match problem {
        PolicyProblem::NoTargets => ("targetRefs".to_owned(), "no target is given; allowed: 1 to 16".to_owned()),
        PolicyProblem::Text { field, found, allowed } => {
            ((*field).to_owned(), format!("{:?} cannot be used; allowed: {allowed}", wording::clip(found)))
        }
        PolicyProblem::MemberMissing { field, of } => {
            ((*field).to_owned(), format!("nothing is given; type {of} needs a value"))
        }
        PolicyProblem::MemberOfOther { field, of, found } => {
            ((*field).to_owned(), format!("a value is given with type {found:?}; allowed: with type {of} only"))
        }
        PolicyProblem::Duration { field, found } => (
            (*field).to_owned(),
            format!("{:?} is not a duration; allowed: such as 10s, 500ms, 1h30m", wording::clip(found)),
        ),
        PolicyProblem::TooShort { field, found, allowed } => {
            ((*field).to_owned(), format!("{found:?} is too short; allowed: {allowed}"))
        }
        PolicyProblem::LongerThan { field, found, other, bound } => {
            ((*field).to_owned(), format!("{found:?} is longer than {other}; allowed: at most {bound:?}"))
        }
        PolicyProblem::TooSmall { field, found, least } => {
            ((*field).to_owned(), format!("{found} is too small; allowed: at least {least}"))
        }
        PolicyProblem::Status { index, found } => (
            format!("healthCheck.http.expectedStatuses[{index}]"),
            format!(
                "{:?} is no status code and no range of them; allowed: such as 404 or 200-299",
                wording::clip(found)
            ),
        ),
        PolicyProblem::NoStatus => (
            "healthCheck.http.expectedStatuses".to_owned(),
            "no status code is given; allowed: 1 to 16 codes or ranges".to_owned(),
        ),
    };
    Telling::no(ACCEPTED, "Invalid", format!("spec.{field}"), message)
}

/// Of a target: the policy has no effect on it.
fn target(policy: &ObjectKey, position: usize, of: &TargetNode<'_>, problem: TargetProblem<'_>) -> Telling {
    let at = |field: &str| format!("spec.targetRefs[{position}]{field}");
    let reference = of.reference;
    let who = who(policy, of);
    match problem {
        TargetProblem::Kind => {
            let what = named(&reference.group, &reference.kind);
            let message = format!("{what} {} cannot be a target; allowed: a Service of the core group", reference.name);
            Telling::no(ACCEPTED, "Invalid", at(""), message)
        }
        TargetProblem::NotFound => {
            let message = format!("Service {}/{} does not exist", policy.namespace, reference.name);
            Telling::no(ACCEPTED, "TargetNotFound", at(".name"), message)
        }
        TargetProblem::PortNotFound => {
            let port = reference.section_name.as_deref().unwrap_or_default();
            let message = format!("Service {}/{} has no TCP port named {port}", policy.namespace, reference.name);
            Telling::no(ACCEPTED, "TargetNotFound", at(".sectionName"), message)
        }
        TargetProblem::Conflicted(winner) => {
            let why = "which is older or first by name; this policy has no effect on it";
            Telling::no(ACCEPTED, "Conflicted", at(""), format!("{who} is held by UpstreamPolicy {winner}, {why}"))
        }
    }
}

/// Of a target that is there and that no route uses: a name mistaken for another, most likely.
fn unused(policy: &ObjectKey, position: usize, target: &TargetNode<'_>) -> Option<Telling> {
    if target.problem.is_some() || !target.gateways.is_empty() {
        return None;
    }
    let message = format!("no route that a Gateway takes refers to {}", who(policy, target));
    Some(Telling::only(Severity::Note, "Unused", format!("spec.targetRefs[{position}]"), message))
}

/// A target in words.
fn who(policy: &ObjectKey, target: &TargetNode<'_>) -> String {
    let reference = target.reference;
    let port = reference.section_name.as_deref().map(|port| format!(" port {port}")).unwrap_or_default();
    format!("Service {}/{}{port}", policy.namespace, reference.name)
}

fn reference(gateway: &ObjectKey) -> ParentReference {
    ParentReference {
        group: GATEWAY_GROUP.to_owned(),
        kind: Kind::Gateway.name().to_owned(),
        namespace: Some(gateway.namespace.clone()),
        name: gateway.name.clone(),
        section_name: None,
        port: None,
    }
}
