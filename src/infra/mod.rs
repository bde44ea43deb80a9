//! I/O out: what stands around the data planes in a cluster, and what is found out about them.
//!
//! What is wished for and what this process serves come in ([`Facts`]), and who leads; the leader alone writes a Service
//! for each Gateway with EndpointSlices that bring its connections to the pods, and finds out what every pod serves and
//! on which nodes they run ([`Observation`]).
//!
//! `allocate`, `pattern`, `pods`, `desired`, `plan`, `fleet` and `nodes` are pure; `shelf` watches, `writer` writes,
//! `peer` asks other pods, `reach` tries addresses, `term` does all of it for as long as this process leads. What a
//! Gateway is, or when it is programmed, is not known here.

mod allocate;
mod desired;
mod fleet;
mod nodes;
mod pattern;
mod peer;
mod plan;
mod pods;
mod reach;
mod shelf;
mod term;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::telemetry::ClusterMetrics;
use crate::translate::Infrastructure;

pub use fleet::Generations;
pub use pattern::{ExternalTrafficPolicy, PatternError, ServicePattern, ServiceType};

/// What this install is.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Whose objects are ours, and the field manager that they are applied by.
    pub controller_name: String,
    /// Namespaces that are watched, each on its own; none is all of them with one watch.
    pub namespaces: Vec<String>,
    /// Its pods.
    pub install: Install,
    /// How their listeners are reached.
    pub exposure: Exposure,
    /// A Service that nobody wishes for any more goes after this long: a Gateway that is deleted takes its own along,
    /// and one that is seen again meanwhile keeps its address.
    pub linger: Duration,
}

/// The pods that serve as this one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// Their namespace.
    pub namespace: String,
    /// Labels that they have and no other pod of the namespace.
    pub selector: String,
    /// Name of this one.
    pub own_name: String,
    /// Port of the admin server of each.
    pub admin_port: u16,
}

/// How listeners are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    /// By a Service for each Gateway, of this pattern.
    Services(Box<ServicePattern>),
    /// On the network of the nodes, whose addresses are asked for.
    Nodes,
    /// On the network of the nodes, under addresses that are given.
    Given,
}

/// What the translator says.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What is wished for.
    pub infrastructure: Arc<Infrastructure>,
    /// What this process serves.
    pub applied: Arc<BTreeMap<String, i64>>,
    /// Ports that this process binds for it: behind any other there is nobody yet.
    pub ports: BTreeSet<u16>,
}

/// What was found out: the whole picture of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The generation of each Gateway that every ready data plane serves.
    Applied(Generations),
    /// Addresses of the nodes with a ready data plane, sorted.
    HostAddresses(Vec<String>),
}

/// Looks after the infrastructure whenever this process leads, until nobody says any more whether it does. Nothing is
/// written before the first facts: until then nothing is known of what is wished for.
pub async fn look_after(
    client: Client,
    setup: Setup,
    metrics: ClusterMetrics,
    mut leading: watch::Receiver<bool>,
    facts: watch::Receiver<Option<Facts>>,
    observations: mpsc::Sender<Observation>,
) {
    while leading.wait_for(|leads| *leads).await.is_ok() {
        // what it began is dropped with it: who no longer leads writes nothing
        tokio::select! {
            told = leading.wait_for(|leads| !leads) => if told.is_err() { return },
            () = term::term(client.clone(), &setup, metrics.clone(), facts.clone(), observations.clone()) => {}
        }
    }
}

/// Waits until then; without a time, for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
