//! What a cluster asks for beyond its objects: a leader, statuses, and the infrastructure around the data planes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::objects::Cluster;
use crate::api::label;
use crate::controller::Report;
use crate::infra::{self, Facts, Observation};
use crate::snapshot::Reader;
use crate::status::{Candidate, StatusWriter, Terms, Verdicts, lead};
use crate::store::{Batch, Event, Freshness};
use crate::telemetry::ClusterMetrics;
use crate::translate::Applied;

/// Observations that may wait for the controller.
const QUEUED: usize = 16;
/// Letters of a controllerName that its Lease shows.
const READABLE: usize = 40;

/// What a process in a cluster is.
#[derive(Debug, Clone)]
pub struct Member {
    /// Whose GatewayClasses are ours.
    pub controller_name: String,
    /// The pods that serve as this one does; without them it stands alone.
    pub setup: Option<infra::Setup>,
}

/// Ends of the controller's channels.
pub struct Ends {
    /// The last translation.
    pub report: watch::Receiver<Report>,
    /// The snapshot that it published.
    pub reader: Reader,
    /// What it is told.
    pub events: mpsc::Sender<Batch>,
}

/// What comes out of it.
pub struct Shown {
    /// What is served here, for other data planes.
    pub applied: watch::Receiver<Arc<Applied>>,
    /// What was found out, for the controller.
    pub observations: mpsc::Receiver<Observation>,
}

/// Writes the statuses and the infrastructure of what is translated for as long as this process leads, until `stop`.
pub fn write_back(
    cluster: Cluster,
    member: Member,
    ends: Ends,
    metrics: &ClusterMetrics,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Shown {
    let Cluster { client, sightings } = cluster;
    let Member { controller_name, setup } = member;
    let candidate = Candidate {
        namespace: own_namespace().unwrap_or_else(|| client.default_namespace().to_owned()),
        name: lease_name(&controller_name),
        identity: own_name(),
    };
    let (leading, leads) = watch::channel(false);
    tasks.spawn(lead(client.clone(), candidate, Terms::default(), leading, stop.clone()));
    let (outlets, parts) = Outlets::new();
    tasks.spawn(outlets.forward(ends.report.clone(), ends.reader.clone()));
    tasks.spawn(show(leads.clone(), metrics.clone()));
    let (judging, judges) = watch::channel(false);
    tasks.spawn(judge(leads, ends, judging));
    let (sender, observations) = mpsc::channel(QUEUED);
    if let Some(setup) = setup {
        let metrics = metrics.clone();
        tasks.spawn(infra::look_after(client.clone(), setup, metrics, judges.clone(), parts.facts, sender));
    }
    let writer = StatusWriter::new(client, controller_name, metrics.clone());
    tasks.spawn(writer.run(sightings, parts.verdicts, judges));
    Shown { applied: parts.applied, observations }
}

/// The pod's namespace, as the downward API gives it.
#[must_use]
pub fn own_namespace() -> Option<String> {
    std::env::var("POD_NAMESPACE").ok().filter(|namespace| !namespace.is_empty())
}

/// The pod's name.
pub fn own_name() -> String {
    std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| {
        format!("transom-{}", std::process::id()) // a laptop: nobody else has this name in its namespace
    })
}

/// A Lease of each controllerName: two installs do not compete.
#[must_use]
pub fn lease_name(controller_name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let readable: String = controller_name.chars().map(plain).take(READABLE).collect();
    // what differs in other letters, or further behind, differs here
    format!("transom-{}-{}", readable.trim_matches('-'), label::fingerprint(controller_name))
}

/// Who begins to lead judges anew before it writes anything: what was seen while another led, its statuses too, asked
/// for no translation. What every data plane serves is not known yet, and will be told.
async fn judge(mut leads: watch::Receiver<bool>, mut ends: Ends, judging: watch::Sender<bool>) {
    while leads.wait_for(|leads| *leads).await.is_ok() {
        let goes_on = tokio::select! {
            told = leads.wait_for(|leads| !leads) => told.is_ok(),
            () = anew(&mut ends, &judging) => true,
        };
        judging.send_replace(false);
        if !goes_on {
            return;
        }
    }
}

async fn anew(ends: &mut Ends, judging: &watch::Sender<bool>) {
    // before the first objects there is nothing to judge
    if let Ok(before) = ends.report.wait_for(|report| report.generation > 0).await.map(|report| report.generation)
        && ends.events.send(vec![Event::Applied(BTreeMap::new())]).await.is_ok()
        && ends.report.wait_for(|report| report.generation > before).await.is_ok()
    {
        judging.send_replace(true);
    }
    std::future::pending::<()>().await;
}

async fn show(mut leads: watch::Receiver<bool>, metrics: ClusterMetrics) {
    metrics.leads(*leads.borrow_and_update());
    while leads.changed().await.is_ok() {
        metrics.leads(*leads.borrow_and_update());
    }
}

/// The parts of a report, each for who wants it.
struct Outlets {
    verdicts: watch::Sender<Option<Verdicts>>,
    facts: watch::Sender<Option<Facts>>,
    applied: watch::Sender<Arc<Applied>>,
}

struct Parts {
    verdicts: watch::Receiver<Option<Verdicts>>,
    facts: watch::Receiver<Option<Facts>>,
    applied: watch::Receiver<Arc<Applied>>,
}

impl Outlets {
    fn new() -> (Outlets, Parts) {
        let (verdicts, latest) = watch::channel(None);
        let (facts, latest_facts) = watch::channel(None);
        let (applied, latest_applied) = watch::channel(Arc::default());
        let parts = Parts { verdicts: latest, facts: latest_facts, applied: latest_applied };
        (Outlets { verdicts, facts, applied }, parts)
    }

    async fn forward(self, mut report: watch::Receiver<Report>, reader: Reader) {
        while report.changed().await.is_ok() {
            let latest = report.borrow_and_update().clone();
            let Report { generation, statuses, judged, freshness, infrastructure, applied, .. } = latest;
            if generation == 0 {
                continue;
            }
            let gateways = (*applied).clone();
            self.applied.send_replace(Arc::new(Applied { version: generation, gateways }));
            // what was made of saved objects is served, and nothing is written for it
            if freshness == Freshness::Live {
                let ports = reader.current().binds.keys().map(SocketAddr::port).collect();
                self.facts.send_replace(Some(Facts { infrastructure, applied, ports }));
                self.verdicts.send_replace(Some(Verdicts { statuses, judged }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Publisher;

    #[test]
    fn each_controller_name_has_a_lease_of_its_own_with_a_name_that_an_api_server_takes() {
        let long = format!("example.com/{}", "x".repeat(240));
        let names = ["transom.dev/a.b", "transom.dev/a-b", "transom.dev/A-b", &long, &long[..250]];
        let leases: std::collections::BTreeSet<String> = names.iter().map(|name| lease_name(name)).collect();
        assert_eq!(leases.len(), names.len(), "{leases:?}");
        for lease in leases {
            assert!(
                lease.len() <= 63 && lease.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[tokio::test]
    async fn who_begins_to_lead_writes_once_it_has_judged_anew() {
        let (leading, leads) = watch::channel(true);
        let (reports, report) = watch::channel(Report::default());
        let (events, mut told) = mpsc::channel(4);
        let (judging, mut judges) = watch::channel(false);
        let judge = tokio::spawn(judge(leads, Ends { report, reader: Publisher::new().1, events }, judging));
        tokio::task::yield_now().await;
        assert!(told.try_recv().is_err(), "there are no objects yet");
        reports.send_modify(|report| report.generation = 7);
        assert_eq!(told.recv().await.unwrap(), [Event::Applied(BTreeMap::new())]);
        assert!(!*judges.borrow());
        reports.send_modify(|report| report.generation = 8);
        judges.wait_for(|judges| *judges).await.unwrap();
        leading.send_replace(false);
        judges.wait_for(|judges| !judges).await.unwrap();
        leading.send_replace(true);
        assert_eq!(told.recv().await.unwrap(), [Event::Applied(BTreeMap::new())], "each time");
        drop(leading);
        judge.await.unwrap();
    }
}
