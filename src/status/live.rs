//! The statuses that objects have now, as the API server last told. Fed by the same watches as the store, which holds
//! objects for what they mean and so has no use for a status.

use std::collections::BTreeMap;

use crate::api::{ObjectRef, Seen, Sighting};

/// Every object that can have a status of ours.
#[derive(Debug, Default)]
pub struct Live(BTreeMap<ObjectRef, Seen>);

impl Live {
    /// Takes up a sighting, unless a newer one was there before: answers to writes and watches come on different
    /// roads. Whether it was taken up.
    pub fn take_up(&mut self, (object, seen): Sighting) -> bool {
        let Some(seen) = seen else {
            self.0.remove(&object);
            return true;
        };
        if self.0.get(&object).is_some_and(|known| is_older(&seen, known)) {
            return false;
        }
        self.0.insert(object, seen);
        true
    }

    /// Every object.
    pub fn all(&self) -> impl Iterator<Item = (&ObjectRef, &Seen)> {
        self.0.iter()
    }

    /// One object.
    pub fn find(&self, object: &ObjectRef) -> Option<&Seen> {
        self.0.get(object)
    }
}

/// Versions of one resource are numbers that grow; where they are none, the later sighting counts.
fn is_older(seen: &Seen, known: &Seen) -> bool {
    let number = |seen: &Seen| seen.resource_version.parse::<u128>().ok();
    number(seen).zip(number(known)).is_some_and(|(seen, known)| seen < known)
}
