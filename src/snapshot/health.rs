//! Health of one endpoint: shared by every route and every worker, written by the data plane alone. It belongs to
//! the address within its upstream and outlives snapshots and endpoint changes.

use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of an endpoint's health.
#[derive(Debug)]
pub struct EndpointHealth {
    /// What active checks say; healthy until they say otherwise.
    checked: AtomicBool,
}

impl Default for EndpointHealth {
    fn default() -> Self {
        EndpointHealth { checked: AtomicBool::new(true) }
    }
}

impl EndpointHealth {
    /// Whether active checks hold it for healthy; without any it is.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.checked.load(Ordering::Relaxed)
    }

    /// An active check has come to a judgement.
    pub fn judge(&self, healthy: bool) {
        self.checked.store(healthy, Ordering::Relaxed);
    }
}
