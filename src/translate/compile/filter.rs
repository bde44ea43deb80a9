//! Filters: what refers to an upstream of the graph refers to one of the snapshot.

use super::upstream::Indices;
use crate::snapshot::filter::Mirror;
use crate::snapshot::{Filter, Filters};
use crate::translate::graph::filter::FilterNode;

/// The filters of a list.
pub fn filters(nodes: &[FilterNode], indices: &Indices) -> Filters {
    let filter = |node: &FilterNode| match node {
        FilterNode::Plain(filter) => Some(filter.clone()),
        FilterNode::Mirror(mirror) => indices.of(mirror.upstream).map(|upstream| {
            Filter::Mirror(Mirror { upstream, numerator: mirror.numerator, denominator: mirror.denominator })
        }),
    };
    nodes.iter().filter_map(filter).collect()
}
