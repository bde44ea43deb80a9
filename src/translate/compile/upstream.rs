//! Upstreams, sorted by identity, so that equal objects give equal indices.

use crate::snapshot::upstream::EndpointCell;
use crate::snapshot::{Upstream, UpstreamIndex};
use crate::translate::graph::Graph;
use crate::translate::graph::backend::UpstreamRef;

/// Where each upstream of the graph stands in the snapshot.
pub struct Indices(Vec<UpstreamIndex>);

impl Indices {
    /// The index of an upstream of the graph.
    pub fn of(&self, upstream: UpstreamRef) -> Option<UpstreamIndex> {
        self.0.get(upstream.0).copied()
    }
}

/// Every upstream, and where it stands.
pub fn upstreams(graph: &Graph<'_>) -> (Vec<Upstream>, Indices) {
    let mut order: Vec<(usize, _)> = graph.upstreams.iter().enumerate().collect();
    order.sort_by(|a, b| a.1.id.cmp(&b.1.id));
    let mut indices = vec![UpstreamIndex(0); order.len()];
    let mut upstreams = Vec::with_capacity(order.len());
    for ((found, node), index) in order.into_iter().zip(0u32..) {
        if let Some(slot) = indices.get_mut(found) {
            *slot = UpstreamIndex(index);
        }
        upstreams.push(Upstream { id: node.id.clone(), endpoints: EndpointCell::new(node.endpoints.clone()) });
    }
    (upstreams, Indices(indices))
}
