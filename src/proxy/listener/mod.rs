//! Listening sockets follow the snapshot. Runs on the control runtime; the workers accept.
//!
//! With each snapshot the workers first learn what to serve, then sockets of binds that went are closed and those
//! of new ones opened: a connection never meets a worker that does not know its bind. A bind that cannot be had
//! is reported and tried again while it is wanted; all others serve.

pub mod accept;
mod buffer;
mod conduct;
pub mod connection;
mod farewell;
mod frames;
mod h2_frames;
mod handshake;
pub mod hello;
mod holder;
mod last_word;
pub mod leaving;
mod proxy_protocol;
pub mod room;
mod sniff;
mod socket;
mod stream;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

pub use proxy_protocol::ProxyHeader;
pub use socket::refusal;

use holder::Holder;
use leaving::{Company, Signals};
use socket::{Neighbours, is_taken};
use tls::TlsConfigs;

use super::serving::Serving;
use super::settings::Settings;
use super::worker::Command;
use crate::lifecycle::ReadyTask;
use crate::snapshot::{BindProtocol, Reader, Snapshot};

/// For how long a closing socket is waited for before its address is bound again.
const CLOSING: Duration = Duration::from_secs(1);

/// Which addresses are bound, by the snapshot's key of the bind. Addresses that are not wanted are not in it.
pub type BoundAddresses = BTreeMap<SocketAddr, BindState>;

/// Whether an address is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindState {
    /// It is, and connections are accepted.
    Bound,
    /// It is not; it is tried again. Why, for a person.
    Failed(String),
}

/// The sockets, and all they depend on.
#[derive(Debug)]
pub struct Listeners {
    settings: Arc<Settings>,
    workers: Vec<mpsc::Sender<Command>>,
    report: watch::Sender<BoundAddresses>,
    ready: Option<ReadyTask>,
    tls: TlsConfigs,
    wanted: Arc<Snapshot>,
    open: BTreeMap<SocketAddr, Open>,
    failed: BTreeMap<SocketAddr, String>,
    /// What was served before: kept until the workers let go of it, so that it is freed here and not by them.
    retired: Vec<Arc<Serving>>,
}

/// An address that is bound.
#[derive(Debug)]
struct Open {
    protocol: BindProtocol,
    closed: watch::Sender<bool>,
    draining: watch::Sender<bool>,
    /// Ends when every worker has closed its socket.
    sockets: mpsc::Receiver<()>,
}

impl Listeners {
    /// No address is bound yet.
    pub fn new(
        settings: Arc<Settings>,
        workers: Vec<mpsc::Sender<Command>>,
        report: watch::Sender<BoundAddresses>,
        ready: ReadyTask,
    ) -> Self {
        Listeners {
            tls: TlsConfigs::new(settings.tls.clone()),
            settings,
            workers,
            report,
            ready: Some(ready),
            wanted: Arc::default(),
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            retired: Vec::new(),
        }
    }

    /// Follows `reader` until told to stop: then connections drain, new ones are still accepted for the grace that
    /// is sent, and at last the sockets close.
    pub async fn run(mut self, mut reader: Reader, mut stop: oneshot::Receiver<Duration>) {
        let mut publisher_lives = true;
        let grace = loop {
            let retry = !self.failed.is_empty() || !self.retired.is_empty();
            tokio::select! {
                grace = &mut stop => break grace.unwrap_or_default(),
                snapshot = reader.next(), if publisher_lives => match snapshot {
                    Some(snapshot) => self.follow(snapshot).await,
                    None => publisher_lives = false, // what is served goes on being served
                },
                () = sleep(self.settings.bind_retry), if retry => self.open_wanted().await,
            }
        };
        for open in self.open.values() {
            open.draining.send_replace(true);
        }
        sleep(grace).await;
        let all: Vec<SocketAddr> = self.open.keys().copied().collect();
        self.close(&all).await;
    }

    async fn follow(&mut self, snapshot: Arc<Snapshot>) {
        let serving = Arc::new(Serving { tls: self.tls.of(&snapshot), snapshot: snapshot.clone() });
        self.wanted = snapshot;
        for worker in &self.workers {
            let _ = worker.send(Command::Serve(serving.clone())).await;
        }
        self.retired.push(serving);

        // Where the protocol changes, too: connections of the old one must not live on behind the new one.
        let stays = |address, open: &Open| self.wanted.binds.get(address).is_some_and(|b| b.protocol == open.protocol);
        let gone: Vec<SocketAddr> =
            self.open.iter().filter(|(address, open)| !stays(address, open)).map(|(address, _)| *address).collect();
        self.close(&gone).await;
        let wanted = &self.wanted;
        self.failed.retain(|address, _| wanted.binds.contains_key(address));
        self.open_wanted().await;
    }

    /// Closes sockets at once; their connections drain.
    async fn close(&mut self, addresses: &[SocketAddr]) {
        for address in addresses {
            if let Some(open) = self.open.get(address) {
                open.closed.send_replace(true);
                open.draining.send_replace(true);
            }
        }
        for address in addresses {
            if let Some(mut open) = self.open.remove(address) {
                let _ = timeout(CLOSING, open.sockets.recv()).await;
                tracing::info!(%address, "closed");
            }
        }
    }

    /// Opens what is wanted and not open, and reports.
    async fn open_wanted(&mut self) {
        let binds = self.wanted.binds.iter().map(|(address, bind)| (*address, bind.protocol));
        let missing: Vec<_> = binds.filter(|(address, _)| !self.open.contains_key(address)).collect();
        for (address, protocol) in missing {
            let neighbours = if self.open.keys().any(|other| overlap(*other, address)) {
                Neighbours::Ours
            } else {
                Neighbours::None
            };
            match socket::open(address, self.workers.len(), neighbours) {
                Ok(sockets) => {
                    self.failed.remove(&address);
                    self.hand_out(address, protocol, sockets).await;
                    tracing::info!(%address, "bound");
                }
                Err(error) => {
                    let why = socket::explain(&error);
                    // who holds the port is asked once, not at every try
                    if self.failed.get(&address).is_some_and(|before| before.starts_with(&why)) {
                        continue;
                    }
                    let holder = if is_taken(&error) { Holder::find(address) } else { None };
                    let why = holder.map_or_else(|| why.clone(), |holder| format!("{why}, {holder}"));
                    tracing::warn!(%address, error = %why, "cannot bind");
                    self.failed.insert(address, why);
                }
            }
        }
        self.tell();
    }

    async fn hand_out(&mut self, address: SocketAddr, protocol: BindProtocol, sockets: Vec<std::net::TcpListener>) {
        let (closed, closed_seen) = watch::channel(false);
        let (draining, draining_seen) = watch::channel(false);
        let (held, sockets_open) = mpsc::channel(1);
        let company = Company::default();
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let company = company.clone();
            let signals = Signals { closed: closed_seen.clone(), draining: draining_seen.clone(), company };
            let _ = worker.send(Command::Listen { bind: address, socket, signals, open: held.clone() }).await;
        }
        self.open.insert(address, Open { protocol, closed, draining, sockets: sockets_open });
    }

    fn tell(&mut self) {
        self.retired.retain(|serving| Arc::strong_count(serving) > 1);
        let bound = self.open.keys().map(|address| (*address, BindState::Bound));
        let failed = self.failed.iter().map(|(address, why)| (*address, BindState::Failed(why.clone())));
        let report: BoundAddresses = bound.chain(failed).collect();
        self.report.send_if_modified(|before| {
            let changed = *before != report;
            if changed {
                *before = report;
            }
            changed
        });
        // Only the start waits for ports: a port that cannot be had later must not take the others out of service.
        if self.failed.is_empty()
            && let Some(ready) = self.ready.take()
        {
            ready.done();
        }
    }
}

/// Whether a socket on one address stands in the way of one on the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}
