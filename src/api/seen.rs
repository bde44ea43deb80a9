//! What an API server last told of an object beside what it means: its version, its status, who holds it back.

use serde_json::Value;

use super::{ObjectMeta, ObjectRef};

/// An object's status, with everything that anybody wrote in it, and the version that it was seen in.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Version of the object in the cluster's store; a write over an older one is refused.
    pub resource_version: String,
    /// API version in which it was seen, `v1`.
    pub version: String,
    /// Which of all objects that ever had its name; empty if nobody says.
    pub uid: String,
    /// Version of what is wanted; 0 if nobody says.
    pub generation: i64,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Who holds its deletion back.
    pub finalizers: Vec<String>,
    /// The status.
    pub status: Option<Value>,
}

/// An object was seen, or (`None`) is gone.
pub type Sighting = (ObjectRef, Option<Seen>);

impl Seen {
    /// An object with this metadata and status, seen in an API version.
    #[must_use]
    pub fn new(metadata: &ObjectMeta, version: &str, status: Option<Value>) -> Self {
        Seen {
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            version: version.to_owned(),
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            status,
        }
    }
}
