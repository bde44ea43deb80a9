//! The end that a data worker holds: counts a request and writes its line, without a lock and, once warm, without
//! an allocation.
//!
//! `ProxyHttp` must be `Sync`, so a [`Recorder`] is; what it writes to lives in the thread, one part per
//! `Telemetry` (a test process may have several).

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use http::HeaderMap;

use super::access_log::LineWriter;
use super::metrics::{ConnectionMeter, MirrorMeter, RetryMetrics, Series, SeriesLabels, Shard};
use super::{Core, RequestRecord, Tracer, UpstreamLabels, UpstreamSeries};

/// Records the requests of one data worker.
#[derive(Debug, Clone)]
pub struct Recorder {
    core: Arc<Core>,
    worker: usize,
}

/// A request that is being served; counted until dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the request"]
pub struct ActiveRequest {
    shard: Option<Arc<Shard>>,
}

thread_local! {
    static PARTS: RefCell<Vec<Part>> = const { RefCell::new(Vec::new()) };
}

/// What a thread keeps for one `Telemetry`.
struct Part {
    id: u64,
    owner: Weak<Core>,
    shard: Arc<Shard>,
    hashing: RandomState,
    series: HashTable<Arc<Series>>,
    generation: u64,
    lines: Option<LineWriter>,
}

/// A number that no other `Telemetry` of the process has.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Recorder {
    pub(super) fn new(core: Arc<Core>, worker: usize) -> Self {
        Recorder { core, worker }
    }

    /// What this worker counts its mirrored copies with. Ask once: each meter is one of its own.
    #[must_use]
    pub fn mirror_meter(&self) -> Arc<MirrorMeter> {
        self.core.metrics.mirrors.add_meter()
    }

    /// What this worker counts its clients' connections with. Ask once: each meter is one of its own.
    #[must_use]
    pub fn connection_meter(&self) -> Arc<ConnectionMeter> {
        self.core.metrics.connections.add_meter()
    }

    /// Counts a request as active until what is returned is dropped.
    pub fn begin(&self) -> ActiveRequest {
        let shard = self.with_part(|part| {
            part.shard.add_active(1);
            // The shard is this thread's own, and so is the count of its references: nobody contends for it.
            Arc::clone(&part.shard)
        });
        ActiveRequest { shard }
    }

    /// Counts a finished request and writes it to the access log. Never waits: a line that finds the log's queue
    /// full is dropped and counted.
    pub fn record(&self, record: &RequestRecord<'_>) {
        self.with_part(|part| {
            part.count(record, &self.core);
            if let Some(lines) = &mut part.lines {
                lines.write(record);
            }
        });
    }

    /// Of a request's headers those that the access log may show, for a request that may end without them.
    #[must_use]
    pub fn kept_headers(&self, headers: &HeaderMap) -> HeaderMap {
        self.core.access_log.kept(headers)
    }

    /// What begins the spans of requests, if they are traced.
    #[must_use]
    pub fn tracer(&self) -> Option<&Tracer> {
        self.core.tracer.as_ref()
    }

    /// What is told of requests that are sent again.
    pub fn retries(&self) -> &RetryMetrics {
        &self.core.metrics.retries
    }

    /// A series of an upstream, for one worker to count in.
    #[must_use]
    pub fn upstream(&self, labels: UpstreamLabels) -> Arc<UpstreamSeries> {
        self.core.metrics.upstreams.add(labels)
    }

    /// `None` only while the thread is being torn down.
    fn with_part<T>(&self, act: impl FnOnce(&mut Part) -> T) -> Option<T> {
        PARTS
            .try_with(|parts| {
                let mut parts = parts.try_borrow_mut().ok()?;
                if !parts.iter().any(|part| part.id == self.core.id) {
                    parts.retain(|part| part.owner.strong_count() > 0);
                    parts.push(Part::new(&self.core, self.worker));
                }
                parts.iter_mut().find(|part| part.id == self.core.id).map(act)
            })
            .ok()
            .flatten()
    }
}

impl Part {
    fn new(core: &Arc<Core>, worker: usize) -> Self {
        let requests = &core.metrics.requests;
        Part {
            id: core.id,
            owner: Arc::downgrade(core),
            generation: requests.generation(),
            shard: requests.add_shard(worker),
            hashing: RandomState::default(),
            series: HashTable::new(),
            lines: core.access_log.line_writer(),
        }
    }

    fn count(&mut self, record: &RequestRecord<'_>, core: &Core) {
        let generation = core.metrics.requests.generation();
        if generation != self.generation {
            self.generation = generation;
            self.series.retain(|series| !series.is_removed());
        }
        self.shard.count();
        if let Some(overhead) = record.overhead() {
            self.shard.count_overhead(overhead);
        }
        let labels = SeriesLabels::record(record);
        let hash = labels.hash_with(self.hashing.build_hasher());
        if let Some(series) = self.series.find(hash, |series| series.labels() == labels) {
            series.count(record.duration);
        } else {
            self.add(labels, hash).count(record.duration);
        }
    }

    #[cold]
    fn add(&mut self, labels: SeriesLabels<'_>, hash: u64) -> Arc<Series> {
        let series = Arc::new(Series::new(labels));
        self.shard.register(Arc::clone(&series));
        let hashing = &self.hashing;
        self.series.insert_unique(hash, Arc::clone(&series), |other| other.labels().hash_with(hashing.build_hasher()));
        series
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        if let Some(shard) = &self.shard {
            shard.add_active(-1);
        }
    }
}
