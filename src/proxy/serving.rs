//! What is served at one moment. The control side publishes a [`Serving`]; each worker wraps it in its own
//! [`View`], so that what a request holds on to is counted on that worker's core alone.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use rustls::ServerConfig;

use super::upstream::balance::Ties;
use super::upstream::ring::RingShelf;
use super::upstream::{Ticket, UpstreamLoad};
use crate::router::HostMap;
use crate::snapshot::{Bind, Listener, Rule, Snapshot, Upstream, UpstreamId, UpstreamIndex};
use crate::telemetry::{Recorder, UpstreamLabels};

/// A snapshot with all that serving it needs beyond.
#[derive(Debug, Default)]
pub struct Serving {
    /// What was published.
    pub snapshot: Arc<Snapshot>,
    /// TLS by bind and server name; no server name finds the listener without hostname.
    pub tls: BTreeMap<SocketAddr, HostMap<Arc<ServerConfig>>>,
}

/// A worker's own view of what is served.
#[derive(Debug)]
pub struct View {
    serving: Arc<Serving>,
    upstreams: Box<[Arc<UpstreamLoad>]>,
}

/// All that a worker keeps between requests. One thread uses it; it is `Sync` because Pingora asks for it.
#[derive(Debug)]
pub struct WorkerState {
    view: ArcSwap<View>,
    random: AtomicU64,
}

/// A listener of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerIndex {
    /// Key of its bind.
    pub bind: SocketAddr,
    /// Position in the bind.
    pub index: u32,
}

/// The loads of a worker's upstreams, which outlive views.
#[derive(Debug)]
pub struct LoadRegistry {
    by_id: HashMap<UpstreamId, Arc<UpstreamLoad>>,
    worker: usize,
    recorder: Recorder,
    rings: RingShelf,
    h2_streams: usize,
}

impl View {
    /// A bind by the address that accepted.
    pub fn bind(&self, address: &SocketAddr) -> Option<&Bind> {
        self.serving.snapshot.binds.get(address)
    }

    /// By how much ports below 1024 are bound higher than listeners say.
    pub fn port_offset(&self) -> u16 {
        self.serving.snapshot.port_offset
    }

    /// TLS of a bind.
    pub fn tls(&self, address: &SocketAddr) -> Option<&HostMap<Arc<ServerConfig>>> {
        self.serving.tls.get(address)
    }

    /// A listener.
    pub fn listener(&self, at: ListenerIndex) -> Option<&Listener> {
        self.bind(&at.bind)?.listeners.get(at.index as usize)
    }

    /// A rule.
    pub fn rule(&self, index: crate::snapshot::RuleIndex) -> Option<&Rule> {
        self.serving.snapshot.rule(index)
    }

    /// Who an upstream is.
    pub fn upstream_id(&self, index: UpstreamIndex) -> Option<&UpstreamId> {
        self.serving.snapshot.upstreams.get(index.0 as usize).map(|upstream| &upstream.id)
    }

    /// The worker's load of an upstream.
    pub fn upstream(&self, index: UpstreamIndex) -> Option<&Arc<UpstreamLoad>> {
        self.upstreams.get(index.0 as usize)
    }
}

impl WorkerState {
    /// A view of nothing.
    pub fn new() -> Self {
        let seed = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0u8);
        WorkerState {
            view: ArcSwap::from_pointee(View { serving: Arc::default(), upstreams: Box::default() }),
            random: AtomicU64::new(seed),
        }
    }

    /// The view now, to keep for the length of a request.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The view now, for a glance.
    pub fn glance(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// A random number: SplitMix64, which is fair enough to share out traffic and costs nothing.
    pub fn random(&self) -> Ticket {
        let mut z = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ticket(z ^ (z >> 31))
    }

    /// Serves `serving` from the next request on. Upstreams that were there keep their load.
    pub fn refresh(&self, serving: Arc<Serving>, loads: &mut LoadRegistry) {
        let upstreams = serving.snapshot.upstreams.iter().map(|upstream| loads.of(upstream)).collect();
        self.view.store(Arc::new(View { serving, upstreams }));
        loads.forget_unused();
    }
}

impl LoadRegistry {
    /// Those of one worker. Up to `h2_streams` requests share an HTTP/2 connection to an endpoint.
    pub fn new(worker: usize, recorder: Recorder, rings: RingShelf, h2_streams: usize) -> Self {
        LoadRegistry { by_id: HashMap::new(), worker, recorder, rings, h2_streams }
    }

    fn of(&mut self, upstream: &Upstream) -> Arc<UpstreamLoad> {
        let load = match self.by_id.get(&upstream.id) {
            Some(load) if load.follows(&upstream.endpoints) => {
                if *load.policy() == upstream.policy {
                    return load.clone();
                }
                load.under(upstream.policy.clone())
            }
            _ => UpstreamLoad::new(upstream, self.ties(&upstream.id)),
        };
        let load = Arc::new(load);
        self.by_id.insert(upstream.id.clone(), load.clone());
        load
    }

    fn ties(&self, id: &UpstreamId) -> Ties {
        let UpstreamId { namespace, service, port, .. } = id;
        let labels =
            UpstreamLabels { namespace: namespace.as_str().into(), service: service.as_str().into(), port: *port };
        Ties {
            series: self.recorder.upstream(labels),
            ring: self.rings.cell(id),
            worker: self.worker,
            h2_streams: u32::try_from(self.h2_streams).unwrap_or(u32::MAX),
        }
    }

    /// Drops what neither a view nor a request holds any more.
    fn forget_unused(&mut self) {
        self.by_id.retain(|_, load| Arc::strong_count(load) > 1);
    }
}
