//! Objects from files, completed with what stands in for a cluster, on their way to the controller.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;

use super::watch::View;
use crate::api::Object;
use crate::cli::{Failure, Sources};
use crate::controller::Report;
use crate::echo::{self, Echo};
use crate::quickstart::{self, EchoBackend, Refusal, Standins};
use crate::snapshot::Reader;
use crate::source::file::{FileProblem, FileSource, Provenance, Skipped};
use crate::source::manifest::{self, Keep, Outcome};
use crate::store::{Batch, Event};

/// Batches of the file source that may wait for the stand-ins.
const QUEUED: usize = 16;

/// Where objects come from, opened and not yet followed.
pub struct Objects {
    /// None for the quick start, whose objects never change.
    files: Option<FileSource>,
    skipped: Skipped,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    problems: channel::Receiver<Arc<Vec<FileProblem>>>,
}

impl Objects {
    /// Reads everything once; the batch is what there is.
    ///
    /// # Errors
    /// A path that does not exist or cannot be opened.
    pub fn open(sources: &Sources, controller_name: &str) -> Result<(Objects, Batch), Failure> {
        let refusals = Arc::default();
        match sources {
            Sources::QuickStart => {
                let documents = manifest::parse(
                    Path::new(quickstart::MANIFEST_NAME),
                    quickstart::manifest_text().as_bytes(),
                    Keep::Objects,
                );
                let objects = documents.into_iter().filter_map(|document| match document.outcome {
                    // whatever this controller is called, the quick start is its
                    Outcome::Object(Object::GatewayClass(mut class)) => {
                        controller_name.clone_into(&mut class.spec.controller_name);
                        Some(Event::Apply(Object::GatewayClass(class)))
                    }
                    Outcome::Object(object) => Some(Event::Apply(object)),
                    _ => None,
                });
                let (_, problems) = channel::channel(Arc::default());
                Ok((Objects { files: None, skipped: Skipped::new(), refusals, problems }, objects.collect()))
            }
            Sources::Files { paths, recursive } => {
                let (files, loaded) = FileSource::open(paths.clone(), *recursive, Keep::Objects)
                    .map_err(|error| Failure::WrongUse(error.to_string()))?;
                let problems = files.problems();
                Ok((Objects { files: Some(files), skipped: loaded.skipped, refusals, problems }, loaded.batch))
            }
        }
    }

    /// Everything that can be told about the objects and what became of them.
    pub fn view(&self, report: channel::Receiver<Report>, reader: Reader) -> View {
        View {
            report,
            reader,
            problems: self.problems.clone(),
            provenance: self.files.as_ref().map_or_else(Provenance::default, FileSource::provenance),
            skipped: Arc::new(self.skipped.clone()),
            refusals: Arc::clone(&self.refusals),
        }
    }

    /// Sends the first batch, then every change, each completed, until `stop`.
    pub async fn follow(mut self, first: Batch, events: mpsc::Sender<Batch>, stop: CancellationToken) {
        let (source, mut changes) = mpsc::channel(QUEUED);
        let watching = self.files.take().map(|files| tokio::spawn(files.watch(source, stop.clone())));
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
        Event::Binds(_) => false,
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
