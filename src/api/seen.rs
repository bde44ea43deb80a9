//! What an API server last told of an object beside what it means: its version and its status.

use serde_json::Value;

use super::ObjectRef;

/// An object's status, with everything that anybody wrote in it, and the version that it was seen in.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Version of the object in the cluster's store; a write over an older one is refused.
    pub resource_version: String,
    /// API version in which it was seen, `v1`.
    pub version: String,
    /// The status.
    pub status: Option<Value>,
}

/// An object was seen, or (`None`) is gone.
pub type Sighting = (ObjectRef, Option<Seen>);
