//! What a cluster asks for beyond its objects: a leader, and statuses.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::objects::Cluster;
use crate::controller::Report;
use crate::status::{Candidate, StatusWriter, Terms, lead};
use crate::telemetry::ClusterMetrics;
use crate::translate::Statuses;

/// Writes the statuses of `report` for as long as this process leads, until `stop`.
pub fn write_back(
    cluster: Cluster,
    controller_name: &str,
    report: watch::Receiver<Report>,
    metrics: &ClusterMetrics,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let Cluster { client, sightings } = cluster;
    let candidate = Candidate {
        namespace: std::env::var("POD_NAMESPACE").unwrap_or_else(|_| client.default_namespace().to_owned()),
        name: lease_name(controller_name),
        identity: std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| {
            format!("transom-{}", std::process::id()) // a laptop: nobody else has this name in its namespace
        }),
    };
    let (leading, leads) = watch::channel(false);
    tasks.spawn(lead(client.clone(), candidate, Terms::default(), leading, stop.clone()));
    let (statuses, latest) = watch::channel(None);
    tasks.spawn(forward(report, statuses));
    tasks.spawn(show(leads.clone(), metrics.clone()));
    let writer = StatusWriter::new(client, controller_name.to_owned(), metrics.clone());
    tasks.spawn(writer.run(sightings, latest, leads));
}

/// A Lease of each controllerName: two installs do not compete.
#[must_use]
pub fn lease_name(controller_name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("transom-{}", controller_name.chars().map(plain).collect::<String>())
}

async fn show(mut leads: watch::Receiver<bool>, metrics: ClusterMetrics) {
    metrics.leads(*leads.borrow_and_update());
    while leads.changed().await.is_ok() {
        metrics.leads(*leads.borrow_and_update());
    }
}

async fn forward(mut report: watch::Receiver<Report>, statuses: watch::Sender<Option<Arc<Statuses>>>) {
    while report.changed().await.is_ok() {
        let latest = report.borrow_and_update().clone();
        if latest.generation > 0 && statuses.send(Some(latest.statuses)).is_err() {
            return;
        }
    }
}
