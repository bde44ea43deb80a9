//! Upstreams that some rule forwards to, sorted by identity, so that equal objects give equal indices.

use super::route::Served;
use crate::snapshot::upstream::EndpointCell;
use crate::snapshot::{Upstream, UpstreamIndex};
use crate::translate::graph::Graph;
use crate::translate::graph::backend::UpstreamRef;
use crate::translate::graph::filter::FilterNode;
use crate::translate::graph::route::{RuleNode, RuleOutcome, ShareTarget};

/// Where each upstream of the graph stands in the snapshot.
pub struct Indices(Vec<Option<UpstreamIndex>>);

impl Indices {
    /// The index of an upstream of the graph.
    pub fn of(&self, upstream: UpstreamRef) -> Option<UpstreamIndex> {
        self.0.get(upstream.0).copied().flatten()
    }
}

/// Every upstream that a rule of these routes forwards or mirrors to, and where it stands.
pub fn upstreams(graph: &Graph<'_>, served: &[Served<'_>]) -> (Vec<Upstream>, Indices) {
    let mut used = vec![false; graph.upstreams.len()];
    for rule in served.iter().flat_map(|route| &route.node.rules) {
        mark(rule, &mut |upstream| {
            if let Some(slot) = used.get_mut(upstream.0) {
                *slot = true;
            }
        });
    }
    let in_use = graph.upstreams.iter().enumerate().zip(used).filter(|(_, used)| *used).map(|(found, _)| found);
    let mut order: Vec<(usize, _)> = in_use.collect();
    order.sort_by(|a, b| a.1.id.cmp(&b.1.id));
    let mut indices = vec![None; graph.upstreams.len()];
    let mut upstreams = Vec::with_capacity(order.len());
    for ((found, node), index) in order.into_iter().zip(0u32..) {
        if let Some(slot) = indices.get_mut(found) {
            *slot = Some(UpstreamIndex(index));
        }
        upstreams.push(Upstream {
            id: node.id.clone(),
            policy: graph.policies.of(&node.id),
            endpoints: EndpointCell::new(node.endpoints.clone()),
        });
    }
    (upstreams, Indices(indices))
}

/// Names every upstream that a rule sends something to.
fn mark(rule: &RuleNode<'_>, used: &mut impl FnMut(UpstreamRef)) {
    match &rule.outcome {
        RuleOutcome::Dropped | RuleOutcome::Redirect(_) => {}
        RuleOutcome::Forward(shares) => {
            for share in shares.iter().filter(|share| share.weight > 0) {
                if let ShareTarget::Upstream(upstream, filters) = &share.target {
                    used(*upstream);
                    mark_mirrors(filters, used);
                }
            }
        }
    }
    mark_mirrors(&rule.filters, used);
}

fn mark_mirrors(filters: &[FilterNode], used: &mut impl FnMut(UpstreamRef)) {
    for filter in filters {
        if let FilterNode::Mirror(mirror) = filter {
            used(mirror.upstream);
        }
    }
}
