//! The statuses that objects have now, as the API server last told. Fed by the same watches as the store, which holds
//! objects for what they mean and so has no use for a status.

use std::collections::BTreeMap;

use crate::api::{ObjectRef, Seen, Sighting};

/// Every object that can have a status of ours.
#[derive(Debug, Default)]
pub struct Live(BTreeMap<ObjectRef, Seen>);

impl Live {
    /// Takes up a sighting.
    pub fn take_up(&mut self, (object, seen): Sighting) {
        match seen {
            Some(seen) => self.0.insert(object, seen),
            None => self.0.remove(&object),
        };
    }

    /// Every object.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectRef, &Seen)> {
        self.0.iter()
    }

    /// One object.
    pub fn find(&self, object: &ObjectRef) -> Option<&Seen> {
        self.0.get(object)
    }
}
