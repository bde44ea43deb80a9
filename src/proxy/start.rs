//! Starting the data plane and taking it down.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::listener::room::Room;
use super::listener::{BoundAddresses, Listeners};
use super::settings::Settings;
use super::upstream::keeper::Keeper;
use super::upstream::ring::RingShelf;
use super::worker::{Command, Worker};
use crate::lifecycle::ReadyTask;
use crate::snapshot::Reader;
use crate::telemetry::Telemetry;

/// A running data plane. Dropping it ends it at once; [`drain`](Self::drain) ends it well.
#[derive(Debug)]
pub struct Proxy {
    bound: watch::Receiver<BoundAddresses>,
    stop: Option<oneshot::Sender<Duration>>,
    listeners: JoinHandle<()>,
    workers: Vec<Worker>,
    _keeper: AbortOnDropHandle<()>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut because they were still busy at the limit.
    pub cut: usize,
}

/// Starts the data plane: it serves what `reader` gives, and records each request with `telemetry`. Call it on the control runtime, which goes on to open
/// and close sockets; requests run on the workers' own threads. `ready` is done once the first snapshot is served
/// and all of its addresses are bound, or no longer wanted.
///
/// # Errors
/// No thread or no runtime can be had. Addresses that cannot be bound are no error: see [`Proxy::bound`].
pub fn start(settings: Settings, reader: Reader, telemetry: &Telemetry, ready: ReadyTask) -> io::Result<Proxy> {
    // Before anything of Pingora's asks for it; an error means that somebody has chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Arc::new(settings);
    let rings = RingShelf::default();
    let room = Room::new(settings.max_connections);
    let workers = (0..settings.worker_count())
        .map(|number| Worker::spawn(number, settings.clone(), telemetry.recorder(number), rings.clone(), room.clone()))
        .collect::<io::Result<Vec<_>>>()?;
    let keeper = Keeper::new(workers.len(), telemetry.clone(), rings).run(reader.clone());
    let keeper = AbortOnDropHandle::new(tokio::spawn(keeper));
    let commands = workers.iter().map(|worker| worker.commands().clone()).collect();
    let (report, bound) = watch::channel(BoundAddresses::new());
    let (stop, stopped) = oneshot::channel();
    let listeners = tokio::spawn(Listeners::new(settings, commands, report, ready).run(reader, stopped));
    Ok(Proxy { bound, stop: Some(stop), listeners, workers, _keeper: keeper })
}

impl Proxy {
    /// Which addresses are bound and which cannot be, as it changes.
    #[must_use]
    pub fn bound(&self) -> watch::Receiver<BoundAddresses> {
        self.bound.clone()
    }

    /// Ends well: asks clients to leave (`Connection: close`, GOAWAY) while still accepting for `grace`, closes the
    /// sockets, and waits up to `limit` for work in flight.
    pub async fn drain(mut self, grace: Duration, limit: Duration) -> Drained {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(grace);
        }
        let _ = (&mut self.listeners).await;
        let mut ends = Vec::new();
        for worker in &self.workers {
            let (done, end) = oneshot::channel();
            let _ = worker.commands().send(Command::Finish { limit, done }).await;
            ends.push(end);
        }
        let mut cut = 0;
        for end in ends {
            cut += end.await.unwrap_or_default();
        }
        let workers = std::mem::take(&mut self.workers);
        let _ = tokio::task::spawn_blocking(move || workers.into_iter().for_each(Worker::join)).await;
        Drained { cut }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listeners.abort(); // and with it the last senders: the workers end
    }
}
