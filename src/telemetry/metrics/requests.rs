//! Every request series of every thread, and the page that adds them up when Prometheus asks.
//!
//! A thread registers its shard and each new series here (rare: a lock is fine) and then writes counters that are
//! its own. The scrape copies the lists of series under the lock and reads the counters outside of it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::family::{Family, REASONS};
use super::lock;
use super::series::{Durations, Series, SeriesLabels, Totals, add, histogram};
use super::text::{Labels, family, sample};

const LABELS: &[&str] =
    &["gateway_namespace", "gateway", "listener", "route_kind", "route_namespace", "route", "code", "reason"];
const REQUESTS: Family =
    Family::counter("transom_http_requests_total", LABELS, "Requests answered, by route, status code and reason.")
        .of(REASONS);
const DURATION: Family = Family::histogram(
    "transom_http_request_duration_seconds",
    LABELS,
    "Time from the first byte of a request to the last byte of its answer.",
)
.of(REASONS);
const OVERHEAD: Family = Family::histogram(
    "transom_http_overhead_seconds",
    &[],
    "Time in the gateway of requests that an endpoint answered: before the endpoint was chosen, and after the last byte \
     of its answer had come. WebSockets are left out.",
);
const ACTIVE: Family = Family::gauge("transom_http_active_requests", &[], "Requests that are being served now.");
const WORKER: Family = Family::counter(
    "transom_worker_requests_total",
    &["worker"],
    "Requests by data worker: how evenly the kernel spreads connections.",
);

pub(super) const FAMILIES: &[Family] = &[REQUESTS, DURATION, OVERHEAD, ACTIVE, WORKER];

/// The shards of all threads that ever recorded a request. Data workers live as long as the process, so shards are
/// kept: a counter must not run backwards.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Requests {
    shards: Mutex<Vec<Arc<Shard>>>,
    /// Moves when series were removed; a thread that sees it moved forgets the removed ones.
    generation: AtomicU64,
}

/// What one thread counts.
#[derive(Debug)]
pub(in crate::telemetry) struct Shard {
    worker: usize,
    requests: AtomicU64,
    active: AtomicI64,
    overhead: Durations,
    series: Mutex<Vec<Arc<Series>>>,
}

impl Requests {
    pub(in crate::telemetry) fn add_shard(&self, worker: usize) -> Arc<Shard> {
        let shard = Arc::new(Shard {
            worker,
            requests: AtomicU64::new(0),
            active: AtomicI64::new(0),
            overhead: Durations::default(),
            series: Mutex::new(Vec::new()),
        });
        lock(&self.shards).push(Arc::clone(&shard));
        shard
    }

    pub(in crate::telemetry) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(in crate::telemetry) fn retain(&self, still_exists: impl Fn(&SeriesLabels<'_>) -> bool) {
        for shard in self.shards() {
            let mut removed = false;
            for series in shard.series() {
                if !still_exists(&series.labels()) {
                    series.mark_removed();
                    removed = true;
                }
            }
            if removed {
                lock(&shard.series).retain(|series| !series.is_removed());
                self.generation.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Writes everything that was counted, added up over the threads.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let shards = self.shards();
        write_workers(out, &shards)?;

        let series: Vec<Arc<Series>> = shards.iter().flat_map(|shard| shard.series()).collect();
        let mut totals: HashMap<SeriesLabels<'_>, Totals> = HashMap::with_capacity(series.len());
        for one in &series {
            totals.entry(one.labels()).or_default().add(&one.durations);
        }
        let mut totals: Vec<(SeriesLabels<'_>, Totals)> = totals.into_iter().collect();
        totals.sort_unstable_by_key(|(labels, _)| *labels);
        if totals.is_empty() {
            return Ok(());
        }

        let mut labels = Labels::default();
        family(out, &REQUESTS)?;
        for (of, total) in &totals {
            render(&mut labels, of);
            sample(out, &REQUESTS, "", &labels, total.count())?;
        }
        family(out, &DURATION)?;
        for (of, total) in &totals {
            render(&mut labels, of);
            histogram(out, &DURATION, &mut labels, &total.buckets, total.micros)?;
        }
        Ok(())
    }

    fn shards(&self) -> Vec<Arc<Shard>> {
        lock(&self.shards).clone()
    }
}

impl Shard {
    pub(in crate::telemetry) fn register(&self, series: Arc<Series>) {
        lock(&self.series).push(series);
    }

    /// Counts a request of any labels. Only the owning thread calls this.
    pub(in crate::telemetry) fn count(&self) {
        add(&self.requests, 1);
    }

    /// Counts what a request spent in the gateway. Only the owning thread calls this.
    pub(in crate::telemetry) fn count_overhead(&self, overhead: Duration) {
        self.overhead.count(overhead);
    }

    /// A request may end on another thread than it began on (a runtime that is torn down), hence a true addition;
    /// the line is this thread's own all the same.
    pub(in crate::telemetry) fn add_active(&self, amount: i64) {
        self.active.fetch_add(amount, Ordering::Relaxed);
    }

    fn series(&self) -> Vec<Arc<Series>> {
        lock(&self.series).clone()
    }
}

fn write_workers(out: &mut dyn Write, shards: &[Arc<Shard>]) -> io::Result<()> {
    let mut workers: BTreeMap<usize, u64> = BTreeMap::new();
    let mut overhead = Totals::default();
    let mut active = 0;
    for shard in shards {
        *workers.entry(shard.worker).or_default() += shard.requests.load(Ordering::Relaxed);
        active += shard.active.load(Ordering::Relaxed);
        overhead.add(&shard.overhead);
    }
    let mut labels = Labels::default();
    family(out, &ACTIVE)?;
    // A request may begin and end between two of the loads above.
    sample(out, &ACTIVE, "", &labels, active.max(0))?;
    family(out, &OVERHEAD)?;
    histogram(out, &OVERHEAD, &mut labels, &overhead.buckets, overhead.micros)?;
    if !workers.is_empty() {
        family(out, &WORKER)?;
    }
    for (worker, count) in workers {
        labels.clear();
        labels.push("worker", worker);
        sample(out, &WORKER, "", &labels, count)?;
    }
    Ok(())
}

fn render(labels: &mut Labels, of: &SeriesLabels<'_>) {
    labels.clear();
    labels.push("gateway_namespace", of.gateway_namespace);
    labels.push("gateway", of.gateway);
    labels.push("listener", of.listener);
    labels.push("route_kind", of.route_kind);
    labels.push("route_namespace", of.route_namespace);
    labels.push("route", of.route);
    labels.push("code", of.code);
    labels.push("reason", of.reason);
}
