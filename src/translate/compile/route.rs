//! Rules, and the entries by which each listener finds them.

use std::collections::BTreeMap;

use super::filter::filters;
use super::upstream::Indices;
use crate::api::BackendObjectReference;
use crate::router::RouteOrder;
use crate::router::{Hostname, RouteEntry, RouteMatch};
use crate::snapshot::{Action, LocalAnswer, RouteId, Rule, RuleIndex, Share, Target, WeightedUpstreams};
use crate::translate::graph::Graph;
use crate::translate::graph::attach::RouteHosts;
use crate::translate::graph::listener::{ListenerState, share_hosts};
use crate::translate::graph::route::{RouteNode, RuleNode, RuleOutcome, ShareNode, ShareTarget};

/// Entries of each listener that serves, by position of the Gateway and of the listener.
pub type Tables = BTreeMap<(usize, usize), Vec<RouteEntry<RuleIndex>>>;

/// A route that some listener serves.
pub struct Served<'g> {
    /// The route.
    pub node: &'g RouteNode<'g>,
    /// The listeners, by position of the Gateway and of the listener, each once.
    pub listeners: Vec<(usize, usize)>,
}

/// Every route that some listener serves.
pub fn served<'g>(graph: &'g Graph<'g>) -> Vec<Served<'g>> {
    let routes = graph.routes.iter().map(|node| Served { node, listeners: serving_listeners(graph, node) });
    routes.filter(|served| !served.listeners.is_empty()).collect()
}

/// Every rule of these routes, and the entries that lead to it.
///
/// A route that is not accepted for what its rules ask still has its entries: they answer 500. Without them a
/// request would fall through to a less specific route, one perhaps without the protection that was asked for.
pub fn rules(graph: &Graph<'_>, served: &[Served<'_>], indices: &Indices) -> (Vec<Rule>, Tables) {
    let mut rules = Vec::new();
    let mut tables = Tables::new();
    for Served { node: route, listeners } in served {
        let name = format!("{}/{}", route.key.namespace, route.key.name);
        for (rule, position) in route.rules.iter().zip(0u32..) {
            let index = RuleIndex(u32::try_from(rules.len()).unwrap_or(u32::MAX));
            rules.push(Rule {
                route: RouteId {
                    kind: route.asked.kind().name(),
                    namespace: route.key.namespace.clone(),
                    name: route.key.name.clone(),
                },
                index: position,
                name: rule.name.map(str::to_owned),
                filters: filters(&rule.filters, indices),
                timeouts: rule.timeouts,
                retry: rule.retry.clone(),
                action: action(rule, indices),
            });
            for &(gateway, listener) in listeners {
                let hostname = graph
                    .gateways
                    .get(gateway)
                    .and_then(|node| node.listeners.get(listener))
                    .and_then(|node| node.hostname.as_ref());
                let table = tables.entry((gateway, listener)).or_default();
                for (number, matches) in &rule.matches {
                    let order =
                        RouteOrder { created: route.created, route: name.clone(), rule: position, index: *number };
                    add(table, &route.hosts, hostname, matches, &order, index);
                }
            }
        }
    }
    (rules, tables)
}

/// Listeners that serve and took the route, each once.
fn serving_listeners(graph: &Graph<'_>, route: &RouteNode<'_>) -> Vec<(usize, usize)> {
    let taken = route.parents.iter().flat_map(|p| p.outcome.iter().flatten().map(|listener| (p.gateway, *listener)));
    let serves = |&(gateway, listener): &(usize, usize)| {
        let node = graph.gateways.get(gateway).and_then(|node| node.listeners.get(listener));
        node.is_some_and(|node| node.state == ListenerState::Serving)
    };
    let mut listeners: Vec<_> = taken.filter(serves).collect();
    listeners.sort_unstable();
    listeners.dedup();
    listeners
}

/// One entry a host of the route that the listener takes, under the route's *own* hostname, which ranks.
fn add(
    table: &mut Vec<RouteEntry<RuleIndex>>,
    hosts: &RouteHosts,
    listener: Option<&Hostname>,
    matches: &RouteMatch,
    order: &RouteOrder,
    value: RuleIndex,
) {
    let mut push = |hostname: Option<Hostname>| {
        table.push(RouteEntry { hostname, matches: matches.clone(), order: order.clone(), value });
    };
    match hosts {
        RouteHosts::Any => push(None),
        RouteHosts::Listed(hosts) => {
            for host in hosts.iter().filter(|host| share_hosts(Some(host), listener)) {
                push(Some(host.clone()));
            }
        }
    }
}

fn action(rule: &RuleNode<'_>, indices: &Indices) -> Action {
    let shares = match &rule.outcome {
        RuleOutcome::Dropped => return Action::Answer(LocalAnswer::FilterFailed),
        RuleOutcome::Redirect(redirect) => return Action::Redirect(redirect.clone()),
        RuleOutcome::Forward(shares) => shares,
    };
    // With shares that fail for different reasons, each says its own.
    let unresolved = |share: &ShareNode<'_>| share.weight == 0 || matches!(share.target, ShareTarget::Unresolved);
    if shares.iter().all(unresolved) {
        return Action::Answer(LocalAnswer::InvalidBackend);
    }
    let share = |share: &ShareNode<'_>| {
        let invalid = |answer| Target::Invalid { backend: named(share.reference), answer };
        let target = match &share.target {
            ShareTarget::Unresolved => invalid(LocalAnswer::InvalidBackend),
            ShareTarget::Refused => invalid(LocalAnswer::FilterFailed),
            ShareTarget::Upstream(upstream, nodes) => indices.of(*upstream).map_or_else(
                || invalid(LocalAnswer::InvalidBackend),
                |index| Target::Upstream(index, filters(nodes, indices)),
            ),
        };
        Share { weight: share.weight, target }
    };
    WeightedUpstreams::new(shares.iter().map(share))
        .map_or(Action::Answer(LocalAnswer::InvalidBackend), Action::Forward)
}

/// A backend as the route names it.
fn named(reference: &BackendObjectReference) -> Box<str> {
    let namespace = reference.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let port = reference.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{namespace}{}{port}", reference.name).into()
}
