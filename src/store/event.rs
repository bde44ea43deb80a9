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
}

/// What became of an address that was to be bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum BindState {
    /// Every data worker accepts on it.
    Bound,
    /// The system refused, in its words.
    Failed(String),
}
