//! What can happen to [`Resources`](super::Resources).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::api::{Object, ObjectRef};

/// Events that belong together: a batch is applied whole before anything is translated.
pub type Batch = Vec<Event>;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An object is new or has changed.
    Apply(Object),
    /// An object is gone.
    Delete(ObjectRef),
    /// What became of every address to be bound: the whole picture, replacing the one before.
    Binds(BTreeMap<SocketAddr, BindState>),
    /// The newest generation of each Gateway, by uid, that every ready data plane of the install serves: the whole
    /// picture. It only ever grows: a data plane that joins later has everything before it is ready.
    Applied(BTreeMap<String, i64>),
    /// Addresses of the nodes on whose network listeners can be reached, sorted: the whole picture.
    HostAddresses(Vec<String>),
    /// Whose view of the world the objects are from here on.
    Freshness(Freshness),
}

/// Whose view of the world the objects are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Freshness {
    /// Nobody's yet.
    #[default]
    Awaited,
    /// That of an earlier process: the cluster is away. Good enough to serve, and nothing to report on.
    Saved,
    /// The cluster's own.
    Live,
}

/// What became of an address that was to be bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum BindState {
    /// Every data worker accepts on it.
    Bound,
    /// The system refused, in its words.
    Failed(String),
}
