//! Binds and their listeners.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::route::Tables;
use crate::router::{HostMap, RouteTable};
use crate::snapshot::tls::ListenerTls;
use crate::snapshot::{Bind, BindProtocol, Listener};
use crate::translate::graph::Graph;
use crate::translate::graph::listener::{ListenerNode, ListenerState};

/// Every address to bind, with the listeners of all Gateways that share it. One that could not be bound is there
/// too: it is tried again.
pub fn binds(graph: &Graph<'_>, mut tables: Tables) -> BTreeMap<SocketAddr, Bind> {
    let mut binds = BTreeMap::new();
    for (gateway, node) in graph.gateways.iter().enumerate() {
        for (position, listener) in node.listeners.iter().enumerate() {
            let (ListenerState::Serving, Some(protocol), Some(port)) =
                (listener.state, listener.protocol, listener.port)
            else {
                continue;
            };
            let mut entries = Some(tables.remove(&(gateway, position)).unwrap_or_default());
            let mut addresses = listener.addresses.iter().peekable();
            while let Some(address) = addresses.next() {
                let own = if addresses.peek().is_some() { entries.clone() } else { entries.take() };
                let bind = binds.entry(*address).or_insert_with(|| Bind {
                    protocol,
                    listeners: Vec::new(),
                    by_host: HostMap::default(),
                });
                let index = u32::try_from(bind.listeners.len()).unwrap_or(u32::MAX);
                bind.by_host.insert(listener.hostname.as_ref(), index);
                bind.listeners.push(Listener {
                    id: listener.id(node.key),
                    hostname: listener.hostname.clone(),
                    port,
                    tls: tls(listener, protocol),
                    routes: RouteTable::build(own.unwrap_or_default()),
                });
            }
        }
    }
    binds
}

fn tls(listener: &ListenerNode<'_>, protocol: BindProtocol) -> Option<ListenerTls> {
    (protocol == BindProtocol::Https).then(|| ListenerTls { certificates: listener.certificates.clone() })
}
