//! I/O in. What a person or an API server wrote becomes objects of `api/`.
//!
//! - `manifest` reads the text of a file: documents, their lines, typed objects or what is wrong with them.
//! - `state` keeps what was seen of a cluster on disk.
//! - `schema` refuses what the CRDs of the Gateway API would refuse, and fills in their defaults.
//!
//! This room does not know what objects mean: that is `translate/`.

pub mod file;
pub mod kubernetes;
pub mod manifest;
pub mod schema;
pub mod state;
