//! One writes, many read.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::Snapshot;
use super::upstream::{EndpointCell, EndpointSet, UpstreamId};

/// The writing end: owned by the controller.
#[derive(Debug)]
pub struct Publisher {
    current: watch::Sender<Arc<Snapshot>>,
    moves: watch::Sender<()>,
    cells: BTreeMap<UpstreamId, EndpointCell>,
}

/// The reading end: wakes when a new snapshot is there, or when endpoints have moved.
#[derive(Debug, Clone)]
pub struct Reader {
    current: watch::Receiver<Arc<Snapshot>>,
    moves: watch::Receiver<()>,
}

impl Publisher {
    /// A pair of ends around an empty snapshot.
    #[must_use]
    pub fn new() -> (Publisher, Reader) {
        let (sender, receiver) = watch::channel(Arc::new(Snapshot::default()));
        let (moves, moved) = watch::channel(());
        (Publisher { current: sender, moves, cells: BTreeMap::new() }, Reader { current: receiver, moves: moved })
    }

    /// Makes `snapshot` the current one. An upstream that was there before keeps its cell, so that work in
    /// flight and health survive; its endpoints become the new ones at once.
    pub fn publish(&mut self, mut snapshot: Snapshot) {
        let mut cells = BTreeMap::new();
        for upstream in &mut snapshot.upstreams {
            if let Some(cell) = self.cells.remove(&upstream.id) {
                cell.store((**upstream.endpoints.load()).clone());
                upstream.endpoints = cell;
            }
            cells.insert(upstream.id.clone(), upstream.endpoints.clone());
        }
        self.cells = cells;
        self.current.send_replace(Arc::new(snapshot));
    }

    /// Moves the endpoints of one upstream; routes are not touched. An upstream that no route uses is none.
    pub fn publish_endpoints(&self, id: &UpstreamId, set: EndpointSet) {
        if let Some(cell) = self.cells.get(id)
            && cell.store(set)
        {
            self.moves.send_replace(());
        }
    }

    /// The upstreams of the current snapshot.
    pub fn upstreams(&self) -> impl Iterator<Item = &UpstreamId> {
        self.cells.keys()
    }
}

impl Reader {
    /// The current snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// The next snapshot, once there is one that was not seen yet; `None` when the publisher is gone.
    pub async fn next(&mut self) -> Option<Arc<Snapshot>> {
        self.current.changed().await.ok()?;
        Some(self.current.borrow_and_update().clone())
    }

    /// Waits until endpoints of some upstream have moved without a new snapshot, since this was last asked; moves
    /// of the meantime are one. `None` when the publisher is gone.
    pub async fn moved(&mut self) -> Option<()> {
        self.moves.changed().await.ok()
    }
}
