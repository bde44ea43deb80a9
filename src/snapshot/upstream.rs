//! Upstreams: resolved backends, and the endpoints behind each, which move on their own road.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

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

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
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

    /// Replaces the endpoints if they differ.
    pub(super) fn store(&self, set: EndpointSet) {
        if **self.0.load() != set {
            self.0.store(Arc::new(set));
        }
    }
}

impl Serialize for EndpointCell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.load().serialize(serializer)
    }
}
