//! Readiness as tasks that must report: ready when nobody is left to wait for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Who is still waited for. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeSet<&'static str>>>,
}

/// A task that must report before the process is ready. Dropping it without [`done`](Self::done) leaves it pending.
#[derive(Debug)]
#[must_use = "a task that is never done keeps the process unready"]
pub struct ReadyTask {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Nothing to wait for yet.
    #[must_use]
    pub fn new() -> Self {
        Readiness::default()
    }

    /// Makes readiness wait for `name`.
    pub fn task(&self, name: &'static str) -> ReadyTask {
        self.set(name, false);
        ReadyTask { name, readiness: self.clone() }
    }

    /// What is still waited for, sorted; empty when ready.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Whether nothing is waited for.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn set(&self, name: &'static str, done: bool) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if done {
            pending.remove(name)
        } else {
            pending.insert(name)
        };
    }
}

impl ReadyTask {
    /// Reports the task as done.
    pub fn done(&self) {
        self.readiness.set(self.name, true);
    }

    /// Waits for the task again: what was there is gone.
    pub fn undone(&self) {
        self.readiness.set(self.name, false);
    }
}
