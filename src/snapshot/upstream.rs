//! Upstreams: resolved backends, and the endpoints behind each, which move on their own road.

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::health::EndpointHealth;
use super::policy::Policy;

/// Index into [`Snapshot::upstreams`](super::Snapshot::upstreams).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct UpstreamIndex(pub u32);

/// What identifies a backend. Two Services `api:80` in two namespaces never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct UpstreamId {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Port of the Service.
    pub port: u16,
    /// How it is spoken to: one port may be reached in two ways by two kinds of route.
    pub protocol: UpstreamProtocol,
}

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum UpstreamProtocol {
    /// HTTP/1.1 in cleartext.
    Http1,
    /// HTTP/2 in cleartext by prior knowledge (`kubernetes.io/h2c`).
    H2c,
}

/// A backend and its endpoints.
#[derive(Debug, Clone, Serialize)]
pub struct Upstream {
    /// Who it is.
    pub id: UpstreamId,
    /// How it is treated.
    #[serde(skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// Where it is now. The cell outlives snapshots: the [`Publisher`](super::Publisher) carries it over.
    pub endpoints: EndpointCell,
}

/// The current endpoints of an upstream, swapped without a new snapshot.
#[derive(Debug, Clone)]
pub struct EndpointCell(Arc<ArcSwap<EndpointSet>>);

/// Endpoints that may be chosen now: the ready ones, or, if none is ready, those that still serve while terminating.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EndpointSet {
    /// Sorted and without doubles.
    pub endpoints: Box<[Endpoint]>,
}

/// One address of an upstream. Two are equal if their addresses are.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// How it is doing.
    #[serde(skip)]
    pub health: Arc<EndpointHealth>,
}

impl Endpoint {
    /// An endpoint of which nothing bad is known.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Endpoint { address, health: Arc::default() }
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Eq for Endpoint {}

impl PartialOrd for Endpoint {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Endpoint {
    fn cmp(&self, other: &Self) -> Ordering {
        self.address.cmp(&other.address)
    }
}

impl EndpointCell {
    /// A cell that holds `set`.
    #[must_use]
    pub fn new(set: EndpointSet) -> Self {
        EndpointCell(Arc::new(ArcSwap::from_pointee(set)))
    }

    /// The endpoints now, without touching a shared counter.
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.0.load()
    }

    /// The cell itself, for a worker that keeps an `arc_swap::Cache` of it.
    #[must_use]
    pub fn shared(&self) -> &Arc<ArcSwap<EndpointSet>> {
        &self.0
    }

    /// Replaces the endpoints if they differ, and whether they did. An address that stays keeps its health.
    pub(super) fn store(&self, mut set: EndpointSet) -> bool {
        let before = self.0.load();
        if **before == set {
            return false;
        }
        for endpoint in &mut set.endpoints {
            if let Ok(at) = before.endpoints.binary_search(endpoint)
                && let Some(known) = before.endpoints.get(at)
            {
                endpoint.health = known.health.clone();
            }
        }
        self.0.store(Arc::new(set));
        true
    }
}

impl Serialize for EndpointCell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.load().serialize(serializer)
    }
}
