//! Consistent hashing: the ketama ring of an upstream, as `pingora_load_balancing` has it.
//!
//! Rings are built by the [`keeper`](super::keeper) on the control runtime, never by a worker, of all endpoints
//! whatever their health, so that one that comes and goes with its checks takes few keys along. A worker skips the
//! nodes it cannot use; until there is a new ring the old one serves.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::consistent::{KetamaHashing, OwnedNodeIterator};
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use crate::snapshot::{EndpointSet, UpstreamId};

/// Where the ring of an upstream stands, once there is one.
#[derive(Default)]
pub struct RingCell(ArcSwapOption<Rings>);

/// The cells of all upstreams, found by the workers and by the keeper. Looked at with each snapshot, not with each
/// request.
#[derive(Clone, Debug, Default)]
pub struct RingShelf(Arc<Mutex<HashMap<UpstreamId, Arc<RingCell>>>>);

/// The ring of one set of endpoints. The crate counts a reference for each walk; each worker has a ring of its own,
/// lest all cores write one counter.
pub struct Rings {
    of: Arc<EndpointSet>,
    by_worker: Box<[Arc<KetamaHashing>]>,
}

/// The nodes of a ring from where a key falls. It never ends unless the ring is empty, and nodes repeat.
pub struct Walk(OwnedNodeIterator);

impl RingCell {
    /// Whether the ring is that of these very endpoints.
    pub fn is_of(&self, set: &Arc<EndpointSet>) -> bool {
        self.0.load().as_ref().is_some_and(|rings| Arc::ptr_eq(&rings.of, set))
    }

    /// Replaces the ring.
    pub fn store(&self, rings: Rings) {
        self.0.store(Some(Arc::new(rings)));
    }

    /// The nodes for a key, for one worker.
    pub fn walk(&self, worker: usize, hash: u64) -> Option<Walk> {
        let rings = self.0.load();
        let ring = rings.as_ref()?.by_worker.get(worker)?;
        Some(Walk(ring.iter(&hash.to_le_bytes())))
    }
}

impl Walk {
    /// The next node.
    pub fn next(&mut self) -> Option<SocketAddr> {
        self.0.next().and_then(|backend| backend.addr.as_inet().copied())
    }
}

impl Rings {
    /// Builds a ring for each worker: 160 points for each endpoint. It takes a few milliseconds where there are a
    /// thousand.
    pub fn build(of: Arc<EndpointSet>, workers: usize) -> Rings {
        let backend = |address| Backend { addr: Address::Inet(address), weight: 1, ext: http::Extensions::new() };
        let backends: BTreeSet<Backend> = of.endpoints.iter().map(|endpoint| backend(endpoint.address)).collect();
        let by_worker = (0..workers).map(|_| Arc::new(KetamaHashing::build(&backends))).collect();
        Rings { of, by_worker }
    }
}

impl RingShelf {
    /// The cell of an upstream.
    pub fn cell(&self, id: &UpstreamId) -> Arc<RingCell> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match cells.get(id) {
            Some(cell) => cell.clone(),
            None => cells.entry(id.clone()).or_default().clone(),
        }
    }

    /// Drops the cells that nobody holds any more.
    pub fn forget_unused(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, cell| Arc::strong_count(cell) > 1);
    }
}

impl fmt::Debug for RingCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.0.load().as_ref().map(|rings| rings.of.endpoints.len());
        f.debug_struct("RingCell").field("endpoints", &endpoints).finish()
    }
}
