//! `/applied?after=N`: which generation of each Gateway is served here. It answers once that is of another version
//! than N, or after a while: whoever wants to know asks again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::translate::Applied;

/// For something to change.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions that wait at a time; more are answered at once, so that a probe still finds a free connection.
const WAITING: usize = 32;

/// What is served, as it changes.
#[derive(Debug, Clone)]
pub struct AppliedView {
    latest: watch::Receiver<Arc<Applied>>,
    places: Arc<Semaphore>,
}

impl AppliedView {
    /// A view of what a channel shows; when that is closed, nobody waits any more.
    #[must_use]
    pub fn new(latest: watch::Receiver<Arc<Applied>>) -> Self {
        AppliedView { latest, places: Arc::new(Semaphore::new(WAITING)) }
    }

    /// What is served, once its version is not `after`.
    pub(super) async fn after(&self, after: u64) -> Arc<Applied> {
        let mut latest = self.latest.clone();
        if let Ok(_place) = self.places.try_acquire() {
            let _ = timeout(PATIENCE, latest.wait_for(|applied| applied.version != after)).await;
        }
        self.latest()
    }

    /// What is served now.
    pub(super) fn latest(&self) -> Arc<Applied> {
        Arc::clone(&self.latest.borrow())
    }
}

/// Reads the question; without `after`, it is answered at once.
pub(super) fn question(pairs: &[(String, String)]) -> Result<Option<u64>, String> {
    match pairs {
        [] => Ok(None),
        [(name, value)] if name == "after" => {
            let number =
                value.parse().map_err(|_| format!("`after` is {value:?}; allowed is a number, as in /applied?after=7"));
            number.map(Some)
        }
        _ => Err("allowed is `after` alone, once, as in /applied?after=7".to_owned()),
    }
}
