//! Objects on their way to the controller: from an API server, or from files, completed with what stands in for a
//! cluster.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;

use super::state;
use super::watch::View;
use crate::api::{Object, Sighting};
use crate::cli::{Failure, Sources, selectors};
use crate::config::Config;
use crate::controller::Report;
use crate::echo::{self, Echo};
use crate::quickstart::{self, EchoBackend, Refusal, Standins};
use crate::snapshot::Reader;
use crate::source::file::{FileProblem, FileSource, Provenance, Skipped};
use crate::source::kubernetes::{self, Following, Selectors};
use crate::source::manifest::{self, Keep, Outcome};
use crate::store::{Batch, Event};
use crate::telemetry::Telemetry;

/// Batches of the file source that may wait for the stand-ins.
const QUEUED: usize = 16;

/// Where objects come from, opened and not yet followed.
pub struct Objects {
    source: Source,
    /// What to write statuses back to, if they come from a cluster.
    pub cluster: Option<Cluster>,
    /// What an earlier process last saw of the cluster; it stands in while the cluster is away.
    pub saved: Vec<Object>,
    skipped: Skipped,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    problems: channel::Receiver<Arc<Vec<FileProblem>>>,
}

enum Source {
    /// The quick start, whose objects never change.
    Fixed(Batch),
    /// Files, and what they held.
    Files(Box<FileSource>, Batch),
    /// A cluster, of which nothing is known yet, and who is told of the statuses in it.
    Cluster(Client, Selectors, mpsc::Sender<Vec<Sighting>>),
}

/// What there is to write back to.
pub struct Cluster {
    /// A client of it.
    pub client: Client,
    /// The statuses that objects have.
    pub sightings: mpsc::Receiver<Vec<Sighting>>,
}

impl Objects {
    /// Reads files once; a cluster is not asked yet.
    ///
    /// # Errors
    /// A path that does not exist or cannot be opened; no way to the cluster.
    pub async fn open(sources: &Sources, config: &Config) -> Result<Objects, Failure> {
        let controller_name = config.controller_name.as_str();
        let mut objects = Objects {
            source: Source::Fixed(Batch::new()),
            cluster: None,
            saved: Vec::new(),
            skipped: Skipped::new(),
            refusals: Arc::default(),
            problems: channel::channel(Arc::default()).1,
        };
        match sources {
            Sources::QuickStart => {
                let documents = manifest::parse(
                    Path::new(quickstart::MANIFEST_NAME),
                    quickstart::manifest_text().as_bytes(),
                    Keep::Objects,
                );
                let events = documents.into_iter().filter_map(|document| match document.outcome {
                    // whatever this controller is called, the quick start is its
                    Outcome::Object(Object::GatewayClass(mut class)) => {
                        controller_name.clone_into(&mut class.spec.controller_name);
                        Some(Event::Apply(Object::GatewayClass(class)))
                    }
                    Outcome::Object(object) => Some(Event::Apply(object)),
                    _ => None,
                });
                objects.source = Source::Fixed(events.collect());
            }
            Sources::Files { paths, recursive } => {
                let (files, loaded) = FileSource::open(paths.clone(), *recursive, Keep::Objects)
                    .map_err(|error| Failure::WrongUse(error.to_string()))?;
                objects.problems = files.problems();
                objects.skipped = loaded.skipped;
                objects.source = Source::Files(Box::new(files), loaded.batch);
            }
            Sources::Kubernetes(access) => {
                let client = kubernetes::connect(access).await;
                let client = client.map_err(|error| Failure::WrongUse(error.to_string()))?;
                let (sender, sightings) = mpsc::channel(QUEUED);
                objects.source = Source::Cluster(client.clone(), selectors(config), sender);
                objects.cluster = Some(Cluster { client, sightings });
            }
        }
        Ok(objects)
    }

    /// Everything that can be told about the objects and what became of them.
    pub fn view(&self, report: channel::Receiver<Report>, reader: Reader) -> View {
        View {
            report,
            reader,
            problems: self.problems.clone(),
            provenance: match &self.source {
                Source::Files(files, _) => files.provenance(),
                Source::Fixed(_) | Source::Cluster(..) => Provenance::default(),
            },
            skipped: Arc::new(self.skipped.clone()),
            refusals: Arc::clone(&self.refusals),
        }
    }

    /// Sends the first batch, then every change, until `stop`.
    pub async fn follow(mut self, events: mpsc::Sender<Batch>, telemetry: Telemetry, stop: CancellationToken) {
        match std::mem::replace(&mut self.source, Source::Fixed(Batch::new())) {
            Source::Fixed(batch) => self.complete(batch, None, events, stop).await,
            Source::Files(files, batch) => self.complete(batch, Some(*files), events, stop).await,
            Source::Cluster(client, selectors, sightings) => {
                let following = Following { selectors, metrics: telemetry.cluster().clone(), ..Following::default() };
                let (source, batches) = mpsc::channel(QUEUED);
                let away = kubernetes::away(client.clone());
                let relay = state::stand_in(self.saved, away, batches, events);
                tokio::join!(kubernetes::follow(client, following, source, sightings, stop), relay);
            }
        }
    }

    /// Files may leave out what a cluster would add: each batch is completed.
    async fn complete(
        &self,
        first: Batch,
        files: Option<FileSource>,
        events: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) {
        let (source, mut changes) = mpsc::channel(QUEUED);
        let watching = files.map(|files| tokio::spawn(files.watch(source, stop.clone())));
        let mut standins = Standins::new();
        let mut next = Some(first);
        while let Some(mut batch) = next {
            // what was refused of an object holds until the object comes again or goes
            self.refused().retain(|refusal| !batch.iter().any(|event| concerns(event, refusal)));
            let found = standins.complete(&mut batch, &mut |backend| start_echo(backend, &stop));
            for refusal in &found {
                tracing::warn!(object = %refusal.object, annotation = refusal.annotation, why = refusal.message, "annotation refused");
            }
            self.refused().extend(found);
            if events.send(batch).await.is_err() {
                break;
            }
            next = tokio::select! {
                batch = changes.recv() => batch,
                () = stop.cancelled() => None,
            };
        }
        stop.cancelled().await; // the quick start has no changes: its backends live as long as the process
        if let Some(watching) = watching {
            let _ = watching.await;
        }
    }

    fn refused(&self) -> MutexGuard<'_, Vec<Refusal>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn concerns(event: &Event, refusal: &Refusal) -> bool {
    match event {
        Event::Apply(object) => object.kind() == refusal.object.kind && object.key() == refusal.object.key,
        Event::Delete(object) => *object == refusal.object,
        Event::Binds(_) | Event::Applied(_) | Event::HostAddresses(_) | Event::Freshness(_) => false,
    }
}

/// An echo backend on loopback, inside the process. It accepts when this returns.
fn start_echo(backend: &EchoBackend, stop: &CancellationToken) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let echo = Echo {
        namespace: backend.service.namespace.clone(),
        pod: backend.name.clone(),
        service: backend.service.name.clone(),
        tls: None,
    };
    tokio::spawn(echo::serve(tokio::net::TcpListener::from_std(listener)?, echo, stop.clone()));
    Ok(address)
}
