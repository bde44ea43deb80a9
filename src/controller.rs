//! The loop. Events come in; a snapshot and a report go out. One task, no timers.
//!
//! ```text
//!            ┌────────────── idle: recv ──────────────┐
//!            ▼                                         │
//!   drain what else is waiting (busy: one batch) ─▶ apply to Resources ─▶ what changed?
//!            ▲                                         │
//!            │        nothing ◀────────────────────────┤
//!            │        endpoints ─▶ their cells         │  (routes are not touched)
//!            └─────── anything else ─▶ translate ─▶ publish snapshot, then the report
//! ```
//!
//! It does not know where events come from, who serves a snapshot, or who writes a status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use crate::lifecycle::ReadyTask;
use crate::snapshot::{Publisher, UpstreamId};
use crate::store::{Batch, Change, Resources};
use crate::translate::{self, Finding, Settings, Statuses, Translation};

/// Batches that may wait; a source that is faster than the translator waits for it.
pub const QUEUED_BATCHES: usize = 1024;

/// What was found out in the last translation, for `/config`, metrics and the status writer.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Counts translations; 0 before the first.
    pub generation: u64,
    /// The status of every object of ours.
    pub statuses: Arc<Statuses>,
    /// Problems and notes.
    pub findings: Arc<Vec<Finding>>,
    /// Time the translation took.
    pub took: Duration,
    /// Objects held, by kind.
    pub objects: Vec<(&'static str, usize)>,
}

/// Owns the objects and the publishing end of the snapshot.
#[derive(Debug)]
pub struct Controller {
    resources: Resources,
    settings: Settings,
    publisher: Publisher,
    report: watch::Sender<Report>,
    first: Option<ReadyTask>,
}

impl Controller {
    /// A controller that holds nothing yet. `first` is done once the first snapshot is published.
    #[must_use]
    pub fn new(settings: Settings, publisher: Publisher, first: ReadyTask) -> (Controller, watch::Receiver<Report>) {
        let (report, receiver) = watch::channel(Report::default());
        let resources = Resources::default();
        (Controller { resources, settings, publisher, report, first: Some(first) }, receiver)
    }

    /// Runs until every sender of `events` is gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Batch>) {
        let mut batches = Vec::new();
        while events.recv_many(&mut batches, QUEUED_BATCHES).await > 0 {
            self.apply(batches.drain(..));
        }
    }

    fn apply(&mut self, batches: impl Iterator<Item = Batch>) {
        let mut change = Change::default();
        for event in batches.flatten() {
            self.resources.apply(event, &mut change);
        }
        if change.routes || self.first.is_some() {
            self.translate();
        } else if !change.is_empty() {
            self.move_endpoints(&change);
        }
    }

    fn translate(&mut self) {
        let started = Instant::now();
        let Translation { snapshot, statuses, findings } = translate::translate(&self.resources, &self.settings);
        let (rules, upstreams) = (snapshot.rules.len(), snapshot.upstreams.len());
        self.publisher.publish(snapshot);
        if let Some(first) = self.first.take() {
            first.done();
        }
        let took = started.elapsed();
        let generation = self.report.borrow().generation + 1;
        info!(generation, rules, upstreams, ?took, "snapshot published");
        self.report.send_replace(Report {
            generation,
            statuses: Arc::new(statuses),
            findings: Arc::new(findings),
            took,
            objects: self.resources.counts(),
        });
    }

    fn move_endpoints(&self, change: &Change) {
        let moved: Vec<UpstreamId> = self
            .publisher
            .upstreams()
            .filter(|id| change.services.iter().any(|key| key.namespace == id.namespace && key.name == id.service))
            .cloned()
            .collect();
        for id in moved {
            let set = translate::endpoints(&self.resources, &id);
            debug!(
                namespace = id.namespace,
                service = id.service,
                port = id.port,
                endpoints = set.endpoints.len(),
                "endpoints moved"
            );
            self.publisher.publish_endpoints(&id, set);
        }
    }
}
