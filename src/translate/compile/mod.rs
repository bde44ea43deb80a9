//! Graph -> Snapshot: what the data plane serves. Nothing is judged here; the graph has judged.

mod filter;
mod listener;
mod route;
mod upstream;

use super::Settings;
use super::graph::Graph;
use crate::snapshot::Snapshot;

/// Reads the snapshot off the graph.
pub fn compile(graph: &Graph<'_>, settings: &Settings) -> Snapshot {
    let served = route::served(graph);
    let (upstreams, indices) = upstream::upstreams(graph, &served);
    let (rules, tables) = route::rules(graph, &served, &indices);
    Snapshot { binds: listener::binds(graph, tables), port_offset: settings.port_offset, rules, upstreams }
}
