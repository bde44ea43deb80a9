//! What one watch has shown so far. Pure: watch events come in, batches for the store go out.
//!
//! A list, the first or one after a lost watch, becomes one batch: what it holds is applied, what it no longer holds
//! is deleted. Until it is complete, everything known stays.

use std::collections::BTreeSet;

use crate::api::{Kind, Object, ObjectKey, ObjectRef};
use crate::store::{Batch, Event};

/// The objects that one watch has shown.
#[derive(Debug)]
pub struct Picture {
    kind: Kind,
    known: BTreeSet<ObjectKey>,
    /// Only while a list is being read.
    listing: Option<Listing>,
}

#[derive(Debug, Default)]
struct Listing {
    batch: Batch,
    seen: BTreeSet<ObjectKey>,
}

/// What the API server says, decoded.
#[derive(Debug)]
pub enum Shown {
    /// A list begins.
    Begun,
    /// The list, or the watch, holds this object.
    Held(ObjectKey, Decoded),
    /// The object is gone.
    Gone(ObjectKey),
    /// The list is complete.
    Complete,
}

/// An object as far as it could be read.
#[derive(Debug)]
pub enum Decoded {
    /// All of it.
    Object(Object),
    /// It fits no type of ours: what was held of it stays.
    Unreadable,
}

impl Picture {
    /// Nothing yet.
    pub fn new(kind: Kind) -> Self {
        Picture { kind, known: BTreeSet::new(), listing: None }
    }

    /// Takes up one event; a batch comes out when something is to be told. A complete list always tells, also of
    /// nothing: it says that the watch is in step.
    pub fn take_up(&mut self, shown: Shown) -> Option<Batch> {
        match shown {
            Shown::Begun => {
                self.listing = Some(Listing::default());
                None
            }
            Shown::Held(key, decoded) => {
                let event = match decoded {
                    Decoded::Object(object) => Some(Event::Apply(object)),
                    Decoded::Unreadable => None,
                };
                if let Some(listing) = &mut self.listing {
                    listing.seen.insert(key);
                    listing.batch.extend(event);
                    return None;
                }
                self.known.insert(key);
                event.map(|event| vec![event])
            }
            Shown::Gone(key) => {
                if let Some(listing) = &mut self.listing {
                    listing.seen.remove(&key);
                    return None;
                }
                self.known.remove(&key).then(|| vec![self.delete(key)])
            }
            Shown::Complete => {
                let Listing { mut batch, seen } = self.listing.take().unwrap_or_default();
                let gone: Vec<ObjectKey> = self.known.difference(&seen).cloned().collect();
                batch.extend(gone.into_iter().map(|key| self.delete(key)));
                self.known = seen;
                Some(batch)
            }
        }
    }

    /// Whether a list is being read, of which nothing is told until it is complete.
    pub fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    /// The kind is no longer served: everything is gone.
    pub fn clear(&mut self) -> Batch {
        self.listing = None;
        std::mem::take(&mut self.known).into_iter().map(|key| self.delete(key)).collect()
    }

    fn delete(&self, key: ObjectKey) -> Event {
        Event::Delete(ObjectRef { kind: self.kind, key })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("", name)
    }

    fn held(name: &str) -> Shown {
        let value = json!({"metadata": {"name": name}});
        Shown::Held(key(name), Decoded::Object(Object::from_value(Kind::Namespace, value).unwrap()))
    }

    fn told(batch: Option<Batch>) -> Option<Vec<String>> {
        let event = |event: Event| match event {
            Event::Apply(object) => format!("+{}", object.key().name),
            Event::Delete(object) => format!("-{}", object.key.name),
            _ => "a fact".to_owned(),
        };
        batch.map(|batch| batch.into_iter().map(event).collect())
    }

    #[test]
    fn a_list_is_one_batch_and_takes_away_what_it_no_longer_holds() {
        let mut picture = Picture::new(Kind::Namespace);
        assert!(picture.take_up(Shown::Begun).is_none());
        assert!(picture.take_up(held("a")).is_none());
        assert!(picture.take_up(held("b")).is_none());
        assert_eq!(told(picture.take_up(Shown::Complete)), Some(vec!["+a".to_owned(), "+b".to_owned()]));
        picture.take_up(Shown::Begun);
        assert!(picture.take_up(held("b")).is_none());
        assert_eq!(told(picture.take_up(Shown::Complete)), Some(vec!["+b".to_owned(), "-a".to_owned()]));
    }

    #[test]
    fn an_empty_list_is_told_too() {
        let mut picture = Picture::new(Kind::Namespace);
        picture.take_up(Shown::Begun);
        assert_eq!(told(picture.take_up(Shown::Complete)), Some(vec![]));
    }

    #[test]
    fn a_list_that_breaks_off_changes_nothing() {
        let mut picture = Picture::new(Kind::Namespace);
        picture.take_up(Shown::Begun);
        picture.take_up(held("a"));
        picture.take_up(Shown::Complete);
        picture.take_up(Shown::Begun);
        picture.take_up(held("b"));
        picture.take_up(Shown::Begun);
        picture.take_up(held("a"));
        assert_eq!(told(picture.take_up(Shown::Complete)), Some(vec!["+a".to_owned()]));
    }

    #[test]
    fn an_object_that_cannot_be_read_keeps_what_was_good() {
        let mut picture = Picture::new(Kind::Namespace);
        picture.take_up(Shown::Begun);
        picture.take_up(held("a"));
        picture.take_up(Shown::Complete);
        assert!(picture.take_up(Shown::Held(key("a"), Decoded::Unreadable)).is_none());
        picture.take_up(Shown::Begun);
        picture.take_up(Shown::Held(key("a"), Decoded::Unreadable));
        assert_eq!(told(picture.take_up(Shown::Complete)), Some(vec![]));
        assert_eq!(told(picture.take_up(Shown::Gone(key("a")))), Some(vec!["-a".to_owned()]));
    }

    #[test]
    fn a_kind_that_is_no_longer_served_takes_its_objects_along() {
        let mut picture = Picture::new(Kind::Namespace);
        picture.take_up(Shown::Begun);
        picture.take_up(held("a"));
        picture.take_up(Shown::Complete);
        assert_eq!(told(Some(picture.clear())), Some(vec!["-a".to_owned()]));
        assert_eq!(told(Some(picture.clear())), Some(vec![]));
    }
}
