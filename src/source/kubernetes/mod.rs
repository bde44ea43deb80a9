//! Objects from an API server: one watch a kind, from one table.
//!
//! A client comes in; batches go out, the first of them whole, once every watch is in step: a snapshot of half a
//! cluster is never served. `table` says what is watched, `served` which version of it the cluster has, `watch`
//! follows one kind in one scope, `picture` (pure) says what that changes. Nothing here knows what an object means.
//!
//! `once` lists instead of watching, for commands that answer and end; `survey` and `permission` ask what the cluster
//! has and allows.
//!
//! A kind whose CRD is not there counts as empty, and is looked for again until it is. A watch that is lost keeps
//! what it had shown.

pub mod once;
mod pace;
pub mod permission;
mod picture;
mod served;
pub mod survey;
mod table;
mod watch;

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Kind, Sighting};
use crate::store::Batch;
use crate::telemetry::ClusterMetrics;

use watch::{Scope, Watch};

/// Batches of all watches that may wait.
const QUEUED: usize = 256;
/// For a connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For an answer of the API server; a watch is renewed before that.
const READ_TIMEOUT: Duration = Duration::from_secs(295);

/// How often a kind that the cluster does not have is looked for, unless said otherwise.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a streaming list may be silent before it is taken for none, unless said otherwise.
const SILENCE: Duration = Duration::from_secs(5);
/// Between the beginnings of two watches of a kind, unless said otherwise.
const PAUSE: Duration = Duration::from_secs(1);

/// Which cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file; none is the pod's own service account, or the user's default file.
    pub kubeconfig: Option<std::path::PathBuf>,
    /// A context of the file; none is its current one.
    pub context: Option<String>,
    /// A user to ask as, who the own user may act for; none is the own user.
    pub impersonate: Option<String>,
}

/// Which objects are seen at all. Label selectors as Kubernetes writes them; none is every object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Of GatewayClasses.
    pub gateway_classes: Option<String>,
    /// Of Gateways.
    pub gateways: Option<String>,
    /// Of routes of every kind.
    pub routes: Option<String>,
    /// Namespaces that are watched, each on its own; none is all of them with one watch.
    pub namespaces: Vec<String>,
}

/// How a cluster is followed.
#[derive(Debug, Clone)]
pub struct Following {
    /// What is seen of it.
    pub selectors: Selectors,
    /// How often a kind that the cluster does not have is looked for; must not be zero.
    pub look_again: Duration,
    /// How long a streaming list may be silent before it is taken for none.
    pub silence: Duration,
    /// Between the beginnings of two watches of a kind: one that lived for longer is begun again at once.
    pub pause: Duration,
    /// Who counts watches that begin again.
    pub metrics: ClusterMetrics,
}

impl Default for Following {
    fn default() -> Self {
        Following {
            selectors: Selectors::default(),
            look_again: LOOK_AGAIN,
            silence: SILENCE,
            pause: PAUSE,
            metrics: ClusterMetrics::default(),
        }
    }
}

/// No way to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig file cannot be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a service account nor a kubeconfig.
    #[error("no cluster: {0}")]
    Infer(#[from] kube::config::InferConfigError),
    /// The user to ask as is no name of a user.
    #[error("--as: found {0:?}, which is no name of a user")]
    Impersonate(String),
    /// The client cannot be made.
    #[error("client of the API server: {0}")]
    Client(#[from] kube::Error),
}

/// A client of the cluster. Nothing is asked of it yet.
///
/// # Errors
/// No configuration, or one that cannot be used.
pub async fn connect(access: &Access) -> Result<Client, AccessError> {
    Ok(Client::try_from(configure(access).await?)?)
}

async fn configure(access: &Access) -> Result<kube::Config, AccessError> {
    let mut config = match (&access.kubeconfig, &access.context) {
        (None, None) => kube::Config::infer().await?,
        (file, context) => {
            let file = match file {
                Some(path) => Kubeconfig::read_from(path)?,
                None => Kubeconfig::read()?,
            };
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            kube::Config::from_custom_kubeconfig(file, &options).await?
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    if let Some(user) = &access.impersonate {
        let user = HeaderValue::from_str(user).map_err(|_| AccessError::Impersonate(user.clone()))?;
        config.headers.push((HeaderName::from_static("impersonate-user"), user));
    }
    Ok(config)
}

/// Ends if the API server cannot be talked to at all, and as soon as that is known; never while it says anything.
pub async fn away(client: Client) {
    match client.apiserver_version().await {
        Ok(_) | Err(kube::Error::Api(_)) => std::future::pending().await,
        Err(error) => tracing::warn!(%error, "the API server cannot be reached"),
    }
}

/// Follows the cluster until `stop`: sends one batch with everything once every watch is in step, then every change.
///
/// What statuses objects have goes to `sightings`, before the objects themselves go to `events`.
pub async fn follow(
    client: Client,
    following: Following,
    events: mpsc::Sender<Batch>,
    sightings: mpsc::Sender<Vec<Sighting>>,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let (sender, mut shown) = mpsc::channel(QUEUED);
    let mut out_of_step = 0;
    for kind in Kind::ALL {
        for scope in Scope::all(kind, &following.selectors.namespaces) {
            let watch = Watch::new(client.clone(), kind, scope, &following, sender.clone());
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(watch.run()).await });
            out_of_step += 1;
        }
    }
    drop(sender);
    tasks.close();
    let mut first: Option<Batch> = Some(Batch::new());
    while let Some(mut told) = shown.recv().await {
        if !told.seen.is_empty() && sightings.send(std::mem::take(&mut told.seen)).await.is_err() {
            break;
        }
        let batch = match (&mut first, told) {
            (None, told) if told.batch.is_empty() => continue,
            (None, told) => told.batch,
            (Some(whole), told) => {
                whole.extend(told.batch);
                out_of_step -= usize::from(told.first);
                if out_of_step > 0 {
                    continue;
                }
                tracing::info!(objects = whole.len(), "in step with the API server");
                first.take().unwrap_or_default()
            }
        };
        if events.send(batch).await.is_err() {
            break;
        }
    }
    stop.cancelled().await;
    tasks.wait().await;
}
