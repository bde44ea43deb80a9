//! What a data plane tells others that it serves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which generation of each Gateway is served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Another number means that something may have changed.
    pub version: u64,
    /// By uid of the Gateway, its generation. A Gateway of which something waits to be bound is not there.
    pub gateways: BTreeMap<String, i64>,
}
